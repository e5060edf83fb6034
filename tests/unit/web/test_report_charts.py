"""What charts are drawn from."""

from collections import Counter

import pytest
from made_calls import attempt, finished
from made_reports import drawn, made

from flask_llm.signals import CircuitChanged
from flask_llm.web.charts import NOT_ANSWERED


@pytest.mark.parametrize(
    ("name", "points", "width"),
    [("15m", 61, 15), ("1h", 61, 60), ("24h", 97, 900), ("7d", 85, 7200)],
)
def test_charts_have_every_point_of_their_time(memory, now, name, points, width):
    """A time without calls has its point too, so that no line leaps over it."""
    memory.finished(finished(now, attempt("gemini")))

    found = made(memory, now, name)

    at = found["charts"]["at"]
    assert len(at) == points
    assert {later - at[i] for i, later in enumerate(at[1:])} == {width}
    assert at[0] == found["range"]["since"]
    assert at[-1] <= now < at[-1] + width
    lines = [*found["charts"]["calls"].values(), *found["charts"]["latency"].values()]
    assert {len(line) for line in lines} == {points}
    assert found["charts"]["calls"]["gemini"] == [0] * (points - 1) + [1]


def test_charts_say_when_it_was(some, now):
    """Calls by who answered, cost by model, failures by kind; each adds up."""
    found = made(some, now)

    def at(ago):
        return (now - ago) // 60 * 60

    assert drawn(found, "calls") == {
        "claude": Counter([at(200), at(80)]),
        "gemini": Counter([at(30), at(20), at(90)]),  # one of them was left
        NOT_ANSWERED: Counter([at(100)]),
    }
    assert list(found["charts"]["calls"])[-1] == NOT_ANSWERED
    assert drawn(found, "cost") == {
        "claude-1": {at(201): 0.25, at(81): 0.5},  # when the attempts were over
        "gemini-1": {at(30): 1.0},
    }
    assert {
        kind: sum(line.values()) for kind, line in drawn(found, "errors").items()
    } == {
        "bad_answer": 1,
        "quota": 1,
        "transient": 1,
    }


def test_latency_is_that_of_answers(memory, now):
    """What failed or was left at once makes no model look fast."""
    memory.finished(finished(now, attempt("gemini"), latency=2.0))
    for _ in range(9):
        memory.finished(finished(now, attempt("gemini", "quota"), latency=0.01))

    found = made(memory, now)

    assert found["charts"]["latency"]["p50"][-1] == pytest.approx(2.0, rel=0.4)
    assert found["charts"]["latency"]["p50"][:-1] == [None] * 60
    assert found["tiles"]["p95_s"] == pytest.approx(2.0, rel=0.4)


def test_rests_are_there_also_if_they_began_before(memory, now):
    """A rest of an hour reaches into a page of fifteen minutes."""
    memory.changed(CircuitChanged("gemini", now - 1800, now + 1800, "quota", "", 429))

    found = made(memory, now, "15m")

    since = found["range"]["since"]
    rest = {"provider": "gemini", "since": since, "until": now, "kind": "quota"}
    assert found["openings"] == [rest]
