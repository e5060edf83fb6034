"""Not too many calls at once, and none without an end."""

import threading
import time

import pytest
from real_time import AT_ONCE_S
from slot_queue import Queue

from flask_llm.errors import BusyError, TimedOutError
from flask_llm.resilience.bulkhead import Bulkhead
from flask_llm.resilience.clock import SYSTEM
from flask_llm.resilience.stream_reader import _MOST_AHEAD
from flask_llm.resilience.thread_pool import ThreadPool

A_MINUTE = 60


def bulkhead(most=None, clock=SYSTEM):
    return Bulkhead(most, ThreadPool(clock), clock)


@pytest.fixture
def end():
    """Ends what hangs, at the latest with the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("most", [None, 1])
def test_a_call_goes_through(most, limit):
    """Again and again: slots come back, also from calls that fail."""
    each = bulkhead(most)
    for _ in range(3):
        assert each.call(lambda _: 42, limit, 0) == 42
        with pytest.raises(ZeroDivisionError):
            each.call(lambda _: 1 / 0, limit, 0)


def test_without_a_limit_the_call_stays_in_its_thread():
    """Who asks for no deadline pays for none."""
    assert (
        bulkhead().call(lambda _: threading.get_ident(), None, 0)
        == threading.get_ident()
    )


@pytest.mark.parametrize(
    ("limit", "patience"), [(None, 0.05), (A_MINUTE, 0.05), (0.05, A_MINUTE)]
)
def test_a_full_lane_is_waited_for_and_then_left(end, limit, patience):
    """Beyond its limit a provider is not asked; the caller moves on in time."""
    each = bulkhead(1)
    inside = threading.Event()

    def occupy(_):
        inside.set()
        end.wait()

    thread = threading.Thread(target=each.call, args=(occupy, None, 0))
    thread.start()
    inside.wait()
    with pytest.raises(BusyError, match=r"busy \(1 at once\)"):
        each.call(lambda _: 42, limit, patience)
    end.set()
    thread.join()

    assert each.call(lambda _: 42, A_MINUTE, A_MINUTE) == 42


def test_a_call_that_waits_gets_the_free_slot(end):
    """Waiting is worth while."""
    each = bulkhead(1)
    first = threading.Thread(target=each.call, args=(lambda _: end.wait(), None, 0))
    first.start()
    threading.Timer(0.05, end.set).start()

    assert each.call(lambda _: 42, A_MINUTE, A_MINUTE) == 42
    first.join()


def test_a_call_without_an_end_is_left(end):
    """The caller is told that the provider was silent."""
    started = time.monotonic()
    with pytest.raises(TimedOutError):
        bulkhead().call(lambda _: end.wait(), 0.05, 0)
    assert time.monotonic() - started < AT_ONCE_S


def test_abandoned_calls_are_bounded(end):
    """Eight threads may hang; after that the provider is busy until one has ended."""
    each = bulkhead()
    for _ in range(8):
        with pytest.raises(TimedOutError):
            each.call(lambda _: end.wait(), 0, 0)
    with pytest.raises(BusyError, match="8 abandoned calls"):
        each.call(lambda _: 42, 1, 0)

    end.set()
    until(lambda: not each._calls.get().abandoned)
    assert each.call(lambda _: 42, A_MINUTE, 0) == 42


def test_an_abandoned_call_keeps_its_slot(end):
    """The provider still works for it."""
    each = bulkhead(1)
    with pytest.raises(TimedOutError):
        each.call(lambda _: end.wait(), 0, 0)
    with pytest.raises(BusyError, match="1 abandoned"):
        each.call(lambda _: 42, A_MINUTE, A_MINUTE)


def test_the_time_for_a_slot_is_taken_off_the_calls(clock):
    """A call is told what is left for it, not what there was."""
    each = bulkhead(1, clock)
    each._calls.get()._slots = Queue(clock, 0.5)

    assert each.call(lambda left: left, 2, 2) == 1.5


def test_a_caller_that_is_ended_leaves_a_slot_behind_until_the_call_is_over(end):
    """However a caller goes, its call counts until it has ended."""
    each = bulkhead(1)

    class Interrupted:
        def wait(self, signal, seconds):
            raise KeyboardInterrupt

        monotonic = staticmethod(time.monotonic)

    each._workers._clock = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        each.call(lambda _: end.wait(), A_MINUTE, 0)
    assert len(each._calls.get().abandoned) == 1
    end.set()
    each._workers._clock = SYSTEM
    until(lambda: not each._calls.get().abandoned)
    assert each.call(lambda _: 42, A_MINUTE, 0) == 42


def played(*texts):
    yield from texts
    return 42


def test_a_stream_goes_through():
    """Again and again: slots come back when it is over."""
    each = bulkhead(1)
    for _ in range(3):
        reader, left = each.open(lambda _: played("a"), A_MINUTE, A_MINUTE)
        assert [reader.take(A_MINUTE), reader.take(A_MINUTE), reader.result] == [
            "a",
            None,
            42,
        ]
        assert A_MINUTE - AT_ONCE_S < left <= A_MINUTE


def test_a_stream_holds_its_slot():
    """Until it is over, or cut."""
    each = bulkhead(1)
    page = "x" * _MOST_AHEAD  # too long to be read ahead of
    reader, _ = each.open(lambda _: played(*[page] * 4), A_MINUTE, 0)
    reader.take(A_MINUTE)
    for ask in (
        lambda: each.open(played, A_MINUTE, 0.02),
        lambda: each.call(int, A_MINUTE, 0.02),
    ):
        with pytest.raises(BusyError, match=r"busy \(1 at once\)"):
            ask()
    reader.cancel()

    assert each.call(lambda _: 42, A_MINUTE, A_MINUTE) == 42


def test_a_stream_is_told_what_is_left_of_its_time(clock):
    """Waiting for a slot is taken off."""
    each = bulkhead(1, clock)
    each._calls.get()._slots = Queue(clock, 0.5)
    told = []

    def play(seconds):
        told.append(seconds)
        yield "a"

    reader, left = each.open(play, 2, 2)
    reader.take(A_MINUTE)

    assert told == [left] == [1.5]


def test_a_stream_without_a_thread_is_refused(monkeypatch):
    """A process at its limit asks the next provider; the slot is free again."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    each = bulkhead(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(BusyError, match="no more threads"):
                each.open(lambda _: played("a"), A_MINUTE, 0)
    reader, _ = each.open(lambda _: played("a"), A_MINUTE, 0)
    assert reader.take(A_MINUTE) == "a"


def hung(each, end):
    """Return a stream that has begun, been cut, and does not end before an event."""
    inside = threading.Event()

    def play(_):
        inside.set()
        end.wait()
        yield "late"

    reader, _ = each.open(play, A_MINUTE, 0)
    assert inside.wait(A_MINUTE)
    reader.cancel()
    return reader


def until(true):
    """Wait for what another thread does."""
    end = time.monotonic() + A_MINUTE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("ask", ["call", "open"])
def test_streams_that_were_cut_and_do_not_end_are_bounded(end, ask, clock):
    """After a second they count as abandoned, and no longer when they are over."""
    each = bulkhead(clock=clock)

    def go():
        if ask == "call":
            return each.call(lambda _: 42, A_MINUTE, 0)
        reader, _ = each.open(lambda _: played(), A_MINUTE, 0)
        reader.take(A_MINUTE)
        return reader.result

    streams = [hung(each, end) for _ in range(8)]
    assert go() == 42
    clock.now += 0.5
    assert go() == 42
    clock.now += 1.5
    for stream in streams:
        stream.cancel()  # again, which gives them no more time
    with pytest.raises(BusyError, match="8 abandoned calls"):
        go()

    end.set()
    until(lambda: all(stream.over for stream in streams))
    assert go() == 42
    assert not each._calls.get().abandoned


def test_streams_that_end_when_they_are_cut_are_not_counted(clock):
    """However many clients leave: most connections can be cut."""
    each = bulkhead(clock=clock)
    page = "x" * _MOST_AHEAD
    for _ in range(20):
        reader, _ = each.open(lambda _: played(page, page), A_MINUTE, 0)
        reader.take(A_MINUTE)
        reader.cancel()
        until(lambda reader=reader: reader.over)
    clock.now += 60

    assert each.call(lambda _: 42, A_MINUTE, 0) == 42
    assert not each._calls.get().abandoned


def test_a_cut_stream_that_ends_at_once_blocks_nobody():
    """In a bulkhead for one, too: the next call waits for its slot, which comes."""
    each = bulkhead(1)
    page = "x" * _MOST_AHEAD
    for _ in range(20):
        reader, _ = each.open(lambda _: played(page, page), A_MINUTE, A_MINUTE)
        reader.take(A_MINUTE)
        reader.cancel()

    assert each.call(lambda _: 42, A_MINUTE, A_MINUTE) == 42


def test_a_stream_that_is_over_leaves_nothing_to_count():
    """Closing it afterwards, as a `with` block does."""
    each = bulkhead()
    reader, _ = each.open(lambda _: played("a"), A_MINUTE, 0)
    until(lambda: reader.over)
    reader.cancel()

    assert not each._calls.get().abandoned


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize("limit", [None, 5])
def test_what_is_under_way_is_counted(most, limit):
    """While it lasts, whether or not there is a limit, and also if it fails."""
    each, seen = bulkhead(most), []
    each.changed = lambda: seen.append(each.under_way)

    assert each.call(lambda _: each.under_way, limit, 0) == 1
    with pytest.raises(ZeroDivisionError):
        each.call(lambda _: 1 / 0, limit, 0)
    assert each.under_way == 0
    assert seen == [1, 0, 1, 0]


def test_a_refused_call_is_not_under_way(end):
    """It has no slot."""
    each = bulkhead(1)
    inside = threading.Event()
    thread = threading.Thread(
        target=each.call, args=(lambda _: inside.set() or end.wait(), None, 0)
    )
    thread.start()
    inside.wait()
    with pytest.raises(BusyError):
        each.call(lambda _: 42, None, 0)

    assert each.under_way == 1
    end.set()
    thread.join()
    assert each.under_way == 0
