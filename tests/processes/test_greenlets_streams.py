"""Streams under gevent, in interpreters of their own: patching cannot be taken back."""

import pytest
from needs import needs_gevent
from real_time import AT_ONCE_S
from wire import python

pytestmark = [needs_gevent, pytest.mark.slow]

PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, gc, threading, time
from flask_llm import LLMFactory, StreamInterrupted
from flask_llm.errors import TransientError
from flask_llm.testing import Delay, FakeProvider

class Narrow(FakeProvider):
    max_concurrency = 1

def factory(*providers):
    return LLMFactory(providers[0], providers[1:], config={})

def idle(llm, name):
    return llm._chain.bulkheads[name]._workers._idle.get()
"""


def test_fifty_streams_at_once():
    """Each takes the time of its own silence; one by one it would be a minute."""
    out = python(
        PATCHED + "script = ['one ', Delay(0.6, 'two '), Delay(0.6, 'end')]\n"
        "llm = factory(FakeProvider(script))\n"
        "def read(_):\n"
        "    with llm.stream_content('x') as stream:\n"
        "        return ''.join(stream), stream.response.success\n"
        "begin = time.monotonic()\n"
        "jobs = [gevent.spawn(read, n) for n in range(50)]\n"
        "gevent.joinall(jobs)\n"
        "took = time.monotonic() - begin\n"
        f"print({{each.get() for each in jobs}}, took < 1.2 + {AT_ONCE_S})"
    )

    assert out == "{('one two end', True)} True\n"


@pytest.mark.parametrize(
    ("script", "where"),
    [
        ("['one ', Delay(60, 'two')]", "in mid-stream"),
        ("[Delay(60, 'one')]", "before the first text"),
    ],
)
def test_a_killed_greenlet_frees_its_slot(script, where):
    """A worker ends a request that takes too long: the next one finds room."""
    out = python(
        PATCHED + f"narrow = Narrow({script}, ['again'])\n"
        "llm = factory(narrow)\n"
        "def read():\n"
        "    for text in llm.stream_content('x'):\n"
        "        pass\n"
        "reader = gevent.spawn(read)\n"
        "while not narrow.calls:\n"
        "    gevent.sleep(0.01)\n"
        "gevent.sleep(0.1)\n"
        "begin = time.monotonic()\n"
        "reader.kill()\n"
        "with llm.stream_content('x') as stream:\n"
        f"    print(list(stream), time.monotonic() - begin < {AT_ONCE_S})\n"
        "print(type(reader.value).__name__, len(narrow.calls))"
    )

    assert out == "['again'] True\nGreenletExit 2\n", where


def test_a_timeout_of_gevent_closes_the_stream():
    """`gevent.Timeout` around a loop is the caller's own limit."""
    out = python(
        PATCHED + "llm = factory(Narrow(['one ', Delay(60, 'two')], 'again'))\n"
        "stream = llm.stream_content('x')\n"
        "try:\n"
        "    with gevent.Timeout(0.1):\n"
        "        list(stream)\n"
        "except gevent.Timeout:\n"
        "    print(stream.response.metadata['error_kind'], stream.text)\n"
        "print(llm.generate_content('x').content)"
    )

    assert out == "closed one \nagain\n"


def test_a_forgotten_stream_frees_its_greenlet():
    """What nobody reads is closed with its last reference."""
    out = python(
        PATCHED + "llm = factory(Narrow(['one ', Delay(60, 'two')], 'again'))\n"
        "llm.stream_content('x')\n"
        "for _ in range(1000):\n"
        "    if idle(llm, 'fake'):\n"
        "        break\n"
        "    gevent.sleep(0.01)\n"
        "print(len(idle(llm, 'fake')), llm.generate_content('x').content)"
    )

    assert out == "1 again\n"


def test_other_greenlets_close_a_stream():
    """A reader that waits is woken."""
    out = python(
        PATCHED + "llm = factory(FakeProvider(['one ', Delay(60, 'two')]))\n"
        "stream = llm.stream_content('x')\n"
        "reader = gevent.spawn(list, stream)\n"
        "gevent.sleep(0.05)\n"
        "stream.close()\n"
        "print(reader.get(timeout=50))"
    )

    assert out == "['one ']\n"


def test_streams_after_a_fork():
    """A child process has threads, and slots, of its own."""
    out = python(
        "import os\n"
        "from flask_llm import LLMFactory\n"
        "from flask_llm.testing import Delay, FakeProvider\n"
        "fake = FakeProvider(['one ', Delay(0.2, 'two')])\n"
        "llm = LLMFactory(fake, [], config={})\n"
        "mine = llm.stream_content('x')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    good = list(llm.stream_content('x')) == ['one ', 'two']\n"
        "    os._exit(0 if good else 1)\n"
        "print(os.waitpid(child, 0)[1], list(mine))",
        options=("-W", "ignore:This process:DeprecationWarning"),
    )

    assert out == "0 ['one ', 'two']\n"
