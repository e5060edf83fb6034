"""Who waits for a stream, and may leave."""

import math
from itertools import islice

import pytest

from flask_llm.resilience.stream_reader import (
    Caller,
    Cancellation,
    callers_cancellation,
)


@pytest.fixture
def cancellation():
    """The line by which the caller of this test may leave."""
    cancellation = Cancellation()
    token = callers_cancellation.set(cancellation)
    yield cancellation
    callers_cancellation.reset(token)


def test_who_cannot_leave_is_not_looked_for():
    """Then there is one wait, as long as it takes."""
    caller = Caller(None)

    assert not caller.may_leave
    assert not caller.has_left()
    assert list(caller.glances(60)) == [60]
    assert list(caller.glances(math.inf)) == [math.inf]


def test_a_wait_is_as_long_in_glances():
    """Four looks a second, and no time lost or won."""
    looks = []
    caller = Caller(lambda: looks.append(1))

    assert caller.may_leave
    assert list(caller.glances(1.1)) == pytest.approx([0.25] * 4 + [0.1])
    assert len(looks) == 4
    assert list(islice(caller.glances(math.inf), 9)) == [0.25] * 9


@pytest.mark.parametrize("seconds", [0, 0.1, 0.25])
def test_a_short_wait_is_one_glance(seconds):
    """Also one of no time: whoever waits looks once whether there is a text."""
    assert list(Caller(lambda: True).glances(seconds)) == [seconds]


def test_glances_end_when_the_caller_has_left():
    """After the wait in which it left."""
    answers = iter([False, False, True])

    assert list(Caller(lambda: next(answers)).glances(60)) == [0.25] * 3


def test_a_line_that_is_cut_is_a_caller_that_has_left(cancellation):
    """The cancelled task's way; the line is that of whoever makes the caller."""
    caller = Caller(None)
    callers_cancellation.set(None)
    assert (caller.may_leave, caller.has_left()) == (True, False)
    cancellation.cancel()

    assert caller.has_left()
    assert list(caller.glances(60)) == [0.25]


@pytest.mark.parametrize(("gone", "cut"), [(True, False), (False, True), (True, True)])
def test_either_way_of_leaving_counts(cancellation, gone, cut):
    """A view's client, and the task of an async view."""
    if cut:
        cancellation.cancel()

    assert Caller(lambda: gone).has_left()


def test_sleeping_is_as_long_as_it_was_told(clock):
    """For a caller that stays, whether it might leave or not."""
    Caller(None).sleep(5, clock)
    assert (clock.now, clock.waits) == (1005, [5])
    Caller(lambda: False).sleep(5, clock)
    assert clock.now == 1010


def test_sleeping_ends_when_the_caller_has_left(clock):
    """A minute is not slept for nobody."""
    Caller(lambda: clock.now >= 1002).sleep(60, clock)

    assert clock.now == 1002
