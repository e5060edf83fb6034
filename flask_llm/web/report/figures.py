"""Shares, sums and quantiles of a source's rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...observe.records import CLOSED, SUCCESS
from ...observe.aggregates import FIRST_TOKEN, LATENCY, quantile

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
    return 0.0 if is_known or not count(rows, "calls") else None


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
