"""What a provider's card tells."""

import os

import pytest
from made_calls import attempt, finished
from made_reports import WELL, card, made, picked
from standings import chain, no_key, resting, standing

from flask_llm.observe.aggregates import About
from flask_llm.observe.memory import Memory


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
        "Its key is refused; set GOOGLE_API_KEY.",
        "It is not set up; set CLAUDE_API_KEY.",
        None,
    ]


def test_the_last_error_comes_with_advice_while_it_is_news(memory, now):
    """In words, with its status; what was long ago needs no advice any more."""
    failed = attempt(
        "gemini", "quota", status=429, error="quota exceeded", started_s=1.0
    )
    memory.finished(finished(now - 300, failed, attempt("claude")))

    recent = card(made(memory, now), "gemini")
    old = card(made(memory, now + 1200), "gemini")

    assert recent["last_error"] == {
        "at": now - 300,
        "kind": "quota",
        "text": "quota exceeded",
        "status": 429,
    }
    assert recent["advice"].startswith("Its quota is used up for now; ")
    assert old["last_error"] == recent["last_error"]
    assert old["advice"] is None


@pytest.mark.parametrize("name", ["15m", "1h", "24h", "7d"])
def test_advice_ends_with_the_trouble(memory, now, name):
    """A success since then means that nothing is to be done, whatever time is shown."""
    memory.finished(finished(now - 9, attempt("gemini", "quota")))
    assert card(made(memory, now, name), "gemini")["advice"]

    memory.finished(finished(now - 8, attempt("gemini")))

    gemini = card(made(memory, now, name), "gemini")
    assert gemini["advice"] is None
    assert gemini["last_error"]["kind"] == "quota"


def test_advice_ends_though_nobody_has_asked_it_since(memory, now):
    """A fallback that failed in an outage, and that the first one needs no more."""
    memory.finished(finished(now - 900, attempt("claude", "transient")))
    for _ in range(20):
        memory.finished(finished(now - 9, attempt("gemini")))

    assert card(made(memory, now), "claude")["advice"] is None


def test_a_provider_that_is_not_set_up_has_its_reason_above(memory, now):
    """Where nothing but the reason says what it lacks."""
    status = chain(no_key("gemini") | {"advice": None, "kind": "unavailable"})

    advice = made(memory, now, status=status)["chain"][0]["advice"]
    assert advice == "It is not set up; the line above says what it needs."


def test_the_current_provider_is_the_one_that_the_headline_names(memory, now):
    """The status tells who answered this process last, which may be long ago."""
    for number in range(6):
        failed = attempt("gemini", "transient", error="timeout")
        memory.finished(finished(now - number, failed, attempt("claude")))

    found = made(memory, now, status=WELL | {"current": "gemini"})

    assert found["headline"]["text"].startswith("Serving from claude: gemini is asked")
    assert [each["current"] for each in found["chain"]] == [False, True]


def test_nobody_is_current_while_nobody_answers(memory, now):
    """A card that says "answering" would be wrong, also if it is ready."""
    status = chain(resting("gemini", now + 5), current="gemini")
    assert not card(made(memory, now, status=status), "gemini")["current"]

    memory.finished(finished(now, attempt("gemini", "transient")))
    assert not card(made(memory, now), "gemini")["current"]


class Log(Memory):
    """The calls of several processes."""

    def about(self):
        return About("usage")


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("kind", [Memory, Log])
def test_rests_that_others_may_not_know_of_are_noted(clock, now, kind, is_shared):
    """Only where the numbers are of all processes, and the rests of one."""
    note = made(kind(clock), now, is_shared=is_shared)["note"]

    assert (note is not None) == (kind is Log and not is_shared)
    if note:
        assert f"process {os.getpid()}" in note
        assert "LLM_STATE_URL" in note
