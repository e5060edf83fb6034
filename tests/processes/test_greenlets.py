"""Under gevent, in interpreters of their own: patching cannot be taken back."""

import pytest
from needs import needs_gevent
from real_time import AT_ONCE_S
from wire import python

pytestmark = pytest.mark.slow


# The order of `gunicorn --preload -k gevent`: the app first, then the patching.
PATCHED = """
from flask_llm.resilience.gevent import in_native_thread
import gevent.monkey
gevent.monkey.patch_all()
import gevent, socket, threading, time
from gevent.monkey import get_original

def block(seconds):
    get_original("time", "sleep")(seconds)
    return get_original("threading", "get_ident")()
"""


def test_without_gevent_it_is_a_plain_call():
    """The caller's own thread does it, and gevent is not even imported."""
    out = python(
        "import sys, threading\n"
        "from flask_llm.resilience.gevent import in_native_thread\n"
        "print(in_native_thread(threading.get_ident) == threading.get_ident())\n"
        "print('gevent' in sys.modules)"
    )

    assert out == "True\nFalse\n"


@needs_gevent
def test_gevent_that_has_patched_nothing_changes_nothing():
    """gunicorn's master imports it, and has no greenlets to care for."""
    out = python(
        "import gevent.monkey, threading\n"
        "from flask_llm.resilience.gevent import in_native_thread\n"
        "print(in_native_thread(threading.get_ident) == threading.get_ident())"
    )

    assert out == "True\n"


@needs_gevent
def test_other_greenlets_run_meanwhile():
    """Four calls that block do so side by side, until a fifth greenlet ends them."""
    out = python(
        PATCHED + "native = get_original('threading', 'Event')\n"
        "inside, go = [], native()\n"
        "def block():\n"
        "    inside.append(get_original('threading', 'get_ident')())\n"
        "    return go.wait(60)\n"
        "def tick():\n"
        "    while len(inside) < 4:\n"
        "        gevent.sleep(0.01)\n"
        "    go.set()\n"
        "gevent.spawn(tick)\n"
        "calls = [gevent.spawn(in_native_thread, block) for _ in range(4)]\n"
        "print([each.get() for each in calls], len(set(inside)))"
    )

    assert out == "[True, True, True, True] 4\n"


@needs_gevent
def test_names_are_looked_up_meanwhile():
    """More calls than there are threads hold up no other provider's connection."""
    out = python(
        PATCHED
        + "calls = [gevent.spawn(in_native_thread, block, 9) for _ in range(20)]\n"
        "gevent.sleep(0.05)\n"
        "begin = time.monotonic()\n"
        "socket.getaddrinfo('localhost', 80)\n"
        f"print(time.monotonic() - begin < {AT_ONCE_S}, flush=True)\n"
        "import os\n"
        "os._exit(0)"  # which waits for none of them
    )

    assert out == "True\n"


@needs_gevent
def test_an_error_is_the_callers_alone():
    """It is raised like any other, and gevent prints nothing of it."""
    out = python(
        PATCHED + "import sys\n"
        "sys.stderr = sys.stdout\n"
        "try:\n"
        "    in_native_thread(int, 'x')\n"
        "except ValueError as error:\n"
        "    print(error)"
    )

    assert out == "invalid literal for int() with base 10: 'x'\n"


@needs_gevent
def test_a_child_process_has_threads_of_its_own():
    """Those of the parent are not there, and nobody waits for them."""
    out = python(
        PATCHED + "import os\n"
        "in_native_thread(block, 0)\n"
        "child = os.fork()\n"
        "in_native_thread(block, 0)\n"
        "if child == 0:\n"
        "    os._exit(0)\n"
        "print(os.waitpid(child, 0)[1])",
        options=("-W", "ignore:This process:DeprecationWarning"),
    )

    assert out == "0\n"


@needs_gevent
@pytest.mark.parametrize("before", ["in_native_thread(block, 0)", "pass"])
def test_at_the_end_of_a_process_each_is_done_once(before):
    """Python 3.12 begins no thread then; the one that is there, if any, is busy."""
    out = python(
        PATCHED + "import atexit\n"
        "done = []\n"
        "def work(number):\n"
        "    block(0.1)\n"
        "    done.append(number)\n"
        "    return number\n"
        "@atexit.register\n"
        "def end():\n"
        "    first = gevent.spawn(in_native_thread, work, 1)\n"
        "    gevent.sleep(0.02)\n"
        "    print(in_native_thread(work, 2), first.get(), in_native_thread(work, 3))\n"
        "    print(sorted(done))\n" + before
    )

    assert out == "2 1 3\n[1, 2, 3]\n"


@needs_gevent
def test_an_error_and_its_frame_do_not_hold_each_other():
    """What a failed call held is free at once, without the garbage collector."""
    out = python(
        PATCHED + "import gc, weakref\n"
        "gc.disable()\n"
        "class Held: pass\n"
        "def fail(held):\n"
        "    raise ValueError\n"
        "def call():\n"
        "    held = Held()\n"
        "    try:\n"
        "        in_native_thread(fail, held)\n"
        "    except ValueError:\n"
        "        return weakref.ref(held)\n"
        "held = call()\n"
        "for _ in range(1000):\n"  # the thread lets go of it
        "    if held() is None:\n"
        "        break\n"
        "    gevent.sleep(0.01)\n"
        "print(held() is None)"
    )

    assert out == "True\n"
