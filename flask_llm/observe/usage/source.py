"""The usage log as the source of pages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from sqlalchemy import BigInteger, ColumnElement, Connection, Double, Select, cast, func, select

from ...resilience.clock import SYSTEM, Clock
from ...process import PerProcess
from ...signals import CircuitChanged
from .. import aggregates as tally
from ..records import CallRecord
from ..source import About, Failure, SourceError, Span
from .asking import Asker
from .settings import Place
from .rows import change_of, failure_of, record_of
from .tables import SUMS, attempts, calls, circuits, failed

T = TypeVar("T")

PATIENCE_S = 3.0
"""Seconds that a page waits for one of its questions."""

_NONE: list[CallRecord] = []


class UsageSource:
    """The `Source` of all calls in the log, whichever process made them.

    Args:
        place: Where the log is.
        of_writer: Tells how this process's writing goes.
        patience_s: Seconds to wait for an answer.
        clock: For how long an error is remembered.
    """

    def __init__(
        self,
        place: Place,
        of_writer: Callable[[], About] = lambda: About("usage"),
        patience_s: float = PATIENCE_S,
        clock: Clock = SYSTEM,
    ) -> None:
        self._of_writer = of_writer
        self._asker = PerProcess(lambda: Asker(place, patience_s, clock))

    def about(self) -> About:
        """Return what is covered."""
        oldest = select(func.min(calls.c.finished_at))
        try:
            since = self.ask(lambda connection: connection.scalar(oldest), None)
        except SourceError as error:
            return replace(self._of_writer(), error=str(error))
        return replace(self._of_writer(), since=since)

    def is_written(self) -> bool:
        """Return whether there is a log; each answer is empty where there is none."""
        return self.ask(lambda _: True, False)  # noqa: FBT003  # an answer like others

    def sums(
        self, table: tally.Table, by: Sequence[str], span: Span
    ) -> list[dict[str, Any]]:
        """Return sums of a span."""
        query = _summed(table, by, span)
        rows = [dict(row) for row in self._rows(query)]
        # Here, since databases disagree on the order of texts.
        return sorted(rows, key=lambda row: [row[each] for each in by])

    def recent(self, limit: int, *, before: float | None = None) -> list[CallRecord]:
        """Return the latest calls, the last one first."""
        latest = select(calls).order_by(calls.c.finished_at.desc()).limit(limit)
        if before is not None:
            latest = latest.where(calls.c.finished_at < before)
        return self.ask(partial(_records, query=latest), _NONE)

    def find(self, call_id: str) -> CallRecord | None:
        """Return one call."""
        one = select(calls).where(calls.c.call_id == call_id)
        found = self.ask(partial(_records, query=one), _NONE)
        return found[0] if found else None

    def failures(self) -> dict[str, Failure]:
        """Return the latest failed attempt at each provider that ever had one."""
        return self.ask(_failures, {})

    def changes(self, since: float) -> list[CircuitChanged]:
        """Return the circuits that opened or closed since then, in their order."""
        query = select(circuits).where(circuits.c.at >= since).order_by(circuits.c.at)
        return [change_of(row) for row in self._rows(query)]

    def ask(self, question: Callable[[Connection], T], empty: T) -> T:
        """Ask the database something; see `Asker.ask`."""
        return self._asker.get().ask(question, empty)

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return self.ask(lambda one: one.execute(query).mappings().all(), [])


def _summed(table: tally.Table, by: Sequence[str], span: Span) -> Select[Any]:
    sums, width = SUMS[table].columns, span.range.width
    known: dict[str, ColumnElement[Any]] = {
        each: sums[each] for each in table.dimensions
    }
    known["at"] = sums["at"] - sums["at"] % width
    groups = [known[each].label(each) for each in by]
    measures = [
        # PostgreSQL adds whole numbers up to a Decimal.
        cast(func.sum(sums[each]), _wide(sums[each])).label(each)
        for each in table.measures
    ]
    return (
        select(*groups, *measures)
        .where(sums["step"] == span.range.step)
        .where(sums["at"].between(span.since, span.until))
        .group_by(*(known[each] for each in by))
        .having(func.count() > 0)
    )


def _wide(column: ColumnElement[Any]) -> type[BigInteger | Double[Any]]:
    return Double if isinstance(column.type, Double) else BigInteger


def _records(connection: Connection, query: Select[Any]) -> list[CallRecord]:
    rows = connection.execute(query).mappings().all()
    tried: dict[str, list[Any]] = {row["call_id"]: [] for row in rows}
    of_these = (
        select(attempts)
        .where(attempts.c.call_id.in_(tried))
        .order_by(attempts.c.call_id, attempts.c.position)
    )
    for attempt in connection.execute(of_these).mappings():
        tried[attempt["call_id"]].append(attempt)
    return [record_of(row, tried[row["call_id"]]) for row in rows]


def _failures(connection: Connection) -> dict[str, Failure]:
    """Go from one provider to the next: each costs one look into the index."""
    found: dict[str, Failure] = {}
    query = (
        select(attempts)
        .where(failed)
        .order_by(attempts.c.provider, attempts.c.finished_at.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    while row is not None:
        found[row["provider"]] = failure_of(row)
        after = query.where(attempts.c.provider > row["provider"])
        row = connection.execute(after).mappings().first()
    return found
