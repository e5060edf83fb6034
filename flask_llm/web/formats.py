"""Numbers, times and paths as text.

`FORMATS` is what our own templates know by name; the app's Jinja stays as it is.
Between a number and its unit stands a space that breaks no line.
"""

# ruff: noqa: RUF001  # signs that the pages use

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ..config.parsers import installed
from ..errors import reason
from .charts import chart_data, charts

_SKIPPED = {"cooldown": "resting", "unavailable": "not set up"}


def steps(path: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tries of a call, equal ones after each other as one.

    Args:
        path: The `path` of a call in the report, or its attempts.

    Returns:
        For each step `provider`, `tone` ("ok", "failed" or "skipped"), `mark` such as
        "✕429", `words` such as "failed: quota exceeded (429)", and `times`.
    """
    told = [_step(each) for each in path]
    return [{**step, "times": len(list(same))} for step, same in groupby(told)]


def path_label(path: Iterable[Mapping[str, Any]]) -> str:
    """Return the tries of a call in a line: "gemini ✕429 → claude ✓"."""
    return " → ".join(
        f"{step['provider']} {step['mark']}{_times(step['times'])}"
        for step in steps(path)
    )


def path_words(path: Iterable[Mapping[str, Any]]) -> str:
    """Return the same for ears: "gemini failed: quota exceeded (429), then …"."""
    return ", then ".join(
        f"{step['provider']} {step['words']}{_times(step['times'])}"
        for step in steps(path)
    )


def _step(tried: Mapping[str, Any]) -> dict[str, Any]:
    kind, status = tried["outcome"], tried["status"]
    if tried["skipped"]:
        tone, sign = "skipped", f"– {_SKIPPED.get(kind, reason(kind))}"
        words = f"was skipped: {reason(kind)}"
    elif kind == "success":
        tone, sign, words = "ok", "✓", "answered"
    elif kind == "closed":
        tone, sign, words = "skipped", "– closed", "was stopped by the caller"
    else:
        tone, sign = "failed", f"✕{status or reason(kind)}"
        words = f"failed: {reason(kind)}" + (f" ({status})" if status else "")
    provider = tried["provider"]
    return {"provider": provider, "tone": tone, "mark": sign, "words": words}


def _times(number: int) -> str:
    return f" \N{MULTIPLICATION SIGN}{number}" if number > 1 else ""


WIDTH = 1000
"""Units from the beginning of a call to its end, in which its bars are drawn."""

_LEAST = 6  # so that a try of a millisecond is seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One try, drawn.

    Attributes:
        attempt: The try, as in the report.
        x: Where it begins, in units of `WIDTH`.
        width: How long it is.
    """

    attempt: Mapping[str, Any]
    x: int
    width: int


def timeline(call: Mapping[str, Any]) -> list[Bar]:
    """Return the bars of a call, as the report of one call has it."""
    ends = [each["started_s"] + each["latency_s"] for each in call["attempts"]]
    scale = WIDTH / max(*ends, call["latency_s"], 0.001)
    return [_bar(each, scale) for each in call["attempts"]]


def _bar(attempt: Mapping[str, Any], scale: float) -> Bar:
    width = max(_LEAST, round(attempt["latency_s"] * scale))
    x = min(round(attempt["started_s"] * scale), WIDTH - width)
    return Bar(attempt, max(0, x), min(width, WIDTH))


UNKNOWN = "\N{EN DASH}"
"""Stands for a number that is not known."""

SPANS = {
    "15m": ("15 min", "the last 15 minutes"),
    "1h": ("1 h", "the last hour"),
    "24h": ("24 h", "the last 24 hours"),
    "7d": ("7 d", "the last 7 days"),
}
"""What the ranges of `RANGES` are called, on a link and in a sentence."""

_PACES = {"15m": 3, "1h": 3, "24h": 30, "7d": 30}
_BLIND_S = 15

_MARKS = {"ok": "✓", "warning": "!", "error": "✕", "idle": "○"}
_STATES = {
    "closed": "ready",
    "open": "resting",
    "half-open": "on trial",
    "unavailable": "not set up",
}

_BIG = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_DEAR = 1000  # dollars, from which on cents say nothing
_MONEY = (
    (0.0995, "${:.2f}"),
    (0.0001, "${:.2g}"),
    (1e-12, "<$0.0001"),
    (0, "$0"),
)
_MOMENT_S, _MINUTE_S = 0.0995, 59.5  # as rounded
_TIMES = ((9.95, "{:.0f}\u00a0s"), (0.995, "{:.1f}\u00a0s"), (0, "{:.2f}\u00a0s"))
_AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

# The countdown at the end of a sentence, which the page writes by itself.
_COUNTDOWN = re.compile(r"\s+in\s+\d[\d.,]*\s*(d|h|min|m|s)(\s+\d+\s*(h|min|m|s))?$")

# The same at the end of a reason.
_RETRY = re.compile(r", retry after \d+ s$")


def count(number: float | None) -> str:
    """Return a whole number: "1,234", and "12.3 M" where digits help nobody."""
    return _whole(number, 1_000_000)


def some(number: float, one: str, many: str) -> str:
    """Return so many of something: "1 call", "1,234 calls"."""
    return f"{count(number)} {one if number == 1 else many}"


def tokens(number: float | None) -> str:
    """Return a number of tokens: "812", "12.3 k", "4.56 M"."""
    return _whole(number, 10_000)


def money(usd: float | None) -> str:
    """Return an amount of US dollars with the digits that say something."""
    if usd is None:
        return UNKNOWN
    return "$" + _whole(usd, 1_000_000) if usd >= _DEAR else _first(_MONEY, max(usd, 0))


def seconds(time: float | None) -> str:
    """Return a measured time: "45 ms", "0.82 s", "12 s", "2 min 5 s"."""
    if time is None:
        return UNKNOWN
    if time < _MOMENT_S:
        return f"{time * 1000:.0f}\u00a0ms"
    return wait(time) if time >= _MINUTE_S else _first(_TIMES, time)


def wait(time: float) -> str:
    """Return a time that is still to come: "18 s", "2 min 5 s", "1 h 10 min"."""
    left = max(0, round(time))
    units = [(size, unit) for size, unit in _AGES if left >= size] or [(1, "s")]
    size, unit = units[0]
    whole, rest = divmod(left, size)
    words = f"{whole}\u00a0{unit}"
    if len(units) == 1 or rest < units[1][0]:
        return words
    return f"{words} {rest // units[1][0]}\u00a0{units[1][1]}"


def ago(time: float) -> str:
    """Return how long ago something was: "just now", "3 min ago"."""
    for size, unit in _AGES:
        if time >= size:
            return f"{time // size:.0f}\u00a0{unit} ago"
    return "just now"


def write(unit: str, value: float | None) -> str:
    """Return a value of a chart, by its `Chart.unit`."""
    text: str = FORMATS[unit](value)
    return text


def span(name: str, *, short: bool = False) -> str:
    """Return what a range is called, in a sentence or on a link."""
    return SPANS[name][not short]


def share(part: float | None) -> str:
    """Return a share in percent; only all is "100 %", and only nothing "0 %"."""
    if part is None:
        return UNKNOWN
    percent = round(part * 100, 1)
    if part and not percent:
        return "<0.1\u00a0%"
    if part < 1 and percent == 100:  # noqa: PLR2004  # percent
        return ">99.9\u00a0%"
    return f"{percent:g}\u00a0%"


def iso(moment: float) -> str:
    """Return a moment for the `datetime` of a `<time>`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def clock(moment: float, now: float | None = None) -> str:
    """Return a moment for people; a script makes it their own time.

    Args:
        moment: Seconds since 1970.
        now: Where it is given, the day is left out if it is that of now.
    """
    at = datetime.fromtimestamp(moment, UTC)
    if now is not None and at.date() == datetime.fromtimestamp(now, UTC).date():
        return f"{at:%H:%M:%S} UTC"
    return f"{at:%b} {at.day}, {at:%H:%M:%S} UTC"


def pace(report: Mapping[str, Any]) -> float:
    """Return after how many seconds a page looks again.

    What is shown in coarse points changes slowly, and a data source that cannot be
    read is not asked for some time.
    """
    pause = _PACES[report["range"]["name"]]
    return pause if report["source"]["error"] is None else max(pause, _BLIND_S)


def state(name: str) -> str:
    """Return the word for how a provider stands: "resting"."""
    return _STATES.get(name, name)


def mark(level: str) -> str:
    """Return the sign of a level, so that its color says nothing alone."""
    return _MARKS.get(level, _MARKS["idle"])


def sentence(headline: Mapping[str, Any]) -> str:
    """Return a headline without its countdown."""
    text: str = headline["text"]
    return text if headline["until"] is None else _COUNTDOWN.sub("", text)


def said(headline: Mapping[str, Any]) -> str:
    """Return a headline as a whole sentence, without the time of the next try."""
    return sentence(headline).removesuffix(", next try")


def has_price_list() -> bool:
    """Return whether published prices are installed."""
    return installed("genai_prices")


def lasting(reason: str) -> str:
    """Return a reason without the seconds that are left, which a countdown shows."""
    return _RETRY.sub("", reason)


def _whole(number: float | None, big: float) -> str:
    if number is None:
        return UNKNOWN
    return _big(number) if abs(number) >= big else f"{number:,.0f}"


def _big(number: float) -> str:
    size, unit = next(each for each in _BIG if abs(number) >= each[0] * 0.9995)
    scaled = number / size
    digits = f"{scaled:,.0f}" if scaled >= _DEAR else f"{scaled:.3g}"
    return f"{digits}\u00a0{unit}"


def _first(forms: Iterable[tuple[float, str]], value: float) -> str:
    """Return a value in the first form that is for values as great."""
    return next(form.format(value) for least, form in forms if value >= least)


_NUMBERS = (count, some, tokens, money, share, write)
_MOMENTS = (seconds, wait, ago, span, iso, clock, pace)
_WORDS = (reason, state, mark, sentence, said, lasting)
_CALLS = (steps, path_label, path_words, timeline)
_PAGES = (charts, chart_data, has_price_list)

FORMATS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (*_NUMBERS, *_MOMENTS, *_WORDS, *_CALLS, *_PAGES)
}
"""What our templates may call."""
