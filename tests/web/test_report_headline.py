import pytest
from standings import no_key, resting, standing

from flask_llm.web.formats import sentence
from flask_llm.web.report.headline import headline
from flask_llm.web.report.totals import UNKNOWN

NOW = 1_000_000.0
WELL = UNKNOWN | {"calls": 100, "answered": 1.0, "by_fallback": 0.0}
NONE = UNKNOWN | {"calls": 0}

GEMINI, CLAUDE = standing("gemini"), standing("claude")
TRIED = standing("gemini", state="half-open", kind="quota", status=429)


def told(*chain, tiles=WELL, range_name="1h"):
    found = headline(chain, tiles, range_name=range_name, now=NOW)
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
    ("tiles", "expected"),
    [
        (NONE, ("idle", "No calls in the last hour; gemini is ready", None)),
        (
            UNKNOWN,
            ("warning", "Serving from gemini; the numbers cannot be read now", None),
        ),
        (
            WELL | {"answered": 0.9},
            (
                "warning",
                (
                    "Serving from gemini, but only 90 % of the calls in the last hour"
                    " were answered"
                ),
                None,
            ),
        ),
        (
            WELL | {"answered": 0.0, "by_fallback": None},
            (
                "error",
                "gemini is asked, but no call in the last hour was answered",
                None,
            ),
        ),
        (
            WELL | {"by_fallback": 0.8},
            (
                "warning",
                (
                    "Serving from gemini, but fallbacks gave 80 % of the answers in the"
                    " last hour"
                ),
                None,
            ),
        ),
        # All callers left: nobody's failure.
        (
            WELL | {"answered": None, "by_fallback": None},
            ("ok", "Serving from gemini", None),
        ),
        (WELL | {"answered": 0.95}, ("ok", "Serving from gemini", None)),
    ],
)
def test_closed_circuits_alone_are_not_well(tiles, expected):
    """What became of the calls counts too, as far as it can be read."""
    assert told(GEMINI, CLAUDE, tiles=tiles) == expected


def test_trouble_is_told_before_that_there_are_no_calls():
    """Who lacks a key has no calls yet, and wants to know why."""
    level, text, _ = told(no_key("gemini"), CLAUDE, tiles=NONE)

    assert level == "warning"
    assert text.startswith("Serving from claude")


def test_the_time_of_the_numbers_is_named():
    """No calls in what time?"""
    _, text, _ = told(GEMINI, tiles=NONE, range_name="7d")

    assert text == "No calls in the last 7 days; gemini is ready"


def test_a_rest_that_ends_just_now_has_a_countdown():
    """The page finds it at the sentence's end, and goes on by itself."""
    found = headline(
        [resting("gemini", NOW - 0.2), CLAUDE], WELL, range_name="1h", now=NOW
    )

    assert found["text"].endswith("next try in 1 s")
    assert sentence(found).endswith("next try")
