"""Sums of calls by time and label, and what a source of them answers.

The same columns are kept in a process's memory and in the tables of the usage log, so
that a page is made in the same way from either.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..signals import CircuitChanged
from ..types import Attempt
from .records import CallRecord

STEPS_S = (15, 300, 3600)
"""Seconds over which calls are added up, each for itself: of a long time the coarse
ones are read, so that no page reads more than some thousand rows."""

DAY_S = 86_400

KEPT_S = {15: 2 * 3600, 300: 2 * DAY_S}
"""Seconds for which the usage log keeps the sums of a step; the others as long as
calls."""

BOUNDS_S = tuple(0.005 * 1.4**power for power in range(34))
"""Upper bounds of the classes of times in seconds, from 5 ms to five minutes; one more
class is above them all."""

LATENCY = tuple(f"latency_{number:02}" for number in range(len(BOUNDS_S) + 1))
"""Columns that count how many took how long, by class."""

FIRST_TOKEN = tuple(f"first_token_{number:02}" for number in range(len(BOUNDS_S) + 1))
"""Columns that count the times until the first text of streams, by class."""

APART = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
"""What input and output hold, as far as the providers tell it."""

_PAID = ("input_tokens", "output_tokens", *APART, "cost_usd", "unpriced")

Key = tuple[int, int, tuple[str, ...]]
"""The step in seconds, the beginning of the time in seconds since 1970, and the values
of the dimensions."""

Sums = dict[str, float]
"""Measures by their name; one that is missing is 0."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is added up.

    Attributes:
        name: Of what.
        dimensions: By what; an unknown value is an empty text.
        measures: What of it. Each can be added to another of its kind.
    """

    name: str
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]


CALLS = Table(
    "calls",
    ("provider", "model", "purpose", "outcome"),
    ("calls", "fallbacks", *_PAID, "latency_s", *LATENCY, *FIRST_TOKEN),
)
"""Whole calls: `fallbacks` are those answered by another provider than the first,
`unpriced` those with tokens whose cost is not known. The provider is empty where nobody
was asked."""

ATTEMPTS = Table(
    "attempts",
    ("provider", "model", "outcome"),
    ("attempts", *_PAID, "latency_s", *LATENCY),
)
"""Tries at one provider; those that were skipped do not count."""


class Tally:
    """Adds calls up. Not for several threads at once.

    Args:
        steps: Seconds over which to add up, some of `STEPS_S`.
    """

    def __init__(self, steps: Sequence[int] = STEPS_S) -> None:
        self._steps = steps
        self._sums: dict[Table, dict[Key, Sums]] = {CALLS: {}, ATTEMPTS: {}}

    def add(self, record: CallRecord) -> None:
        """Add a call and its attempts."""
        who = (record.provider, record.model or "", record.purpose, record.outcome)
        self._add(CALLS, record.finished_at, who, _of_call(record))
        for each in record.attempts:
            if not each.skipped:
                over = record.started_at + each.started_s + each.latency_s
                whom = (each.provider, each.model or "", each.outcome)
                self._add(ATTEMPTS, over, whom, _of_attempt(each))

    def rows(self, table: Table) -> Mapping[Key, Sums]:
        """Return all sums of a table."""
        return self._sums[table]

    def forget(self, before: float) -> None:
        """Drop the sums of times that have ended before a moment."""
        for sums in self._sums.values():
            for key in [each for each in sums if each[0] + each[1] <= before]:
                del sums[key]

    def _add(
        self, table: Table, at: float, values: tuple[str, ...], measured: Sums
    ) -> None:
        for step in self._steps:
            key = (step, int(at // step) * step, values)
            sums = self._sums[table].setdefault(key, {})
            for name, value in measured.items():
                sums[name] = sums.get(name, 0) + value


def _of_call(record: CallRecord) -> Sums:
    sums: Sums = {
        "calls": 1,
        "fallbacks": record.fallback,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cost_usd": record.cost_usd,
        "unpriced": record.unpriced,
        "latency_s": record.latency_s,
        _class(LATENCY, record.latency_s): 1,
    }
    for each in record.attempts:
        for name in APART:  # plain looks: each call of the app pays for them
            if each.usage and name in each.usage:
                sums[name] = (sums[name] if name in sums else 0) + each.usage[name]  # noqa: SIM401  # no call
    if record.streamed and record.first_token_s is not None:
        sums[_class(FIRST_TOKEN, record.first_token_s)] = 1
    return sums


def _of_attempt(attempt: Attempt) -> Sums:
    usage = attempt.usage or {}
    sums: Sums = {
        "attempts": 1,
        "input_tokens": usage.get("input_tokens", 0),
        "output_tokens": usage.get("output_tokens", 0),
        "cost_usd": attempt.cost_usd or 0.0,
        "unpriced": attempt.cost_note is not None,
        "latency_s": attempt.latency_s,
        _class(LATENCY, attempt.latency_s): 1,
    }
    for name in APART:
        if name in usage:
            sums[name] = usage[name]
    return sums


def _class(columns: Sequence[str], seconds: float) -> str:
    return columns[bisect_left(BOUNDS_S, seconds)]


def quantile(
    sums: Mapping[str, float], columns: Sequence[str], share: float
) -> float | None:
    """Return the seconds that a share of the counted times did not exceed.

    Within a class times are taken to be evenly spread, so the result is mostly off by
    less than a fifth, and by two where all times are the same; what is above the last
    bound is given as that bound.

    Args:
        sums: A row.
        columns: `LATENCY` or `FIRST_TOKEN`.
        share: From 0 to 1, such as 0.95.

    Returns:
        Seconds; None if nothing was counted.
    """
    counts = [sums.get(each, 0) for each in columns]
    wanted = sum(counts) * share
    if not any(counts):
        return None
    for (low, high), count in zip(_classes(), counts, strict=True):
        if count and wanted <= count:
            return low + (high - low) * wanted / count
        wanted -= count
    return BOUNDS_S[-1]


def _classes() -> Iterator[tuple[float, float]]:
    yield from zip((0.0, *BOUNDS_S), (*BOUNDS_S, BOUNDS_S[-1]), strict=True)


@dataclass(frozen=True, slots=True)
class Range:
    """How far back a page looks.

    Attributes:
        seconds: How far.
        step: Which sums it reads, one of `STEPS_S`.
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


class DataSource(Protocol):
    """Calls that were made. Each method raises `SourceError` if it cannot answer."""

    def about(self) -> About:
        """Return what is covered; raises nothing."""

    def sums(self, table: Table, by: Sequence[str], span: Span) -> list[dict[str, Any]]:
        """Return sums of a span.

        Args:
            table: `CALLS` or `ATTEMPTS`.
            by: Dimensions of the table to group by, and "at" for the points of
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
