"""Exact figures of the usage log, from its calls and attempts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, literal, select, true

from ..records import CLOSED, SUCCESS
from .report import By, Figures, Report
from .retention import DAY_S
from .source import UsageSource
from .tables import attempts, calls

NOBODY = "(nobody asked)"
"""The row of the calls in which no provider was asked; it stands last."""

_PERCENT = 95
_TOTAL = literal("total")
_ANY = true()


def report(
    source: UsageSource, by: By | None, since: float | None, until: float
) -> Report:
    """Return the figures of a time.

    Args:
        source: The log.
        by: What is told apart.
        since: The beginning in seconds since 1970; None for the oldest call.
        until: The end.

    Raises:
        SourceError: The log cannot be read.
    """
    if since is None:
        since = source.ask(_oldest, None) or until
    rows: list[Figures] = []
    if by:
        rows = source.ask(partial(_BY[by], since=since, until=until), rows)
    none = [Figures("total")]
    total = source.ask(partial(_of_calls, since=since, until=until), none) or none
    return Report(since, until, rows, total[0])


def _oldest(connection: Connection) -> float | None:
    oldest: float | None = connection.scalar(select(func.min(calls.c.finished_at)))
    return oldest


def _of_calls(
    connection: Connection,
    *,
    since: float,
    until: float,
    key: ColumnElement[str] = _TOTAL,
    which: ColumnElement[bool] = _ANY,
) -> list[Figures]:
    """Return the figures of calls by a key."""
    sums = {
        "calls": func.count(),
        "attempts": func.sum(_of_each(func.count(), ~attempts.c.skipped)),
        "by_fallback": _count(calls.c.fallback),
        "input_tokens": func.sum(calls.c.input_tokens),
        "output_tokens": func.sum(calls.c.output_tokens),
        # Not what the call says: there it is 0 where no attempt knows its cost.
        "cost_usd": func.sum(_of_each(func.sum(attempts.c.cost_usd))),
        "unpriced": _count(calls.c.unpriced),
    }
    of_these = and_(_within(since, until), which)
    return _read(connection, calls, calls, key, sums, of_these)


def _of_each(
    measure: ColumnElement[Any], which: ColumnElement[bool] = _ANY
) -> ColumnElement[Any]:
    """Return a measure of each call's attempts."""
    own = attempts.c.call_id == calls.c.call_id
    of_own = select(measure).select_from(attempts).where(own, which)
    return of_own.scalar_subquery()


def _of_attempts(
    connection: Connection, *, since: float, until: float, key: ColumnElement[Any]
) -> list[Figures]:
    """Return the figures of attempts by a key."""
    answered = attempts.c.outcome == SUCCESS
    sums = {
        "calls": func.count(attempts.c.call_id.distinct()),
        "attempts": func.count(),
        "by_fallback": _count(and_(answered, calls.c.fallback)),
        "input_tokens": func.coalesce(func.sum(attempts.c.input_tokens), 0),
        "output_tokens": func.coalesce(func.sum(attempts.c.output_tokens), 0),
        "cost_usd": func.sum(attempts.c.cost_usd),
        "unpriced": _count(attempts.c.cost_note.is_not(None)),
    }
    both = calls.join(attempts, calls.c.call_id == attempts.c.call_id)
    of_these = and_(_within(since, until), ~attempts.c.skipped)
    key = func.coalesce(key, "")
    return _read(connection, both, attempts, key, sums, of_these)


def _by_asked(
    connection: Connection, *, since: float, until: float, key: ColumnElement[Any]
) -> list[Figures]:
    """Return the figures of whom calls have asked, and of those that asked nobody."""
    time = {"since": since, "until": until}
    nobody, which = literal(NOBODY), calls.c.provider == ""
    asked = _of_attempts(connection, key=key, **time)
    return asked + _of_calls(connection, key=nobody, which=which, **time)


def _by_day(connection: Connection, *, since: float, until: float) -> list[Figures]:
    """Return the figures of each day that has calls, in UTC."""
    rows: list[Figures] = []
    for begin, end in _days(since, until):
        name = datetime.fromtimestamp(begin, UTC).date().isoformat()
        rows += _of_calls(connection, since=begin, until=end, key=literal(name))
    return rows


def _days(since: float, until: float) -> Iterator[tuple[float, float]]:
    while since < until:
        end = min((since // DAY_S + 1) * DAY_S, until)
        yield since, end
        since = end


_BY: dict[By, Callable[..., list[Figures]]] = {
    "provider": partial(_by_asked, key=attempts.c.provider),
    "model": partial(_by_asked, key=attempts.c.model),
    "purpose": partial(_of_calls, key=calls.c.purpose),
    "day": _by_day,
}


def _within(since: float, until: float) -> ColumnElement[bool]:
    return and_(calls.c.finished_at >= since, calls.c.finished_at < until)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _read(
    connection: Connection,
    rows: Any,
    table: Table,
    key: ColumnElement[Any],
    sums: dict[str, ColumnElement[Any]],
    of_these: ColumnElement[bool],
) -> list[Figures]:
    """Return figures, those of the most calls first.

    Args:
        connection: In a transaction.
        rows: What is added up.
        table: Which part of it tells how it went.
        key: What is told apart.
        sums: What is added up of it.
        of_these: Which rows.
    """
    named = key.label("name")
    answered, latency = table.c.outcome == SUCCESS, table.c.latency_s
    sums = sums | {
        "answered": _count(answered),
        "closed": _count(table.c.outcome == CLOSED),
    }
    columns = [column.label(name) for name, column in sums.items()]
    query = select(named, *columns).select_from(rows).where(of_these).group_by("name")
    ranked = (
        select(
            named,
            latency.label("latency_s"),
            func.row_number().over(partition_by=key, order_by=latency).label("place"),
            func.count().over(partition_by=key).label("number"),
        )
        .select_from(rows)
        .where(of_these, answered)
        .subquery()
    )
    # The smallest that so many do not exceed; in whole numbers, rounded up.
    wanted = ranked.c.place * 100 >= ranked.c.number * _PERCENT
    slow = (
        select(ranked.c.name, func.min(ranked.c.latency_s))
        .where(wanted)
        .group_by(ranked.c.name)
    )
    p95 = {row[0]: row[1] for row in connection.execute(slow)}
    found = [
        _figures(dict(row), p95.get(row["name"]))
        for row in connection.execute(query).mappings()
    ]
    return sorted(found, key=lambda each: (-each.calls, each.name))


def _figures(row: dict[str, Any], p95_s: float | None) -> Figures:
    """Return the figures of a row; PostgreSQL adds whole numbers up to a Decimal."""
    name, cost = row.pop("name"), row.pop("cost_usd")
    counts = {key: int(value) for key, value in row.items()}
    answers = counts["answered"]
    return Figures(
        name,
        **counts,
        answered_share=_share(answers, counts["calls"] - counts["closed"]),
        by_fallback_share=_share(counts["by_fallback"], answers),
        cost_usd=None if counts["unpriced"] and not cost else cost,
        p95_s=p95_s,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
