import json
from collections import Counter

import pytest
from made_calls import attempt, finished
from standings import chain, no_key, resting, standing

from flask_llm.observe.memory import OTHERS, Memory
from flask_llm.observe.source import About, SourceError
from flask_llm.signals import CircuitChanged
from flask_llm.web.report import in_full, report
from flask_llm.web.report.totals import MOST_GROUPS

WELL = chain(standing("gemini"), standing("claude"))


@pytest.fixture
def memory(clock):
    return Memory(clock)


@pytest.fixture
def now(clock):
    return clock.time()


def made(memory, now, name="1h", status=WELL):
    found = report(memory, status, name, now)
    json.dumps(found, allow_nan=False)
    return found


def picked(row, *names):
    return tuple(row[each] for each in names)


def card(found, name):
    return next(each for each in found["chain"] if each["name"] == name)


def drawn(found, chart):
    """The points of a chart at which something is, by line: {epoch: value}."""
    moments = found["charts"]["at"]
    return {
        name: {at: value for at, value in zip(moments, line, strict=True) if value}
        for name, line in found["charts"][chart].items()
    }


@pytest.fixture
def some(memory, now):
    """Six calls: two well, one by the fallback, one failed, one left, one re-asked."""
    quota = attempt(
        "gemini", "quota", status=429, latency_s=0.1, error="quota exceeded"
    )
    again = attempt(
        "claude", "bad_answer", tokens=(7, 3), cost_usd=0.5, error="no JSON"
    )
    skipped = attempt("gemini", "cooldown", skipped=True)
    for event in (
        finished(
            now - 30, attempt("gemini", tokens=(10, 2), cost_usd=1.0, latency_s=1)
        ),
        finished(now - 20, attempt("gemini", tokens=(1, 1), cost_note="no price")),
        finished(now - 200, quota, attempt("claude", tokens=(5, 5), cost_usd=0.25)),
        finished(now - 100, skipped, attempt("claude", "transient"), purpose="draft"),
        finished(now - 90, attempt("gemini", "closed"), first_token_s=0.2),
        finished(now - 80, skipped, again, attempt("claude", tokens=(9, 1))),
    ):
        memory.finished(event)
    return memory


def test_tiles_are_what_a_person_counts(some, now):
    """A caller who left is neither an answer nor a failure; prices are added up."""
    tiles = made(some, now)["tiles"]

    assert picked(tiles, "calls", "answered", "by_fallback") == (6, 4 / 5, 2 / 4)
    assert picked(tiles, "input_tokens", "output_tokens") == (32, 12)
    assert picked(tiles, "cost_usd", "unpriced") == (1.75, 1)
    assert tiles["p95_s"] == pytest.approx(1.0, rel=0.4)
    assert tiles["first_token_p50_s"] == pytest.approx(0.2, rel=0.4)


def test_the_breakdown_says_who_used_what(some, now):
    """By purpose, provider and model; what is used most comes first."""
    rows = made(some, now)["breakdown"]

    names = (
        "purpose",
        "provider",
        "model",
        "calls",
        "answered",
        "cost_usd",
        "unpriced",
    )
    assert [picked(each, *names) for each in rows] == [
        ("sort", "gemini", "gemini-1", 3, 1.0, 1.0, 1),
        ("sort", "claude", "claude-1", 2, 1.0, 0.75, 0),
        ("draft", "claude", "claude-1", 1, 0.0, 0.0, 0),
    ]
    assert sum(each["input_tokens"] for each in rows) == 32


def test_the_breakdown_has_an_end(memory, now):
    """An app that names each call differently gets one line for the rest."""
    for number in range(MOST_GROUPS + 10):
        for _ in range(2 if number < MOST_GROUPS else 1):
            event = finished(now, attempt("gemini"), purpose=f"purpose {number}")
            memory.finished(event)

    rows = made(memory, now)["breakdown"]

    assert len(rows) == MOST_GROUPS + 1
    assert picked(rows[-1], "purpose", "calls") == (OTHERS, 10)


def test_cards_count_attempts(some, now):
    """Not those that were skipped; a caller who left is in no rate."""
    found = made(some, now)

    names = ("attempts", "error_rate")
    assert picked(card(found, "gemini"), *names) == (4, 1 / 3)
    assert picked(card(found, "claude"), *names) == (4, 2 / 4)
    assert card(found, "gemini")["p50_s"] is not None


def test_cards_tell_roles_and_states(memory, now):
    """As the status has them; nothing is made up for who was never asked."""
    status = chain(
        resting(
            "gemini", now + 18, advice="set GOOGLE_API_KEY", kind="auth", status=401
        ),
        no_key("claude"),
        standing("local", model=None),
        current="local",
    )

    cards = made(memory, now, status=status)["chain"]

    names = ("name", "model", "role", "current", "state", "until")
    assert [picked(each, *names) for each in cards] == [
        ("gemini", "gemini-1", "primary", False, "open", now + 18),
        ("claude", "claude-1", "fallback", False, "unavailable", None),
        ("local", None, "fallback", True, "closed", None),
    ]
    numbers = ("attempts", "error_rate", "p50_s", "p95_s", "last_error")
    assert {picked(each, *numbers) for each in cards} == {(0, None, None, None, None)}
    assert [each["advice"] for each in cards] == [
        "Its key is refused: set GOOGLE_API_KEY.",
        "It is not set up: set CLAUDE_API_KEY.",
        None,
    ]


def test_the_last_error_comes_with_advice_while_it_is_news(memory, now):
    """In words, with its status; out of the time shown it needs no advice any more."""
    failed = attempt(
        "gemini", "quota", status=429, error="quota exceeded", started_s=1.0
    )
    memory.finished(finished(now - 1200, failed, attempt("claude")))

    recent, old = (card(made(memory, now, name), "gemini") for name in ("1h", "15m"))

    assert recent["last_error"] == {
        "at": now - 1200,
        "kind": "quota",
        "text": "quota exceeded",
        "status": 429,
    }
    assert recent["advice"].startswith("Its quota is used up for now: ")
    assert old["last_error"] == recent["last_error"]
    assert old["advice"] is None


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
        "claude": Counter([at(200), at(100), at(80)]),
        "gemini": Counter([at(30), at(20), at(90)]),
    }
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


def test_recent_calls_show_their_way(some, now):
    """The latest first, each with who was asked, who was skipped and what it cost."""
    recent = made(some, now)["recent"]

    assert [now - each["at"] for each in recent] == [20, 30, 80, 90, 100, 200]
    unpriced, priced, again, left, failed, saved = recent
    assert [each["cost_usd"] for each in recent] == [None, 1.0, 0.5, None, None, 0.25]
    assert [picked(e, "provider", "outcome", "skipped") for e in again["path"]] == [
        ("gemini", "cooldown", True),
        ("claude", "bad_answer", False),
        ("claude", "success", False),
    ]
    assert saved["path"][0]["status"] == 429
    assert [each["streamed"] for each in (left, failed)] == [True, False]
    assert picked(failed, "purpose", "outcome") == ("draft", "transient")
    assert unpriced["model"] == priced["model"] == "gemini-1"


def test_one_call_in_full(some, now):
    """With the tokens, the cost and the words of each attempt."""
    record = some.recent(10)[2]

    call = in_full(record)

    json.dumps(call, allow_nan=False)
    assert picked(call, "call_id", "started_at", "finished_at") == (
        record.call_id,
        now - 81,
        now - 80,
    )
    assert picked(call, "outcome", "fallback", "error") == ("success", True, None)
    again = call["attempts"][1]
    assert picked(again, "input_tokens", "output_tokens", "cost_usd") == (7, 3, 0.5)
    assert picked(again, "error", "skipped") == ("no JSON", False)
    assert call["attempts"][0]["skipped"] is True
    assert call["attempts"][0]["input_tokens"] is None


def test_without_any_call_there_are_zeros_and_no_rates(memory, now):
    """An empty page is no broken one."""
    found = made(memory, now)

    assert found["headline"]["level"] == "idle"
    assert picked(found["tiles"], "calls", "answered", "cost_usd") == (0, None, 0.0)
    assert found["breakdown"] == found["recent"] == found["openings"] == []
    assert picked(found["source"], "error", "since") == (None, None)


def test_a_cost_that_is_wholly_unknown_is_not_nothing(memory, now):
    """Tokens without any price: unknown, never 0."""
    memory.finished(finished(now, attempt("gemini", tokens=(1, 1), cost_note="?")))

    assert picked(made(memory, now)["tiles"], "cost_usd", "unpriced") == (None, 1)


@pytest.mark.parametrize("name", ["15m", "1h", "24h", "7d"])
def test_memory_says_what_it_is(memory, now, name):
    """Nobody takes one process's hour for a week of all workers."""
    source = made(memory, now, name)["source"]

    assert source["kind"] == "memory"
    assert source["text"].startswith("This process's calls of the last hour")
    assert ("no more is kept" in source["text"]) == (name in {"24h", "7d"})
    assert "LLM_USAGE=on" in source["text"]


class Lost(Memory):
    """A usage log whose database is away; it notices when it is asked, or before."""

    why = None

    def about(self):
        return About("usage", error=self.why, lost=3)

    def sums(self, table, by, span):
        raise SourceError("the database does not answer")


@pytest.mark.parametrize("why", [None, "the database does not answer"])
def test_a_source_that_cannot_be_read_leaves_the_chain(clock, now, why):
    """Who answers is still there; numbers are unknown, and why is said."""
    source = Lost(clock)
    source.why = why

    found = made(
        source, now, status=chain(resting("gemini", now + 9), standing("claude"))
    )

    assert picked(found["source"], "kind", "error", "lost") == (
        "usage",
        "the database does not answer",
        3,
    )
    assert found["headline"]["text"].startswith("Serving from claude")
    assert set(found["tiles"].values()) == {None}
    assert card(found, "gemini")["attempts"] is None
    assert card(found, "gemini")["state"] == "open"
    assert found["recent"] == found["breakdown"] == found["openings"] == []
    assert found["charts"]["calls"] == {}
    assert len(found["charts"]["latency"]["p50"]) == len(found["charts"]["at"])
    well = made(source, now)["headline"]
    assert picked(well, "level", "text") == (
        "warning",
        "Serving from gemini; the numbers cannot be read now",
    )


def test_a_page_asks_its_source_few_questions(memory, now):
    """Each may be a query over a million calls."""
    asked = []
    for name in ("about", "sums", "recent", "failures", "changes", "find"):
        method = getattr(memory, name)

        def noted(*args, _name=name, _method=method, **kwargs):
            asked.append(_name)
            return _method(*args, **kwargs)

        setattr(memory, name, noted)

    made(memory, now)

    assert sorted(asked) == sorted(
        ["about", "sums", "sums", "sums", "failures", "changes", "recent"]
    )
