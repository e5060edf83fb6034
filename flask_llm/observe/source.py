"""Where a page takes its numbers from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..signals import CircuitChanged
from ..types import Attempt
from .records import CallRecord
from .aggregates import Table

@dataclass(frozen=True, slots=True)
class Range:
    """How far back a page looks.

    Attributes:
        seconds: How far.
        step: Which sums it reads, one of `tally.STEPS_S`.
        width: Seconds of one point of its charts; a multiple of the step.
    """

    seconds: int
    step: int
    width: int


RANGES = {
    "15m": Range(900, 15, 15),
    "1h": Range(3600, 15, 60),
    "24h": Range(86_400, 300, 900),
    "7d": Range(604_800, 3600, 7200),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A time of a page.

    Attributes:
        since: Its beginning in seconds since 1970; a multiple of the width.
        until: Its end, which is now.
        range: How finely it is looked at.
    """

    since: float
    until: float
    range: Range


@dataclass(frozen=True, slots=True)
class Failure:
    """The latest failed attempt at a provider.

    Attributes:
        at: When it ended, in seconds since 1970.
        attempt: What is known of it.
    """

    at: float
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class About:
    """What a source covers.

    Attributes:
        kind: "memory" for what this process has seen, "usage" for the usage log.
        since: When its oldest call was, in seconds since 1970; None if it has none.
        error: Why it cannot be read now; None if it can. Holds no secret.
        lost: Calls that this process could not write, and never will.
        waiting: Calls that this process has not written yet.
        write_error: Why its last attempt to write has failed; None if it went well.
            Holds no secret.
    """

    kind: Literal["memory", "usage"]
    since: float | None = None
    error: str | None = None
    lost: int = 0
    waiting: int = 0
    write_error: str | None = None


class SourceError(Exception):
    """The source cannot be read now; the text says why, and holds no secret."""


class Source(Protocol):
    """Calls that were made. Each method raises `SourceError` if it cannot tell."""

    def about(self) -> About:
        """Return what is covered; raises nothing."""

    def sums(self, table: Table, by: Sequence[str], span: Span) -> list[dict[str, Any]]:
        """Return sums of a span.

        Args:
            table: `tally.CALLS` or `tally.ATTEMPTS`.
            by: Dimensions of the table that are told apart, and "at" for the points of
                a chart; () for one sum of all.
            span: From when to when.

        Returns:
            A row for each combination that occurs, in the order of `by`: the values of
            `by`, "at" in seconds since 1970 as a multiple of the range's width, and
            each measure of the table.
        """

    def recent(self, limit: int, *, before: float | None = None) -> list[CallRecord]:
        """Return the latest calls, the last one first.

        Args:
            limit: The most of them.
            before: Only those that were over before then.
        """

    def find(self, call_id: str) -> CallRecord | None:
        """Return one call."""

    def failures(self) -> dict[str, Failure]:
        """Return the latest failed attempt at each provider that ever had one."""

    def changes(self, since: float) -> list[CircuitChanged]:
        """Return the circuits that opened or closed since then, in their order."""
