"""Exact figures of the usage log, from its calls and attempts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, select

from ..record import SUCCESS
from .retention import DAY_S
from .source import UsageSource
from .tables import attempts, calls

By = Literal["provider", "model", "purpose", "day"]

_PERCENT = 95
_TOTAL = literal("total")


@dataclass(frozen=True, slots=True)
class Figures:
    """What some calls were.

    Attributes:
        name: Which calls.
        calls: How many. Of a provider or model: how many asked it.
        attempts: How often they asked somebody; who was skipped does not count.
        answered: How many got an answer. Of a provider or model: from it.
        by_fallback: How many of these from another provider than the first.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the answers.
        cost_usd: What that cost, as far as it is known; None if nothing of it is.
        unpriced: How many have tokens whose cost is not known.
        p95_s: Seconds that 95 % of them did not exceed. Of a provider or model: that
            95 % of the attempts at it did not.
    """

    name: str
    calls: int = 0
    attempts: int = 0
    answered: int = 0
    by_fallback: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    unpriced: int = 0
    p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a time.

    Attributes:
        since: Its beginning in seconds since 1970.
        until: Its end, which is not in it.
        rows: Figures, one by one.
        total: Those of all calls of that time, however they are told apart.
    """

    since: float
    until: float
    rows: list[Figures]
    total: Figures


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
) -> list[Figures]:
    """Return the figures of calls by a key."""
    tried = (
        select(func.count())
        .select_from(attempts)
        .where(attempts.c.call_id == calls.c.call_id, ~attempts.c.skipped)
        .scalar_subquery()
    )
    sums = {
        "calls": func.count(),
        "attempts": func.sum(tried),
        "answered": _count(calls.c.outcome == SUCCESS),
        "by_fallback": _count(calls.c.fallback),
        "input_tokens": func.sum(calls.c.input_tokens),
        "output_tokens": func.sum(calls.c.output_tokens),
        "cost_usd": func.sum(calls.c.cost_usd),
        "unpriced": _count(calls.c.unpriced),
    }
    of_these = _within(since, until)
    return _read(connection, calls, key, sums, of_these, calls.c.latency_s)


def _of_attempts(
    connection: Connection, *, since: float, until: float, key: ColumnElement[Any]
) -> list[Figures]:
    """Return the figures of attempts by a key."""
    answered = attempts.c.outcome == SUCCESS
    sums = {
        "calls": func.count(attempts.c.call_id.distinct()),
        "attempts": func.count(),
        "answered": _count(answered),
        "by_fallback": _count(and_(answered, calls.c.fallback)),
        "input_tokens": func.coalesce(func.sum(attempts.c.input_tokens), 0),
        "output_tokens": func.coalesce(func.sum(attempts.c.output_tokens), 0),
        "cost_usd": func.coalesce(func.sum(attempts.c.cost_usd), 0.0),
        "unpriced": _count(attempts.c.cost_note.is_not(None)),
    }
    both = calls.join(attempts, calls.c.call_id == attempts.c.call_id)
    of_these = and_(_within(since, until), ~attempts.c.skipped)
    key = func.coalesce(key, "")
    return _read(connection, both, key, sums, of_these, attempts.c.latency_s)


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
    "provider": partial(_of_attempts, key=attempts.c.provider),
    "model": partial(_of_attempts, key=attempts.c.model),
    "purpose": partial(_of_calls, key=calls.c.purpose),
    "day": _by_day,
}


def _within(since: float, until: float) -> ColumnElement[bool]:
    return and_(calls.c.finished_at >= since, calls.c.finished_at < until)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _read(
    connection: Connection,
    table: Any,
    key: ColumnElement[Any],
    sums: dict[str, ColumnElement[Any]],
    of_these: ColumnElement[bool],
    latency: ColumnElement[float],
) -> list[Figures]:
    """Return figures, those of the most calls first."""
    named = key.label("name")
    columns = [column.label(name) for name, column in sums.items()]
    query = select(named, *columns).select_from(table).where(of_these).group_by("name")
    ranked = (
        select(
            named,
            latency.label("latency_s"),
            func.row_number().over(partition_by=key, order_by=latency).label("place"),
            func.count().over(partition_by=key).label("number"),
        )
        .select_from(table)
        .where(of_these)
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
        _figures(dict(row), p95[row["name"]])
        for row in connection.execute(query).mappings()
    ]
    return sorted(found, key=lambda each: (-each.calls, each.name))


def _figures(row: dict[str, Any], p95_s: float) -> Figures:
    """Return the figures of a row; PostgreSQL adds whole numbers up to a Decimal."""
    known = float(row.pop("cost_usd"))
    counts = {name: int(value) for name, value in row.items() if name != "name"}
    cost = None if counts["unpriced"] and not known else known
    return Figures(name=row["name"], cost_usd=cost, p95_s=p95_s, **counts)
