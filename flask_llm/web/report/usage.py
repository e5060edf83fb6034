"""What `flask llm usage` prints, made of the sums that the dashboard shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, inf
from typing import Literal

from ...observe.aggregates import (
    ATTEMPTS,
    CALLS,
    DAY_S,
    KEPT_S,
    STEPS_S,
    DataSource,
    Range,
    Span,
)
from .queries import P95, Row, cost, count, judged, latency, share, succeeded

By = Literal["provider", "model", "purpose", "day"]

NOBODY = "(nobody asked)"
"""The row of the calls in which no provider was asked; it stands last."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What some calls were; shares and times are those of the dashboard.

    Attributes:
        name: Which calls.
        calls: How many. Of a provider or model: how many it answered, or was asked in
            as the last one.
        closed: How many of them their caller has left: nobody's failure or merit. Of a
            provider or model: how many of its attempts.
        attempts: How often they asked somebody; who was skipped does not count. None of
            a purpose, for the sums of attempts do not know it.
        answered: How many got an answer. Of a provider or model: from it.
        answered_share: The same as a share of those that were not closed, which are
            attempts of a provider or model; None of none.
        by_fallback: How many answers came from another provider than the first.
        by_fallback_share: The same as a share of the answers; None of none.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the answers.
        cached_tokens: Those of the prompts that a provider's cache had, as far as told.
        cache_write_tokens: Those of the prompts that a cache took, as far as told.
        reasoning_tokens: Those of the answers that are hidden thinking, as far as told.
        cost_usd: What that cost, as far as it is known; None if nothing of it is.
        unpriced: How many have tokens whose cost is not known.
        p95_s: Seconds that 95 % of those that were answered did not exceed, as far as a
            class of times shows it. Of a provider or model: that 95 % of its answers
            did not.
    """

    name: str
    calls: int
    closed: int
    attempts: int | None
    answered: int
    answered_share: float | None
    by_fallback: int
    by_fallback_share: float | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    unpriced: int
    p95_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a time.

    Attributes:
        since: Its beginning in seconds since 1970.
        until: Its end, which is not in it.
        rows: Figures, one by one.
        total: Those of all calls of that time, whatever the rows are grouped by.
    """

    since: float
    until: float
    rows: list[Figures]
    total: Figures


def report(
    source: DataSource, by: By | None, since: float | None, until: float, now: float
) -> Report:
    """Return the figures of a time, made longer to the whole steps of its sums.

    Args:
        source: The log.
        by: What the rows are grouped by.
        since: The beginning in seconds since 1970; None for the oldest call.
        until: The end.
        now: The time; how fine the sums are that are still kept depends on it.

    Raises:
        SourceError: The log cannot be read.
    """
    if since is None:
        since = source.about().since or until
    span = _span(since, until, now)
    calls = source.sums(CALLS, ("outcome",), span)
    attempts = source.sums(ATTEMPTS, ("outcome",), span)
    total = _figures("total", calls, calls, count(attempts, "attempts"))
    end = min(span.until + 1, max(until, now))
    return Report(span.since, end, _rows(source, by, span) if by else [], total)


def _span(since: float, until: float, now: float) -> Span:
    """Return a time in the finest steps of which its sums are still kept."""
    step = next(each for each in STEPS_S if now - since <= KEPT_S.get(each, inf))
    begin, end = since // step * step, ceil(until / step) * step
    # The step that begins with the end is not in it.
    return Span(begin, end - 1, Range(int(end - begin), step, DAY_S))


_DIMENSIONS: dict[By, tuple[str, ...]] = {
    "provider": ("provider", "outcome"),
    "model": ("provider", "model", "outcome"),
    "purpose": ("purpose", "outcome"),
    "day": ("at", "outcome"),
}


def _rows(source: DataSource, by: By, span: Span) -> list[Figures]:
    dimensions = _DIMENSIONS[by]
    calls = _grouped(by, source.sums(CALLS, dimensions, span))
    if by == "purpose":
        rows = [_figures(name, some, some, None) for name, some in calls.items()]
        return sorted(rows, key=_most_first)
    attempts = _grouped(by, source.sums(ATTEMPTS, dimensions, span))
    rows = []
    for name in calls | attempts:
        made, tried = calls.get(name, []), attempts.get(name, [])
        # A provider or model has its own answers, times and tokens; nobody has none.
        own = made if by == "day" else tried or made
        rows.append(_figures(name, made, own, count(tried, "attempts")))
    return sorted(rows, key=_name if by == "day" else _most_first)


def _grouped(by: By, rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_label(by, row), []).append(row)
    return groups


def _label(by: By, row: Row) -> str:
    if by == "day":
        return datetime.fromtimestamp(row["at"], UTC).date().isoformat()
    return str(row[by]) if row.get("provider", True) else NOBODY


def _name(figures: Figures) -> str:
    return figures.name


def _most_first(figures: Figures) -> tuple[bool, int, str]:
    return figures.name == NOBODY, -figures.calls, figures.name


def _figures(
    name: str, calls: Sequence[Row], own: Sequence[Row], attempts: int | None
) -> Figures:
    """Return figures.

    Args:
        name: Which calls.
        calls: Sums of the calls.
        own: Sums that show how it went: of the same calls, or of attempts.
        attempts: How often somebody was asked.
    """
    measure = "attempts" if own and "attempts" in own[0] else "calls"
    answers, counted = count(succeeded(own), measure), count(judged(own), measure)
    by_fallback = count(succeeded(calls), "fallbacks")
    return Figures(
        name,
        calls=count(calls, "calls"),
        closed=count(own, measure) - counted,
        attempts=attempts,
        answered=answers,
        answered_share=share(answers, counted),
        by_fallback=by_fallback,
        by_fallback_share=share(by_fallback, answers),
        input_tokens=count(own, "input_tokens"),
        output_tokens=count(own, "output_tokens"),
        cached_tokens=count(own, "cached_tokens"),
        cache_write_tokens=count(own, "cache_write_tokens"),
        reasoning_tokens=count(own, "reasoning_tokens"),
        cost_usd=cost(own),
        unpriced=count(own, "unpriced"),
        p95_s=latency(own, P95),
    )
