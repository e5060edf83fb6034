"""What the dashboard asks its data source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ...observe.aggregates import (
    ATTEMPTS,
    CALLS,
    FIRST_TOKEN,
    LATENCY,
    RANGES,
    About,
    DataSource,
    Failure,
    SourceError,
    Span,
    quantile,
)
from ...observe.records import CLOSED, SUCCESS, CallRecord
from ...signals import CircuitChanged

Row = Mapping[str, Any]

P50, P95 = 0.50, 0.95


def count(rows: Iterable[Row], measure: str) -> int:
    """Return the sum of a measure that is counted."""
    return int(sum(row[measure] for row in rows))


def dollars(rows: Iterable[Row]) -> float:
    """Return what all cost, as far as it is known."""
    return float(sum(row["cost_usd"] for row in rows))


def cost(rows: Sequence[Row]) -> float | None:
    """Return what all cost as far as it is known; None if nothing of it is.

    Calls that failed before a token was counted have no cost that anybody knows.
    """
    if known := dollars(rows):
        return known
    tokens = count(rows, "input_tokens") + count(rows, "output_tokens")
    is_known = tokens and not count(rows, "unpriced")
    return None if rows and not is_known else 0.0


def share(part: float, whole: float) -> float | None:
    """Return a share from 0 to 1; None of nothing."""
    return part / whole if whole else None


def succeeded(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of what succeeded."""
    return [row for row in rows if row["outcome"] == SUCCESS]


def judged(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those whose caller left: nobody's failure or merit."""
    return [row for row in rows if row["outcome"] != CLOSED]


def answered(rows: Sequence[Row]) -> float | None:
    """Return the share of calls that were answered."""
    return share(count(succeeded(rows), "calls"), count(judged(rows), "calls"))


def latency(rows: Iterable[Row], part: float) -> float | None:
    """Return the seconds that a part of the successes did not exceed."""
    return _seconds(succeeded(rows), LATENCY, part)


def first_token(rows: Iterable[Row], part: float) -> float | None:
    """Return the seconds in which a part of the streams had their first text."""
    return _seconds(rows, FIRST_TOKEN, part)


def _seconds(rows: Iterable[Row], columns: Sequence[str], part: float) -> float | None:
    rows = tuple(rows)
    added = {each: float(sum(row[each] for row in rows)) for each in columns}
    return quantile(added, columns, part)


MOST_RECENT = 50

# A circuit that opened before the span may be open in it.
_LONGEST_COOLDOWN_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What a data source has of a span.

    Attributes:
        about: What the source covers.
        by_time: Calls by time, provider and outcome.
        by_purpose: Calls by purpose, provider, model and outcome.
        attempts: Attempts by time, provider, model and outcome.
        failures: The latest failed attempt at each provider.
        changes: The circuits that opened or closed, also some time before.
        recent: The latest calls, the last one first.
    """

    about: About
    by_time: tuple[Row, ...] = ()
    by_purpose: tuple[Row, ...] = ()
    attempts: tuple[Row, ...] = ()
    failures: dict[str, Failure] | None = None
    changes: tuple[CircuitChanged, ...] = ()
    recent: tuple[CallRecord, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether the source could be read."""
        return self.about.error is None

    @classmethod
    def of(cls, source: DataSource, span: Span) -> Self:
        """Ask a source; if it cannot be read, `about` says why."""
        about = source.about()
        if about.error:
            return cls(about)
        try:
            return cls(
                about,
                tuple(source.sums(CALLS, ("at", "provider", "outcome"), span)),
                tuple(source.sums(CALLS, _WHO, span)),
                tuple(source.sums(ATTEMPTS, _WHOM, span)),
                source.failures(),
                tuple(source.changes(span.since - _LONGEST_COOLDOWN_S)),
                tuple(source.recent(MOST_RECENT)),
            )
        except SourceError as error:
            why = str(error)
        return cls(replace(about, error=why))


_WHO = ("purpose", "provider", "model", "outcome")
_WHOM = ("at", "provider", "model", "outcome")


def span_of(name: str, now: float) -> Span:
    """Return the span of a range that ends now; begins with a whole point.

    Args:
        name: One of `observe.aggregates.RANGES`.
        now: Seconds since 1970.
    """
    found = RANGES[name]
    since = (now - found.seconds) // found.width * found.width
    return Span(since, now, found)
