"""What looks like an outage, and is none: the headline stays calm."""

import pytest
from made_calls import attempt, finished
from made_reports import WELL, card, made
from standings import chain, resting, standing

from flask_llm.signals import GenerationFinished
from flask_llm.types import CallContext, LLMResponse, Request

GEMINI, CLAUDE = attempt("gemini"), attempt("claude")
BROKEN = (attempt("gemini", "transient", status=503), attempt("claude", "transient"))
EXCUSES = ["invalid_request", "context_length", "content_blocked"]


def told(memory, now, name="1h", status=WELL):
    found = made(memory, now, name, status)["headline"]
    return found["level"], found["text"]


def happened(memory, number, at, *attempts, **known):
    """Let calls be over, one a second; the last one at a moment."""
    for after in reversed(range(number)):
        memory.finished(finished(at - after, *attempts, **known))


def refused(memory, number, at, kind="invalid_request"):
    """Let prompts be refused before a provider was asked."""
    for after in range(number):
        origin = CallContext(f"{number:023x}{after:x}", "", None, at - after)
        metadata = {"latency_s": 0.0, "attempts": [], "error_kind": kind}
        response = LLMResponse(False, "", "gemini", "refused", metadata)
        request = Request("a question", origin=origin)
        memory.finished(GenerationFinished(request, response))


@pytest.mark.parametrize("number", [1, 6])
def test_prompts_that_a_filter_refuses_are_no_outage(memory, now, number):
    """No provider was asked."""
    refused(memory, number, now)

    assert told(memory, now) == ("ok", "Serving from gemini")
    assert card(made(memory, now), "gemini")["current"]


def test_a_filter_that_breaks_is_one(memory, now):
    """Nobody gets an answer, whoever is to blame."""
    refused(memory, 6, now, kind="unknown")

    assert told(memory, now)[0] == "error"


@pytest.mark.parametrize("kind", EXCUSES)
def test_a_prompt_that_providers_refuse_is_no_outage(memory, now, kind):
    """One bad prompt in a fresh process: the last call is told, and not as an error."""
    happened(memory, 1, now, attempt("gemini", kind), attempt("claude", kind))

    text = "Serving from gemini, but the last call was not answered"
    assert told(memory, now) == ("warning", text)


@pytest.mark.parametrize("kind", EXCUSES)
def test_who_refuses_a_prompt_does_not_fail(memory, now, kind):
    """Though a fallback has answered such prompts each time."""
    happened(memory, 6, now, attempt("gemini", kind), CLAUDE)

    assert told(memory, now) == ("ok", "Serving from gemini")


def test_a_resting_provider_is_not_blamed_for_what_it_was_not_asked(memory, now):
    """The calls that count failed at somebody else."""
    happened(memory, 6, now, attempt("claude", "bad_answer", error="no answer"))
    status = chain(resting("gemini", now + 600), standing("claude"))

    text = "None of the last 6 calls was answered: claude fails (no answer)"
    assert told(memory, now, status=status) == ("error", text)


def test_a_fallback_that_serves_badly_is_said_to(memory, now):
    """That the first one rests is only half of it."""
    skipped = attempt("gemini", "cooldown", skipped=True)
    happened(memory, 6, now - 10, skipped, attempt("claude", "transient"))
    happened(memory, 4, now, skipped, CLAUDE)
    status = chain(resting("gemini", now + 18), standing("claude"))

    assert told(memory, now, status=status) == (
        "warning",
        (
            "Serving from claude, but only 4 of the last 10 calls were answered:"
            " gemini's circuit is open (429), next try in 18 s"
        ),
    )


@pytest.mark.parametrize("name", ["1h", "24h", "7d"])
def test_trouble_of_long_ago_is_dated_and_no_alarm(memory, now, name):
    """A quiet app: nobody has called since, so nobody knows."""
    happened(memory, 8, now - 3000, *BROKEN)

    text = (
        "Serving from gemini, but none of the last 8 calls was answered,"
        " the latest 50 min ago"
    )
    assert told(memory, now, name) == ("warning", text)


def test_calls_of_another_chain_tell_nothing_of_this_one(memory, now):
    """Whoever has just replaced a provider looks whether it works now."""
    happened(memory, 6, now - 60, attempt("old", "auth", status=401))
    status = chain(standing("new"))

    assert told(memory, now, status=status) == (
        "ok",
        "Serving from new, the only provider",
    )


def test_a_stream_whose_reader_had_enough_was_answered(memory, now):
    """It had begun: one failure after it is no outage."""
    happened(memory, 20, now - 5, attempt("gemini", "closed"), first_token_s=0.2)
    happened(memory, 1, now, *BROKEN)

    level, text = told(memory, now)
    assert (level, text) == ("ok", "Serving from gemini")


def test_failures_before_a_stream_that_was_closed_are_seen(memory, now):
    """The first provider fails each time, and the fallback's streams are read."""
    failed = attempt("gemini", "transient", status=503)
    closed = attempt("claude", "closed")
    happened(memory, 20, now, failed, closed, first_token_s=0.2)

    text = "Serving from claude: gemini is asked first and fails (503)"
    assert told(memory, now) == ("warning", text)
