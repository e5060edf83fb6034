"""Counters of limits: never more than there may be, in memory, a file and Redis."""

import math
import multiprocessing
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from storages import _redis_server, redis_server  # noqa: F401  # fixtures
from usage_calls import soon

from flask_llm.resilience.limits import (
    Charge,
    MemoryCounters,
    Rate,
    Refused,
    SharedCounters,
    rate,
)
from flask_llm.resilience.storage.sqlite import SqliteCounters

MINUTE = Rate(60, 60)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("60/minute", (60, 60)),
        (" 60 / Minutes ", (60, 60)),
        ("1000 per 2 hours", (1000, 7200)),
        ("5/10 seconds", (5, 10)),
        ("1000000/day", (1_000_000, 86_400)),
    ],
)
def test_the_notation(written, found):
    """As providers write their limits."""
    assert rate(written) == found


@pytest.mark.parametrize(
    "odd", ["", "60", "0/minute", "60/week", "-1/hour", 60, "9/2 d"]
)
def test_another_notation(odd):
    """What it is not is told with an example."""
    with pytest.raises(ValueError, match="must be a rate such as 60/minute"):
        rate(odd)


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.slow)]
)
def counters(request, tmp_path):
    if request.param == "memory":
        return MemoryCounters()
    if request.param == "sqlite":
        return SqliteCounters(tmp_path / "llm.db")
    from flask_llm.resilience.storage.redis import RedisCounters

    return RedisCounters(request.getfixturevalue("redis_server").url)


@pytest.mark.parametrize(
    ("most", "seconds", "shown"),
    [(60, 60, "60/minute"), (9, 7200, "9/2 hours"), (5, 90, "5/90 seconds")],
)
def test_a_rate_is_shown_as_it_is_written(most, seconds, shown):
    """So that a page shows what to change."""
    assert str(Rate(most, seconds)) == shown
    assert rate(shown) == Rate(most, seconds)


def taken(counters, charge):
    """Take; return the seconds to wait if there is no room."""
    try:
        counters.take([charge])
    except Refused as refused:
        return refused.seconds
    return 0.0


def test_there_is_room_until_there_is_none(counters):
    """Then it says when there is some."""
    charge = Charge("a", Rate(3, 60), 1)
    assert [taken(counters, charge) for _ in range(3)] == [0, 0, 0]
    assert 0 < taken(counters, charge) <= 61
    assert taken(counters, charge._replace(key="b")) == 0


def test_what_never_fits(counters):
    """Nobody waits for that."""
    assert taken(counters, Charge("a", MINUTE, 61)) == math.inf


def test_all_windows_or_none(counters):
    """A request that one of them refuses has taken nothing of the other."""
    free, full = Charge("free", Rate(1, 60), 1), Charge("full", Rate(1, 60), 1)
    assert taken(counters, full) == 0
    with pytest.raises(Refused) as refused:
        counters.take([free, full])
    assert refused.value.key == "full"
    assert taken(counters, free) == 0


def test_a_correction(counters):
    """What was not used is there for others, and what was more is not."""
    charge = Charge("tokens", Rate(100, 60), 60)
    (bucket,) = counters.take([charge])
    assert taken(counters, charge) > 0
    counters.correct(charge, bucket, -30)
    assert taken(counters, charge) == 0
    counters.correct(charge, bucket, 40)
    assert taken(counters, charge._replace(amount=1)) > 0
    counters.correct(charge, bucket - 70, 5)  # of a time that is gone
    counters.correct(charge, bucket, -1000)
    assert taken(counters, charge._replace(amount=40)) == 0


def test_what_is_used(counters):
    """Of a window that nobody has used it is nothing."""
    charge = Charge("a", MINUTE, 7)
    assert counters.used("a", MINUTE) == 0
    counters.take([charge])
    counters.take([charge._replace(amount=1)])
    assert counters.used("a", MINUTE) == 8


def test_a_short_window_passes(counters):
    """There is room again, without anybody's help."""
    charge = Charge("a", Rate(1, 2), 1)
    assert taken(counters, charge) == 0
    begin = time.monotonic()
    assert soon(lambda: taken(counters, charge) == 0)
    assert time.monotonic() - begin > 1  # less the bucket of the store's clock


@given(steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=60))
def test_no_window_ever_holds_more(steps):
    """Whenever the requests come; and who waits as long as told is served."""
    clock = FakeClock()
    counters, limit = MemoryCounters(clock), Rate(10, 30)
    sent: deque[tuple[float, int]] = deque()
    for pause, amount in steps:
        clock.sleep(pause)
        charge = Charge("a", limit, amount)
        if wait := taken(counters, charge):
            clock.sleep(wait)
            assert taken(counters, charge) == 0
        sent.append((clock.time(), amount))
        for begin, _ in sent:
            inside = [n for at, n in sent if begin <= at < begin + limit.seconds]
            assert sum(inside) <= limit.most


def take_many(make, *args):
    counters = make(*args)
    return sum(taken(counters, Charge("a", Rate(100, 3600), 1)) == 0 for _ in range(60))


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_processes_and_threads_count_together(store, request, tmp_path):
    """Four processes that take as fast as they can get just what there is."""
    if store == "sqlite":
        make = (SqliteCounters, tmp_path / "llm.db")
    else:
        from flask_llm.resilience.storage.redis import RedisCounters

        make = (RedisCounters, request.getfixturevalue("redis_server").url)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.starmap(take_many, [make] * 4)) == 100


def test_threads_count_together():
    """Each of many callers at once."""
    counters, charge = MemoryCounters(), Charge("a", Rate(100, 3600), 1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: taken(counters, charge) == 0, range(400)))
    assert sum(found) == 100


class Broken(MemoryCounters):
    """A store that does not answer for a while."""

    is_up = False

    def take(self, charges):
        if not self.is_up:
            raise ConnectionError
        return super().take(charges)


def test_a_store_that_is_away(caplog):
    """Each process counts for itself meanwhile, and says so once."""
    store = Broken()
    counters, charge = SharedCounters(store, "redis"), Charge("a", Rate(2, 60), 1)
    assert [taken(counters, charge) > 0 for _ in range(3)] == [False, False, True]
    store.is_up = True
    assert taken(counters, charge) == 0
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]
    assert "does not answer (ConnectionError)" in caplog.messages[0]
    assert "answers again" in caplog.messages[1]
