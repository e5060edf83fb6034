import pytest
from standings import no_key, resting, standing

from flask_llm.web.formats import sentence
from flask_llm.web.report.status_line import Lately, headline

NOW = 1_000_000.0
GEMINI, CLAUDE = standing("gemini"), standing("claude")
TRIED = standing("gemini", state="half-open", kind="quota", status=429)


def told(*chain, calls=100, range_name="1h"):
    found = headline(chain, Lately(), calls, range_name=range_name, now=NOW)
    return found["level"], found["text"], found["until"]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([GEMINI, CLAUDE], ("ok", "Serving from gemini", None)),
        ([GEMINI], ("ok", "Serving from gemini, the only provider", None)),
        (
            [GEMINI, resting("claude", NOW + 9)],
            ("ok", "Serving from gemini", None),
        ),
        (
            [resting("gemini", NOW + 18), CLAUDE],
            (
                "warning",
                "Serving from claude: gemini's circuit is open (429), next try in 18 s",
                NOW + 18,
            ),
        ),
        (
            [resting("gemini", NOW + 150, kind="transient", status=None), CLAUDE],
            (
                "warning",
                (
                    "Serving from claude: gemini's circuit is open (temporary failure),"
                    " next try in 2 min 30 s"
                ),
                NOW + 150,
            ),
        ),
        (
            [no_key("gemini"), CLAUDE],
            (
                "warning",
                (
                    "Serving from claude: gemini is not available,"
                    " no API key (set GEMINI_API_KEY)"
                ),
                None,
            ),
        ),
        (
            [resting("gemini", NOW + 18), no_key("claude"), standing("local")],
            (
                "warning",
                (
                    "Serving from local: claude is not available,"
                    " no API key (set CLAUDE_API_KEY);"
                    " gemini's circuit is open (429), next try in 18 s"
                ),
                NOW + 18,
            ),
        ),
        (
            [resting("gemini", NOW + 60), resting("claude", NOW + 5, status=529)],
            (
                "error",
                (
                    "Nobody can answer: gemini's circuit is open (429);"
                    " claude's circuit is open (529), next try in 5 s"
                ),
                NOW + 5,
            ),
        ),
        (
            [no_key("gemini")],
            (
                "error",
                (
                    "Nobody can answer: gemini is not available,"
                    " no API key (set GEMINI_API_KEY)"
                ),
                None,
            ),
        ),
        (
            [TRIED, CLAUDE],
            (
                "warning",
                (
                    "Serving from claude: gemini's rest is over (429),"
                    " the next call tries it"
                ),
                None,
            ),
        ),
        (
            [TRIED],
            (
                "warning",
                ("gemini's rest is over (429), the next call tries it"),
                None,
            ),
        ),
    ],
)
def test_it_says_who_serves_and_why(chain, expected):
    """One sentence for each way in which a chain can stand."""
    assert told(*chain) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (0, ("idle", "No calls in the last hour; gemini is ready", None)),
        (
            None,
            ("warning", "Serving from gemini; the numbers cannot be read now", None),
        ),
        # All callers left: nobody's failure.
        (3, ("ok", "Serving from gemini", None)),
    ],
)
def test_what_is_not_known_is_said(calls, expected):
    """No calls, or none that can be read."""
    assert told(GEMINI, CLAUDE, calls=calls) == expected


def test_the_countdown_is_that_of_who_is_told_last():
    """Whoever is back first, wherever in the chain it stands."""
    _, text, until = told(
        resting("gemini", NOW + 5), resting("claude", NOW + 60, status=529)
    )

    assert until == NOW + 5
    assert text == (
        "Nobody can answer: claude's circuit is open (529);"
        " gemini's circuit is open (429), next try in 5 s"
    )


def test_trouble_is_told_before_that_there_are_no_calls():
    """Who lacks a key has no calls yet, and wants to know why."""
    level, text, _ = told(no_key("gemini"), CLAUDE, calls=0)

    assert level == "warning"
    assert text.startswith("Serving from claude")


def test_the_time_of_the_numbers_is_named():
    """No calls in what time?"""
    _, text, _ = told(GEMINI, calls=0, range_name="7d")

    assert text == "No calls in the last 7 days; gemini is ready"


def test_a_rest_that_ends_just_now_has_a_countdown():
    """The page finds it at the sentence's end, and goes on by itself."""
    chain = [resting("gemini", NOW - 0.2), CLAUDE]
    found = headline(chain, Lately(), 100, range_name="1h", now=NOW)

    assert found["text"].endswith("next try in 1 s")
    assert sentence(found).endswith("next try")
