"""All that a page reads of a source, in few questions."""

from dataclasses import dataclass, replace
from typing import Self

from ...observe.records import CallRecord
from ...observe.source import RANGES, About, Failure, Source, SourceError, Span
from ...observe.aggregates import ATTEMPTS, CALLS
from ...signals import CircuitChanged
from .figures import Row

MOST_RECENT = 50

# A rest that began before the span may reach into it.
_LONGEST_REST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What a source tells of a span.

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
    def of(cls, source: Source, span: Span) -> Self:
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
                tuple(source.changes(span.since - _LONGEST_REST_S)),
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
        name: One of `observe.source.RANGES`.
        now: Seconds since 1970.
    """
    found = RANGES[name]
    since = (now - found.seconds) // found.width * found.width
    return Span(since, now, found)
