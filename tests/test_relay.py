"""A generator that another thread runs."""

import contextvars
import threading
import time

import pytest

from flask_llm.clock import SYSTEM
from flask_llm.line import Line, callers_line, current_line
from flask_llm.relay import Relay
from flask_llm.workers import LeftBehind, Workers

WORKERS = Workers(SYSTEM)
current = contextvars.ContextVar("current", default="nobody")


class Ended:
    """Counts how often a relay says that it is over."""

    def __init__(self):
        self.times = 0
        self.event = threading.Event()

    def __call__(self):
        self.times += 1
        self.event.set()


@pytest.fixture
def ended():
    return Ended()


def relay(source, ended, workers=WORKERS):
    return Relay(source, workers, SYSTEM, ended)


def texts(*pieces, result=None):
    yield from pieces
    return result


def test_texts_come_in_order_and_then_the_result(ended):
    """The thread in between is not seen."""
    each = relay(lambda: texts("a", "b", result=42), ended)

    assert [each.take(5), each.take(5), each.take(5)] == ["a", "b", None]
    assert (each.result, each.over, ended.times) == (42, True, 1)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_comes_after_the_texts_before_it(ended, error):
    """Even what is no Exception."""

    def fail():
        yield "a"
        raise error

    each = relay(fail, ended)
    assert each.take(5) == "a"
    with pytest.raises(error):
        each.take(5)
    assert ended.times == 1


def test_a_source_that_cannot_be_made_is_an_error(ended):
    """Raised where the first text would have been."""
    each = relay(lambda: 1 / 0, ended)
    with pytest.raises(ZeroDivisionError):
        each.take(5)
    assert ended.times == 1


def test_its_reader_leaves_in_time_and_may_come_back(ended):
    """A text that comes later is not lost."""
    go = threading.Event()

    def slow():
        assert go.wait(5)
        yield "a"

    each = relay(slow, ended)
    with pytest.raises(LeftBehind):
        each.take(0.02)
    go.set()

    assert [each.take(5), each.take(5)] == ["a", None]


def test_the_context_is_the_callers(ended):
    """`current_app` is seen inside; what is set there stays there."""
    current.set("the caller")

    def see():
        yield current.get()
        current.set("the thread")
        yield current.get()

    each = relay(see, ended)
    assert [each.take(5), each.take(5)] == ["the caller", "the thread"]
    assert current.get() == "the caller"
    assert current_line.get() is None


def test_no_more_than_one_text_waits(ended):
    """The generator stops where its reader does."""
    drawn = []

    def count():
        for number in range(100):
            drawn.append(number)
            yield str(number)

    each = relay(count, ended)
    each.take(5)
    time.sleep(0.05)
    assert len(drawn) <= 3
    each.cut()


@pytest.mark.parametrize("read", [0, 1, 3])
def test_cutting_closes_the_generator(ended, read):
    """Wherever it stands, and just once."""
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    each = relay(endless, ended)
    for _ in range(read):
        each.take(5)
    if not read:
        time.sleep(0.02)
    each.cut()
    each.cut()

    assert closed.wait(5)
    assert ended.event.wait(5)
    with pytest.raises(LeftBehind):
        each.take(5)
    assert (each.is_cut, ended.times) == (True, 1)


def test_cutting_hangs_up_the_connection(ended):
    """A thread that waits for bytes can be woken in no other way."""
    hung_up = threading.Event()

    def wait():
        current_line.get().attach(hung_up.set)
        yield "a"
        assert hung_up.wait(5)
        raise OSError("connection is gone")

    each = relay(wait, ended)
    assert each.take(5) == "a"
    each.cut()

    assert ended.event.wait(5)
    with pytest.raises(LeftBehind):
        each.take(5)


def test_cutting_wakes_who_waits(ended):
    """And whoever comes later does not wait at all."""
    end = threading.Event()

    def hang():
        end.wait(10)
        yield "a"

    each = relay(hang, ended)
    threading.Timer(0.05, each.cut).start()
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(LeftBehind):
            each.take(5)
    assert time.monotonic() - started < 1
    end.set()


def test_a_relay_that_is_cut_before_it_runs_asks_nobody(ended):
    """The thread may begin later than its caller leaves."""
    asked = []

    def ask():
        asked.append(1)
        yield "a"

    class Late:
        def start(self, function):
            self.run = function

    late = Late()
    each = relay(ask, ended, late)
    each.cut()
    late.run()

    assert (asked, ended.times) == ([], 1)


def test_a_caller_ended_while_the_thread_starts_leaves_nothing_behind(ended):
    """The thread that nobody knows of closes what it has begun."""
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    class Interrupted:
        def start(self, function):
            WORKERS.start(function)
            time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relay(endless, ended, Interrupted())
    assert closed.wait(5)
    assert ended.event.wait(5)


def test_a_stream_within_a_stream_ends_with_it(ended):
    """A provider that asks another factory leaves nothing open there."""
    closed = threading.Event()

    def inner():
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    def outer():
        each = relay(inner, lambda: None)
        while True:
            yield each.take(5)

    each = relay(outer, ended)
    each.take(5)
    each.cut()

    assert closed.wait(5)
    assert ended.event.wait(5)


def test_the_caller_of_a_stream_can_leave(ended):
    """A task that is cancelled cuts what its thread waits for."""
    line = Line()
    token = callers_line.set(line)
    try:
        each = relay(lambda: texts("a", "b", "c"), ended)
    finally:
        callers_line.reset(token)
    line.cut()

    assert each.is_cut
    assert ended.event.wait(5)


def test_many_at_once():
    """Each has its own thread, and its own texts."""
    relays = [
        relay(lambda n=n: texts(*(f"{n}.{i}" for i in range(50))), lambda: None)
        for n in range(50)
    ]
    for i in range(50):
        assert [each.take(5) for each in relays] == [f"{n}.{i}" for n in range(50)]
    assert [each.take(5) for each in relays] == [None] * 50
