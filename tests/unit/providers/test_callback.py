import threading
import time

import pytest
from needs import needs_gevent
from real_time import AT_ONCE_S
from wire import python

from flask_llm.providers.local import Called
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation

SOON = 30.0  # seconds within which a thread that may go on has gone on


class Endless:
    """Counts for its callback until that has enough."""

    def __init__(self):
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self, take):
        self.begun.set()
        number = 0
        while not take(number):
            number += 1
            time.sleep(0.001)
        self.stopped.set()


def test_all_of_it_in_order():
    """What the function hands over comes out, and then the end."""

    def count(take):
        for number in range(100):
            assert take(number) is False

    assert list(Called(count).items(SOON)) == list(range(100))


def test_an_error_comes_after_what_came_before_it():
    """The reader gets what the function raised, where it raised it."""

    def fail(take):
        take("first")
        raise LookupError("no more")

    items = Called(fail).items(SOON)
    assert next(items) == "first"
    with pytest.raises(LookupError, match="no more"):
        next(items)


def test_nothing_begins_before_somebody_reads():
    """A stream that nobody reads costs nothing."""
    endless = Endless()
    Called(endless).items(SOON).close()
    assert not endless.begun.wait(0.05)


def test_closing_stops_the_function():
    """Its callback says so at the next call, and closing does not wait for that."""
    endless = Endless()
    items = Called(endless).items(SOON)
    assert next(items) == 0
    items.close()
    assert endless.stopped.wait(SOON)


class Hurried:
    """A mailbox that is waited for no longer than a moment after its first item."""

    def __init__(self, box):
        self.box, self.told, self.put = box, [], box.put

    def get(self, *, timeout):
        self.told.append(timeout)
        return self.box.get(timeout=timeout if len(self.told) == 1 else 0.01)


def test_silence_ends_it():
    """A function that hands over nothing for too long is left."""
    may_end = threading.Event()
    called = Called(lambda take: (take("first"), may_end.wait(SOON)))
    called._box = box = Hurried(called._box)
    items = called.items(20)
    assert next(items) == "first"
    with pytest.raises(TimeoutError):
        next(items)
    may_end.set()
    assert box.told == [20, 20]


def test_a_slow_reader_holds_nobody():
    """The function runs on to its end, whether somebody reads or not."""
    done = threading.Event()

    def count(take):
        for number in range(1000):
            take(number)
        done.set()

    items = Called(count).items(SOON)
    assert next(items) == 0
    assert done.wait(SOON)
    assert list(items) == list(range(1, 1000))


def on(cancellation, read):
    """Read in a thread whose stream has a line; return the thread."""

    def run():
        current_cancellation.set(cancellation)
        read()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_cutting_the_line_wakes_the_reader():
    """A reader that waits ends at once, and the function is told to stop."""
    cancellation, first, seen = Cancellation(), threading.Event(), []

    def pause(take):
        take("first")
        first.wait(SOON)
        seen.append(take("second"))

    reader = on(cancellation, lambda: seen.extend(Called(pause).items(SOON)))
    while not seen:
        time.sleep(0.001)
    cancellation.cancel()
    reader.join(AT_ONCE_S)
    assert not reader.is_alive()
    first.set()
    while len(seen) < 2:
        time.sleep(0.001)
    assert seen == ["first", True]


def test_a_line_that_is_cut_already():
    """Whoever comes too late stops the function at its first call."""
    cancellation, endless, seen = Cancellation(), Endless(), []
    cancellation.cancel()
    reader = on(cancellation, lambda: seen.extend(Called(endless).items(SOON)))
    reader.join(SOON)
    assert endless.stopped.wait(SOON)
    assert seen == []


@pytest.mark.slow
@needs_gevent
def test_under_gevent_the_callback_comes_from_a_native_thread():
    """The greenlets run on meanwhile, and the reader still gets all of it in order."""
    out = python(
        "from flask_llm.resilience.gevent import in_native_thread\n"
        "from flask_llm.providers.local import Called\n"
        "import gevent.monkey\n"
        "gevent.monkey.patch_all()\n"
        "import gevent\n"
        "from gevent.monkey import get_original\n"
        "sleep = get_original('time', 'sleep')\n"
        "ident = get_original('threading', 'get_ident')\n"
        "ticks, stopped = [], []\n"
        "def tick():\n"
        "    while True:\n"
        "        ticks.append(gevent.sleep(0.001))\n"
        "gevent.spawn(tick)\n"
        "def count(take):\n"
        "    for number in range(20):\n"
        "        before = len(ticks)\n"
        "        while len(ticks) == before:\n"
        "            sleep(0.001)\n"
        "        take((number, ident()))\n"
        "def endless(take):\n"
        "    while not take('more'):\n"
        "        sleep(0.001)\n"
        "    stopped.append(True)\n"
        "called = lambda work: Called(lambda take: in_native_thread(work, take))\n"
        "items = list(called(count).items(30))\n"
        "print([number for number, _ in items] == list(range(20)))\n"
        "print(ident() not in {thread for _, thread in items})\n"
        "items = called(endless).items(30)\n"
        "next(items)\n"
        "items.close()\n"
        "while not stopped:\n"
        "    gevent.sleep(0.01)\n"
        "print('stopped')\n"
        "try:\n"
        "    list(called(lambda take: sleep(0.5)).items(0.001))\n"
        "except TimeoutError:\n"
        "    print('silence')\n"
    )
    assert out == "True\nTrue\nstopped\nsilence\n"
