"""A generator that another thread runs."""

import contextvars
import random
import sys
import threading
import time
from collections import deque

import pytest
from cycles import left_in_cycles
from real_time import AT_ONCE_S

from flask_llm.resilience.clock import SYSTEM
from flask_llm.resilience.stream_reader import (
    _MOST_AHEAD,
    Cancellation,
    StreamReader,
    callers_cancellation,
    current_cancellation,
)
from flask_llm.resilience.thread_pool import Abandoned, ThreadPool

A_MINUTE = 60
WORKERS = ThreadPool(SYSTEM)
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


def reader(source, ended, workers=WORKERS):
    return StreamReader(source, workers, SYSTEM, ended)


def texts(*pieces, result=None):
    yield from pieces
    return result


def test_texts_come_in_order_and_then_the_result(ended):
    """The thread in between is not seen."""
    each = reader(lambda: texts("a", "b", result=42), ended)

    assert [each.take(A_MINUTE), each.take(A_MINUTE), each.take(A_MINUTE)] == [
        "a",
        "b",
        None,
    ]
    assert (each.result, each.over, ended.times) == (42, True, 1)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_error_comes_after_the_texts_before_it(ended, error):
    """Even what is no Exception."""

    def fail():
        yield "a"
        raise error

    each = reader(fail, ended)
    assert each.take(A_MINUTE) == "a"
    with pytest.raises(error):
        each.take(A_MINUTE)
    assert ended.times == 1


def test_a_source_that_cannot_be_made_is_an_error(ended):
    """Raised where the first text would have been."""
    each = reader(lambda: 1 / 0, ended)
    with pytest.raises(ZeroDivisionError):
        each.take(A_MINUTE)
    assert ended.times == 1


def test_its_reader_leaves_in_time_and_may_come_back(ended):
    """A text that comes later is not lost."""
    go = threading.Event()

    def slow():
        assert go.wait(A_MINUTE)
        yield "a"

    each = reader(slow, ended)
    with pytest.raises(Abandoned):
        each.take(0.02)
    go.set()

    assert [each.take(A_MINUTE), each.take(A_MINUTE)] == ["a", None]


def test_the_context_is_the_callers(ended):
    """`current_app` is seen inside; what is set there stays there."""
    current.set("the caller")

    def see():
        yield current.get()
        current.set("the thread")
        yield current.get()

    each = reader(see, ended)
    assert [each.take(A_MINUTE), each.take(A_MINUTE)] == ["the caller", "the thread"]
    assert current.get() == "the caller"
    assert current_cancellation.get() is None


def test_the_end_is_seen_after_all_texts(ended):
    """Also where the thread is over before anybody looks."""
    each = reader(lambda: texts("a", "b", "c", result=42), ended)
    assert ended.event.wait(A_MINUTE)

    assert [each.take(A_MINUTE) for _ in range(5)] == ["a", "b", "c", None, None]
    assert each.result == 42


def test_a_text_that_comes_with_the_end_is_seen(ended):
    """Also where its reader has just looked for one, and found none."""
    go = threading.Event()

    class Slow(deque):
        def __bool__(self):
            seen = len(self) > 0
            go.set()
            assert ended.event.wait(A_MINUTE)
            time.sleep(0.02)  # the thread lets go of it
            return seen

    def wait():
        assert go.wait(A_MINUTE)
        yield "a"

    each = reader(wait, ended)
    each._texts = Slow()
    assert [each.take(A_MINUTE), each.take(A_MINUTE)] == ["a", None]


def test_an_error_is_seen_after_all_texts(ended):
    """What was read ahead is no part of the failure."""

    def fail():
        yield from "abc"
        raise ZeroDivisionError

    each = reader(fail, ended)
    assert ended.event.wait(A_MINUTE)

    assert [each.take(A_MINUTE) for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        each.take(A_MINUTE)


@pytest.mark.parametrize("size", [1, 7, 300, _MOST_AHEAD - 1, _MOST_AHEAD, 5000])
def test_little_is_read_ahead(ended, size):
    """The generator makes no text while as many characters as the bound are left."""
    made = asked = 0
    ahead = []

    def count():
        nonlocal made
        while True:
            ahead.append(made - asked)
            made += size
            yield "x" * size

    each = reader(count, ended)
    for _ in range(30):
        asked += size  # before the thread can know of it
        each.take(A_MINUTE)
    begin = time.monotonic()
    while made - asked < _MOST_AHEAD and time.monotonic() < begin + A_MINUTE:
        time.sleep(0.001)
    time.sleep(0.02)
    each.cancel()

    assert _MOST_AHEAD <= made - asked < _MOST_AHEAD + size
    assert max(ahead) < _MOST_AHEAD


def test_room_that_was_not_needed_is_none_later(ended):
    """A text taken while nobody waits for room does not let another one in."""
    go, made = threading.Event(), []

    def count():
        yield "a"
        assert go.wait(A_MINUTE)
        for number in range(5):
            made.append(number)
            yield "x" * _MOST_AHEAD

    each = reader(count, ended)
    each.take(A_MINUTE)
    go.set()
    begin = time.monotonic()
    while not made and time.monotonic() < begin + A_MINUTE:
        time.sleep(0.001)
    time.sleep(0.05)  # in which there could be another one
    each.cancel()

    assert made == [0]


@pytest.mark.parametrize("taken", [1, 3])
def test_texts_taken_without_waiting_leave_no_signal(ended, taken):
    """Who waits for the next one waits as long as it said, and gets it."""
    handed, go = threading.Event(), threading.Event()

    def pause():
        yield from "abc"[:taken]
        handed.set()
        assert go.wait(A_MINUTE)
        yield "z"

    each = reader(pause, ended)
    assert handed.wait(A_MINUTE)
    assert "".join(each.take(0) for _ in range(taken)) == "abc"[:taken]
    for seconds in (0.1, 0.05):
        begin = time.monotonic()
        with pytest.raises(Abandoned):
            each.take(seconds)
        assert time.monotonic() - begin > 0.9 * seconds
    go.set()

    assert [each.take(A_MINUTE), each.take(A_MINUTE)] == ["z", None]


@pytest.mark.parametrize("read", [0, 1, 3])
def test_cutting_closes_the_generator(ended, read):
    """Wherever it stands, and just once."""
    begun, closed = threading.Event(), threading.Event()

    def endless():
        begun.set()
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    each = reader(endless, ended)
    for _ in range(read):
        each.take(A_MINUTE)
    assert begun.wait(A_MINUTE)
    if not read:
        time.sleep(0.02)  # in which it goes on to where it waits for its reader
    each.cancel()
    each.cancel()

    assert closed.wait(A_MINUTE)
    assert ended.event.wait(A_MINUTE)
    with pytest.raises(Abandoned):
        each.take(A_MINUTE)
    assert (each.is_cancelled, ended.times) == (True, 1)


def test_cutting_hangs_up_the_connection(ended):
    """A thread that waits for bytes can be woken in no other way."""
    hung_up = threading.Event()

    def wait():
        current_cancellation.get().on_cancel(hung_up.set)
        yield "a"
        assert hung_up.wait(A_MINUTE)
        raise OSError("connection is gone")

    each = reader(wait, ended)
    assert each.take(A_MINUTE) == "a"
    each.cancel()

    assert ended.event.wait(A_MINUTE)
    with pytest.raises(Abandoned):
        each.take(A_MINUTE)


def test_a_cut_is_never_taken_for_the_end(ended):
    """Not even where the thread is over just after its reader saw no cut."""
    reader = threading.current_thread()

    class CutNow(StreamReader):
        @property
        def is_cancelled(self):
            seen = super().is_cancelled
            if not seen and threading.current_thread() is reader:
                self.cancel()
                assert ended.event.wait(A_MINUTE)
                time.sleep(0.02)  # the thread lets go of it
            return seen

    def wait():
        gone = threading.Event()
        current_cancellation.get().on_cancel(gone.set)
        assert gone.wait(A_MINUTE)
        yield from ()

    each = CutNow(wait, WORKERS, SYSTEM, ended)
    with pytest.raises(Abandoned):
        each.take(A_MINUTE)


def test_a_cut_connection_leaves_no_cycles(ended):
    """What is raised then is nobody's, and must not wait for the collector."""

    def wait():
        gone = threading.Event()
        current_cancellation.get().on_cancel(gone.set)
        yield "a"
        assert gone.wait(A_MINUTE)
        raise OSError("connection is gone")

    def cut():
        each = reader(wait, ended)
        each.take(A_MINUTE)
        each.cancel()
        assert ended.event.wait(A_MINUTE)
        ended.event.clear()
        time.sleep(0.02)  # the thread lets go of it

    assert left_in_cycles(cut) == 0


def test_cutting_wakes_who_waits(ended):
    """And whoever comes later does not wait at all."""
    end = threading.Event()

    def hang():
        end.wait(A_MINUTE)
        yield "a"

    each = reader(hang, ended)
    threading.Timer(0.05, each.cancel).start()
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(Abandoned):
            each.take(A_MINUTE)
    assert time.monotonic() - started < AT_ONCE_S
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
    each = reader(ask, ended, late)
    each.cancel()
    contextvars.copy_context().run(late.run)

    assert (asked, ended.times) == ([], 1)


def test_a_caller_ended_while_the_thread_starts_leaves_nothing_behind(ended):
    """The thread that nobody knows of closes what it has begun."""
    begun, closed = threading.Event(), threading.Event()

    def endless():
        begun.set()
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    class Interrupted:
        def start(self, function):
            WORKERS.start(function)
            assert begun.wait(A_MINUTE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reader(endless, ended, Interrupted())
    assert closed.wait(A_MINUTE)
    assert ended.event.wait(A_MINUTE)


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
        each = reader(inner, lambda: None)
        while True:
            yield each.take(A_MINUTE)

    each = reader(outer, ended)
    each.take(A_MINUTE)
    each.cancel()

    assert closed.wait(A_MINUTE)
    assert ended.event.wait(A_MINUTE)


def test_the_caller_of_a_stream_can_leave(ended):
    """A task that is cancelled cuts what its thread waits for."""
    cancellation = Cancellation()
    token = callers_cancellation.set(cancellation)
    try:
        each = reader(lambda: texts("a", "b", "c"), ended)
    finally:
        callers_cancellation.reset(token)
    cancellation.cancel()

    assert each.is_cancelled
    assert ended.event.wait(A_MINUTE)


def test_many_at_once():
    """Each has its own thread, and its own texts."""
    relays = [
        reader(lambda n=n: texts(*(f"{n}.{i}" for i in range(50))), lambda: None)
        for n in range(50)
    ]
    for i in range(50):
        assert [each.take(A_MINUTE) for each in relays] == [
            f"{n}.{i}" for n in range(50)
        ]
    assert [each.take(A_MINUTE) for each in relays] == [None] * 50


SIZES = (1, 10, 250, _MOST_AHEAD - 1, _MOST_AHEAD, _MOST_AHEAD + 1, 3000)


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def drawn(chance):
    """Return random texts around the bound, each of which tells its place."""
    sizes = chance.choices(SIZES, k=chance.randrange(30))
    return [f"{number}".ljust(size) for number, size in enumerate(sizes)]


def read(each):
    """Return what can be read, and whether it came to the end."""
    got = []
    try:
        while (text := each.take(A_MINUTE)) is not None:
            got.append(text)
    except Abandoned:
        assert each.is_cancelled, "a signal was lost"
        return got, False
    return got, True


@pytest.mark.parametrize("seed", range(4))
def test_streams_in_haste(hasty, seed):
    """Whatever the threads do when: no text is lost, changes its place, or hangs."""
    chance = random.Random(seed)
    ends = set()
    for number in range(150):
        ended, whole = Ended(), drawn(chance)
        each = reader(lambda whole=whole: texts(*whole, result=42), ended)
        cutter = threading.Timer(chance.random() * 0.002, each.cancel)
        if number % 2:
            cutter.start()
        got, complete = read(each)
        assert ended.event.wait(A_MINUTE)
        assert got == whole[: len(got)]
        assert not complete or (len(got), each.result) == (len(whole), 42)
        if number % 2:
            cutter.join()
        else:
            assert complete
        ends.add((number % 2, complete))
    assert ends == {(0, True), (1, True), (1, False)}
