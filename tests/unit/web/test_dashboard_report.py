import json

import pytest
from made_calls import attempt, finished
from made_reports import card, made, picked
from standings import chain, resting, standing

from flask_llm.observe.aggregates import About, SourceError
from flask_llm.observe.memory import OTHERS, Memory
from flask_llm.web.report import in_full
from flask_llm.web.report.series import MOST_GROUPS


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
        ("draft", "claude", "claude-1", 1, 0.0, None, 0),
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

    found = made(memory, now)

    for each in (found["tiles"], *found["breakdown"]):
        assert picked(each, "cost_usd", "unpriced") == (None, 1)


def test_models_without_a_price_are_named(memory, now):
    """Those whose tries it were, the most frequent first, and not a long list."""
    free = {"tokens": (1, 1), "cost_note": "no price"}
    for number, model in enumerate("abcde"):
        failed = attempt("gemini", "bad_answer", model=model, **free)
        priced = attempt("claude", tokens=(1, 1), cost_usd=1.0)
        for _ in range(number):
            memory.finished(finished(now, failed, priced))

    assert made(memory, now)["tiles"]["unpriced_models"] == ["e", "d", "c"]


def test_no_model_is_named_where_all_have_a_price(memory, now):
    """Nobody is told to set prices that are known."""
    memory.finished(finished(now, attempt("gemini", tokens=(1, 1), cost_usd=1.0)))

    assert made(memory, now)["tiles"]["unpriced_models"] == []


@pytest.mark.parametrize("name", ["15m", "1h", "24h", "7d"])
def test_memory_says_what_it_is(memory, now, name):
    """Nobody takes one process's hour for a week of all workers."""
    memory.finished(finished(now, attempt("gemini")))
    source = made(memory, now, name)["source"]

    assert source["kind"] == "memory"
    assert source["text"].startswith("This process's calls of the last hour")
    assert ("no more is kept" in source["text"]) == (name in {"24h", "7d"})
    assert "LLM_USAGE=on" in source["text"]


def test_an_empty_memory_says_why(memory, now):
    """After a restart it is not that nothing has happened."""
    told = made(memory, now)["source"]["text"]

    assert "has seen no calls in the last hour" in told
    assert "forgets them when it ends" in told
    assert "LLM_USAGE=on" in told


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
