"""How the pages write numbers, times and the paths of calls."""

# ruff: noqa: RUF001  # signs that the pages use

import pytest

from flask_llm.observe.aggregates import RANGES
from flask_llm.web import formats
from flask_llm.web.formats import WIDTH, timeline

NARROW = "\u00a0"


def plain(text):
    """Return a text with usual spaces."""
    return text.replace(NARROW, " ")


def tried(provider, outcome="success", status=None, *, skipped=False):
    known = {"provider": provider, "outcome": outcome, "status": status}
    return known | {"skipped": skipped}


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (0.00000123, "<$0.0001"),
        (0.000414, "$0.00041"),
        (0.0999, "$0.10"),
        (0.5, "$0.50"),
        (999.994, "$999.99"),
        (1234.5, "$1,234"),
        (1.234e9, "$1.23 B"),
        (-0.1, "$0"),
    ],
)
def test_money(usd, text):
    """An amount has the digits that say something, and an unknown one is no zero."""
    assert plain(formats.money(usd)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0044, "4 ms"),
        (0.0996, "0.10 s"),
        (0.996, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125.2, "2 min 5 s"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_seconds(seconds, text):
    """A time is written in the unit that fits, rounded before the unit is chosen."""
    assert plain(formats.seconds(seconds)) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.00001, "<0.1 %"),
        (0.1234, "12.3 %"),
        (0.99999, ">99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_share(part, text):
    """Only all is 100 %, and only nothing is 0 %."""
    assert plain(formats.share(part)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (999, "999"), (9999, "9,999"), (999_600, "1 M"), (1.5e15, "1,500 T")],
)
def test_tokens(number, text):
    """Numbers stay short, however large."""
    assert plain(formats.tokens(number)) == text


def test_ages():
    """A moment is as long ago as its largest unit says, and never in the future."""
    ages = [formats.ago(each) for each in (-3, 0.4, 12.9, 61, 7200, 200_000)]
    expected = ["just now", "just now", "12 s ago", "1 min ago", "2 h ago", "2 d ago"]
    assert [plain(each) for each in ages] == expected


def test_the_path_of_a_call():
    """It names each provider with its status, or the kind where there is none."""
    path = [tried("gemini", "quota", 429), tried("claude")]
    assert formats.path_label(path) == "gemini ✕429 → claude ✓"
    words = "gemini failed: quota exceeded (429), then claude answered"
    assert formats.path_words(path) == words
    assert formats.path_label([tried("x", "model_not_found")]) == "x ✕model not found"


def test_equal_tries_are_told_once():
    """Retries do not make a path long; another try in between does."""
    again = tried("gemini", "transient", 503)
    path = [again, again, tried("claude", "bad_answer"), again]
    assert (
        formats.path_label(path)
        == "gemini ✕503 ×2 → claude ✕no usable answer → gemini ✕503"
    )


def test_who_was_not_asked_has_not_failed():
    """A skipped provider and a caller who left are no failures in a path."""
    path = [tried("gemini", "cooldown", skipped=True), tried("claude", "closed")]
    assert formats.path_label(path) == "gemini – resting → claude – closed"
    assert [step["tone"] for step in formats.steps(path)] == ["skipped", "skipped"]


@pytest.mark.parametrize(
    "ending", ["18 s", "2 min", "1 h 10 min", "2 min 5 s", "18\u00a0s"]
)
def test_the_countdown_is_cut_off_a_headline(ending):
    """The page ticks it by itself, and tells ears what does not tick."""
    headline = {"text": f"gemini rests (in 5 s?), next try in {ending}", "until": 1.0}
    assert formats.sentence(headline) == "gemini rests (in 5 s?), next try"
    assert formats.said(headline) == "gemini rests (in 5 s?)"


@pytest.mark.parametrize("rest", ["", ", retry after 5 s", ", retry after 3600 s"])
def test_seconds_are_left_out_of_a_reason(rest):
    """A card that says the same all the time is not replaced all the time."""
    why = f"cooling down after quota exceeded{rest}"
    assert formats.lasting(why) == "cooling down after quota exceeded"


def test_a_headline_without_a_countdown_is_shown_as_it_is():
    """Nothing is cut off where nothing ticks."""
    headline = {"text": "Answered in 5 s", "until": None}
    assert formats.sentence(headline) == "Answered in 5 s"


def test_each_range_has_its_words():
    """No range of a page is without a name."""
    assert list(formats.SPANS) == list(RANGES)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("quota", "quota exceeded"),
        ("unknown", "failed"),
        ("of_tomorrow", "of tomorrow"),
    ],
)
def test_each_kind_has_words(kind, words):
    """Also those of a later version, which a usage log may hold."""
    assert formats.reason(kind) == words


def test_a_moment_has_its_day_unless_that_is_today():
    """A time of yesterday would be taken for one of today."""
    now = 1_795_420_000.0
    assert formats.clock(now - 40, now) == "07:46:00 UTC"
    assert formats.clock(now - 28_000, now) == "00:00:00 UTC"
    assert formats.clock(now - 28_001, now) == "Nov 22, 23:59:59 UTC"
    assert formats.clock(now) == "Nov 23, 07:46:40 UTC"


def test_the_bars_of_a_call_stand_where_it_was_asked():
    """A bar begins and ends with its try, in shares of the whole call."""
    call = {
        "latency_s": 4.0,
        "attempts": [
            {"started_s": 0.0, "latency_s": 1.0},
            {"started_s": 2.0, "latency_s": 2.0},
        ],
    }
    assert [(bar.x, bar.width) for bar in timeline(call)] == [(0, 250), (500, 500)]


def test_a_moment_at_the_end_is_still_seen():
    """The shortest try is some units wide, and no bar leaves the drawing."""
    moment = {"started_s": 0.0, "latency_s": 0.0}
    bars = timeline(
        {"latency_s": 0.0, "attempts": [moment, moment | {"started_s": 9.0}]}
    )
    assert all(bar.width > 0 and bar.x + bar.width <= WIDTH for bar in bars)


def test_a_call_that_asked_nobody_has_no_bars():
    """Nor does it fail."""
    assert timeline({"latency_s": 0.01, "attempts": []}) == []
