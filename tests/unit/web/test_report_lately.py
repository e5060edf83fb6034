"""The headline tells of now, whatever time the page shows."""

import pytest
from made_calls import attempt, finished
from made_reports import WELL, made
from standings import chain, resting, standing

RANGES = ["15m", "1h", "24h", "7d"]
TIMEOUT = attempt("gemini", "transient", error="timeout")
GEMINI, CLAUDE = attempt("gemini"), attempt("claude")
BOTH = (TIMEOUT, attempt("claude", "transient", status=503))


def told(memory, now, name="1h", status=WELL):
    found = made(memory, now, name, status)["headline"]
    return found["level"], found["text"]


def happened(memory, *calls):
    """Let calls be over: (moment, attempts…)."""
    for at, *attempts in calls:
        memory.finished(finished(at, *attempts))


def many(number, until, *attempts):
    """Return calls, one a second."""
    return [(until - after, *attempts) for after in range(number)]


@pytest.mark.parametrize("name", RANGES)
def test_an_outage_is_told_in_every_range(memory, now, name):
    """A thousand answers of this morning make no answer of now."""
    happened(memory, *many(400, now - 300, GEMINI), *many(30, now - 1, *BOTH))
    assert told(memory, now, name) == (
        "error",
        (
            "None of the last 30 calls was answered:"
            " gemini fails (timeout); claude fails (503)"
        ),
    )


@pytest.mark.parametrize("name", RANGES)
def test_all_is_well_when_the_trouble_is_over(memory, now, name):
    """Failures of an hour ago are in the charts, not in the headline."""
    happened(memory, *many(300, now - 400, *BOTH), *many(10, now - 1, GEMINI))
    assert told(memory, now, name) == ("ok", "Serving from gemini")


def test_an_outage_of_a_quiet_app_is_one_too(memory, now):
    """A call in two minutes: five in a row are no chance."""
    calls = [(now - 10 - 120 * number, *BOTH) for number in range(8)]
    happened(memory, (now - 1000, GEMINI), *calls)

    level, text = told(memory, now)
    assert level == "error"
    assert text.startswith("No call in the last 14 min was answered: gemini fails")


def test_a_quiet_app_recovers_in_five_calls(memory, now):
    """Not only when the failures are twenty calls ago."""
    happened(memory, *many(15, now - 1500, *BOTH))
    for number in range(4):
        happened(memory, (now - 1400 + 100 * number, GEMINI))
        assert told(memory, now)[0] == "warning"

    happened(memory, (now - 900, GEMINI))

    assert told(memory, now) == ("ok", "Serving from gemini")


def test_the_first_call_of_all_may_fail(memory, now):
    """Whoever has just set it up sees that it does not work."""
    happened(memory, (now - 2, attempt("gemini", "auth", status=401)))

    text = "The last call was not answered: gemini fails (401)"
    assert told(memory, now) == ("error", text)


def test_a_call_that_asked_nobody_has_its_reason(memory, now):
    """Its time was up before."""
    skipped = attempt("gemini", "deadline", skipped=True)
    happened(memory, *many(5, now, skipped))

    assert told(memory, now)[1].endswith("calls was answered: deadline passed")


def test_advice_is_not_in_the_headline(memory, now):
    """It stands on the card, in a place of its own."""
    words = "model not found (set LLM_GEMINI_MODEL)"
    happened(memory, (now, attempt("gemini", "model_not_found", error=words)))

    assert told(memory, now)[1].endswith(": gemini fails (model not found)")


def test_some_failures_are_counted(memory, now):
    """Of the calls of now, however many there were before."""
    happened(
        memory,
        *many(300, now - 400, GEMINI),
        *many(8, now - 9, GEMINI),
        *many(2, now - 1, *BOTH),
    )

    text = "Serving from gemini, but only 8 of the last 10 calls were answered"
    assert told(memory, now, "7d") == ("warning", text)


def test_who_left_is_nobodys_failure(memory, now):
    """Neither in an outage nor in a share."""
    happened(memory, *many(20, now - 1, attempt("gemini", "closed")))
    assert told(memory, now) == ("ok", "Serving from gemini")

    happened(memory, *many(5, now - 40, *BOTH))
    assert told(memory, now)[0] == "error"


def test_a_first_provider_that_fails_does_not_serve(memory, now):
    """Its circuit is closed, and it is asked first each time."""
    happened(memory, *many(6, now - 1, TIMEOUT, CLAUDE))

    text = "Serving from claude: gemini is asked first and fails (timeout)"
    assert told(memory, now) == ("warning", text)


def test_it_serves_again_with_its_first_success(memory, now):
    """The calls during its rest are no failures of it."""
    skipped = attempt("gemini", "cooldown", skipped=True)
    happened(
        memory,
        *many(3, now - 100, TIMEOUT, CLAUDE),
        *many(40, now - 50, skipped, CLAUDE),
        *many(4, now - 1, GEMINI),
    )

    assert told(memory, now) == ("ok", "Serving from gemini")


def test_a_first_provider_that_mostly_fails_is_no_good_one(memory, now):
    """Though it has answered the latest call, and fallbacks did the others."""
    happened(memory, *many(9, now - 5, TIMEOUT, CLAUDE), *many(1, now, GEMINI))

    text = "Serving from gemini, but it failed in 9 of its last 10 calls"
    assert told(memory, now) == ("warning", text)


def test_the_next_provider_may_fail_too(memory, now):
    """While the first one rests, and the third one answers."""
    skipped = attempt("gemini", "cooldown", skipped=True)
    failed = attempt("claude", "bad_answer", error="no usable answer")
    happened(memory, *many(6, now - 1, skipped, failed, attempt("local")))
    status = chain(resting("gemini", now + 18), standing("claude"), standing("local"))

    assert told(memory, now, status=status) == (
        "warning",
        (
            "Serving from local: claude is asked first and fails (no usable answer);"
            " gemini's circuit is open (429), next try in 18 s"
        ),
    )


def test_a_fallback_that_nobody_asks_serves_nothing(memory, now):
    """What the model declines is not shopped around."""
    calls = [(now - 2 * each, attempt("gemini", "content_blocked")) for each in (0, 1)]
    happened(memory, *calls, *many(4, now - 10, GEMINI))

    text = "Serving from gemini, but only 4 of the last 6 calls were answered"
    assert told(memory, now) == ("warning", text)


def test_an_outage_is_told_although_a_fallback_is_ready(memory, now):
    """A closed circuit is no answer."""
    happened(memory, *many(7, now, *BOTH))
    status = chain(resting("gemini", now + 18), standing("claude"))

    assert told(memory, now, status=status) == (
        "error",
        (
            "None of the last 7 calls was answered: claude fails (503);"
            " gemini's circuit is open (429), next try in 18 s"
        ),
    )


def test_an_outage_goes_on_while_a_provider_is_on_trial(memory, now):
    """Its rest is over, and nobody knows yet whether it answers."""
    skipped = attempt("claude", "cooldown", skipped=True)
    happened(memory, *many(7, now, attempt("gemini", "quota"), skipped))
    tried = standing("claude", state="half-open", kind="transient", status=503)
    status = chain(resting("gemini", now + 18), tried)

    assert told(memory, now, status=status) == (
        "error",
        (
            "None of the last 7 calls was answered: claude's rest is over (503),"
            " the next call tries it; gemini's circuit is open (429), next try in 18 s"
        ),
    )


def test_calls_before_the_time_shown_tell_nothing(memory, now):
    """There were none in it."""
    happened(memory, *many(7, now - 1800, *BOTH))

    text = "No calls in the last 15 minutes; gemini is ready"
    assert told(memory, now, "15m") == ("idle", text)
