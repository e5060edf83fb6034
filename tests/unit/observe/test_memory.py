import random
import threading
import tracemalloc

import pytest
from made_calls import attempt, finished

from flask_llm.observe import memory as module
from flask_llm.observe.aggregates import (
    ATTEMPTS,
    BOUNDS_S,
    CALLS,
    LATENCY,
    RANGES,
    Span,
    quantile,
)
from flask_llm.observe.memory import MOST_CALLS, MOST_ROWS, OTHERS, Memory
from flask_llm.signals import CircuitChanged


@pytest.fixture
def memory(clock):
    return Memory(clock)


@pytest.fixture
def now(clock):
    return clock.time()


@pytest.fixture
def hour(now):
    return span(now)


def span(now, name="1h"):
    found = RANGES[name]
    return Span((now - found.seconds) // found.width * found.width, now, found)


def numbers(row, *names):
    return tuple(row[each] for each in names)


def test_calls_are_added_up_exactly(memory, now, hour):
    """Tokens, cost and fallbacks of hand-made calls are what a person counts."""
    failed = attempt("gemini", "bad_answer", tokens=(10, 2), cost_usd=0.25)
    saved = attempt("claude", tokens=(20, 4), cost_usd=0.5)
    unpriced = attempt("claude", tokens=(1, 1), cost_note="no price")
    memory.finished(finished(now, attempt("gemini", tokens=(5, 1), cost_usd=1.0)))
    memory.finished(finished(now, failed, saved))
    memory.finished(finished(now, attempt("gemini", "quota"), unpriced))

    rows = memory.sums(CALLS, ("provider", "outcome"), hour)

    told = ("provider", "outcome", "calls", "fallbacks", "input_tokens")
    more = ("output_tokens", "cost_usd", "unpriced", "latency_s")
    assert [numbers(row, *told, *more) for row in rows] == [
        ("claude", "success", 2, 2, 31, 7, 0.75, 1, 2.0),
        ("gemini", "success", 1, 0, 5, 1, 1.0, 0, 1.0),
    ]


def test_attempts_are_added_up_without_the_skipped(memory, now, hour):
    """Each attempt counts for its own provider; who was not asked has none."""
    skipped = attempt("gemini", "cooldown", skipped=True)
    again = attempt("claude", "bad_answer", tokens=(3, 1), cost_usd=0.25)
    memory.finished(
        finished(now, skipped, again, attempt("claude", tokens=(4, 2), cost_usd=0.5))
    )

    rows = memory.sums(ATTEMPTS, ("provider", "outcome"), hour)

    assert [
        numbers(row, "provider", "outcome", "attempts", "input_tokens", "cost_usd")
        for row in rows
    ] == [("claude", "bad_answer", 1, 3, 0.25), ("claude", "success", 1, 4, 0.5)]


def test_one_sum_of_all_and_every_measure(memory, now, hour):
    """Without dimensions there is one row, with all measures of the table."""
    for _ in range(3):
        memory.finished(finished(now, attempt("gemini")))

    (row,) = memory.sums(CALLS, (), hour)

    assert row["calls"] == 3
    assert set(row) == set(CALLS.measures)


def test_nothing_has_no_rows(memory, hour):
    """A source without calls tells of none."""
    assert memory.sums(CALLS, (), hour) == []
    assert memory.recent(10) == []
    assert memory.failures() == {}
    assert memory.changes(0) == []
    assert memory.about().since is None


@pytest.mark.parametrize("name", RANGES)
def test_points_of_a_chart_are_multiples_of_its_width(memory, now, name):
    """Each range gets its own points from the same sums."""
    width = RANGES[name].width
    for ago in (0, 20, 100):
        memory.finished(finished(now - ago, attempt("gemini")))

    rows = memory.sums(CALLS, ("at",), span(now, name))

    expected = sorted({(now - ago) // width * width for ago in (0, 20, 100)})
    assert [row["at"] for row in rows] == expected
    assert sum(row["calls"] for row in rows) == 3


def test_a_span_begins_where_it_says(memory, now):
    """What was over before it does not count."""
    memory.finished(finished(now - 1000, attempt("gemini")))
    memory.finished(finished(now - 100, attempt("gemini")))

    (row,) = memory.sums(CALLS, (), span(now, "15m"))

    assert row["calls"] == 1


def test_what_is_older_than_an_hour_is_forgotten(memory, clock, now):
    """No sum outlives its hour, and the source says since when it knows."""
    memory.finished(finished(now, attempt("gemini")))
    assert memory.about().since == now // 15 * 15

    clock.sleep(3600 + 90)
    memory.finished(finished(clock.time(), attempt("claude")))

    (row,) = memory.sums(CALLS, ("provider",), span(clock.time(), "7d"))
    assert numbers(row, "provider", "calls") == ("claude", 1)
    assert memory.about().since == clock.time() // 15 * 15


def test_the_latest_calls_come_first(memory, now):
    """Whatever the order in which calls ended up here; `before` turns the page."""
    for ago in (5, 1, 3):
        memory.finished(finished(now - ago, attempt("gemini"), purpose=f"{ago} s"))

    assert [each.purpose for each in memory.recent(2)] == ["1 s", "3 s"]
    older = memory.recent(10, before=now - 1)
    assert [each.purpose for each in older] == ["3 s", "5 s"]


def test_only_the_latest_calls_are_kept_whole(memory, now, hour):
    """Older ones are in the sums, and cannot be found any more."""
    events = [finished(now, attempt("gemini")) for _ in range(MOST_CALLS + 1)]
    for event in events:
        memory.finished(event)

    assert memory.find(events[0].request.origin.call_id) is None
    call_id = events[1].request.origin.call_id
    assert memory.find(call_id).call_id == call_id
    assert len(memory.recent(10_000)) == MOST_CALLS
    (row,) = memory.sums(CALLS, (), hour)
    assert row["calls"] == MOST_CALLS + 1


def test_neither_prompt_nor_answer_is_kept(memory, now):
    """A record holds numbers and names."""
    memory.finished(finished(now, attempt("gemini")))

    (record,) = memory.recent(1)
    assert "a question" not in repr(record)
    assert "a fake answer" not in repr(record)


def test_the_latest_failure_of_each_provider(memory, now):
    """A caller who left and a provider that was not asked are no failures."""
    first = attempt("gemini", "quota", status=429, latency_s=0.5)
    last = attempt("gemini", "transient", started_s=0.5, latency_s=0.25)
    memory.finished(finished(now, first, last))
    memory.finished(finished(now + 5, attempt("gemini", "closed")))
    memory.finished(finished(now + 5, attempt("gemini", "cooldown", skipped=True)))
    memory.finished(finished(now + 5, attempt("claude")))

    (name, failure), *others = memory.failures().items()

    assert not others
    assert (name, failure.attempt, failure.at) == ("gemini", last, now - 0.25)


def test_circuits_come_in_their_order(memory):
    """From a moment on."""
    for at in (30.0, 10.0, 20.0):
        memory.changed(CircuitChanged("gemini", at, at + 5, "quota", "quota", 429))

    assert [each.at for each in memory.changes(15)] == [20.0, 30.0]


def test_a_call_waits_for_no_reader(memory, now):
    """It only leaves its record, also if somebody reads just then, and is counted."""
    with memory._lock:
        for _ in range(3 * module._BATCH):
            memory.finished(finished(now, attempt("gemini")))
        memory.changed(CircuitChanged("gemini", now))

    (row,) = memory.sums(CALLS, (), span(now))
    assert row["calls"] == 3 * module._BATCH
    assert len(memory.changes(0)) == 1


def test_calls_are_added_up_when_nobody_looks(memory, now):
    """What waits for a reader does not grow."""
    for _ in range(1000):
        memory.finished(finished(now, attempt("gemini")))

    assert len(memory._told) < module._BATCH


def test_threads_lose_no_call(memory, now, hour):
    """Many callers and two readers at once: the numbers are exact, and never shrink."""
    over = threading.Event()
    seen = [], []

    def call():
        for _ in range(500):
            memory.finished(finished(now, attempt("gemini", tokens=(2, 1))))

    def read(counts):
        while not over.is_set():
            rows = memory.sums(CALLS, (), hour)
            counts.append(sum(each["calls"] for each in rows))
            memory.recent(50)
            memory.failures()

    readers = [threading.Thread(target=read, args=(counts,)) for counts in seen]
    callers = [threading.Thread(target=call) for _ in range(6)]
    for each in readers + callers:
        each.start()
    for each in callers:
        each.join()
    over.set()
    for each in readers:
        each.join()

    (row,) = memory.sums(CALLS, (), hour)
    assert numbers(row, "calls", "input_tokens") == (3000, 6000)
    assert [sorted(counts) for counts in seen] == list(seen)


@pytest.fixture
def room(monkeypatch):
    """Leave room for few rows, which are soon full."""
    monkeypatch.setattr(module, "MOST_ROWS", 1000)
    return 1000


def fill(memory, now, number):
    """Make calls that all have names of their own."""
    for each in range(number):
        tried = attempt("gemini", model=f"model {each}")
        memory.finished(finished(now - each % 3600, tried, purpose=f"purpose {each}"))


def test_the_room_is_bounded_whatever_apps_name_their_calls(memory, now, hour, room):
    """With no more room, purposes and models become one; the sums stay exact."""
    fill(memory, now, room)
    rows = memory.sums(CALLS, ("purpose",), hour)

    assert sum(row["calls"] for row in rows) == room
    assert sum(row["calls"] for row in rows if row["purpose"] == OTHERS) > 0
    kept = len(memory._tally.rows(CALLS)) + len(memory._tally.rows(ATTEMPTS))
    assert kept < room + 1000


@pytest.mark.slow
def test_all_room_takes_little_memory(memory, now):
    """Twenty megabytes, whatever apps name their calls."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    fill(memory, now, MOST_ROWS)
    memory.about()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    kept = len(memory._tally.rows(CALLS)) + len(memory._tally.rows(ATTEMPTS))
    assert MOST_ROWS <= kept < MOST_ROWS + 1000
    assert used < 20e6


def test_without_room_nobody_stays_nobody(memory, now, hour, room):
    """A call that asked nobody gets no model when there is no more room for any."""
    for number in range(room):
        memory.finished(finished(now, attempt("gemini"), purpose=f"{number}"))
    memory.finished(finished(now, attempt("gemini", "cooldown", skipped=True)))

    rows = memory.sums(CALLS, ("provider", "model", "purpose"), hour)
    assert numbers(rows[0], "provider", "model", "purpose") == ("", "", OTHERS)


def test_room_comes_back_with_time(memory, clock, now, room):
    """An hour later new names are told apart again."""
    for number in range(room):
        memory.finished(finished(now, attempt("gemini"), purpose=f"{number}"))
    clock.sleep(3700)
    memory.recent(1)
    memory.finished(finished(clock.time(), attempt("gemini"), purpose="sort"))

    rows = memory.sums(CALLS, ("purpose",), span(clock.time()))
    assert [row["purpose"] for row in rows] == ["sort"]


def test_a_provider_fills_no_memory_with_its_model(memory, now):
    """A model's name is a stranger's text."""
    memory.finished(finished(now, attempt("gemini", model="m" * 1_000_000)))

    (record,) = memory.recent(1)
    assert record.model == record.attempts[0].model == "m" * 200


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_are_as_near_as_promised(memory, now, hour, share):
    """Of spread times within a fifth, and always within the class of the true one."""
    chance = random.Random(1)
    times = sorted(chance.lognormvariate(0, 1) for _ in range(2000))
    for each in times:
        memory.finished(finished(now, attempt("gemini"), latency=each))

    (row,) = memory.sums(CALLS, (), hour)

    exact = times[int(len(times) * share)]
    assert quantile(row, LATENCY, share) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("seconds", [0.001, 0.78, 1.0, 1.08, 30.0])
def test_equal_times_are_told_within_their_class(memory, now, hour, seconds):
    """The worst case: where all took the same, a class is all that is known."""
    for _ in range(100):
        memory.finished(finished(now, attempt("gemini"), latency=seconds))

    (row,) = memory.sums(CALLS, (), hour)

    bounds = (0.0, *BOUNDS_S)
    low = max(each for each in bounds if each < seconds)
    high = min(each for each in bounds if each >= seconds)
    assert low <= quantile(row, LATENCY, 0.95) <= high
