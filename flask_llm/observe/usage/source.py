"""The usage log as the source of pages."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Select,
    cast,
    func,
    select,
)

from ...clock import SYSTEM
from ...process import PerProcess
from ...signals import CircuitChanged
from ...workers import LeftBehind, Workers
from ..record import CallRecord
from ..source import About, Failure, SourceError, Span
from ..tally import Table
from .link import Link, NoLogYet
from .place import Place
from .rows import change_of, failure_of, record_of
from .tables import SUMS, attempts, calls, circuits, failed
from .wording import why

T = TypeVar("T")

PATIENCE_S = 3.0
"""Seconds that a page waits for one of its questions."""

_SPARE_S = 1.0
_NONE: list[CallRecord] = []


class UsageSource:
    """The `Source` of all calls in the log, whichever process made them.

    Args:
        place: Where the log is.
        lost: Tells how many calls this process could not write.
        patience_s: Seconds to wait for an answer.
    """

    def __init__(
        self,
        place: Place,
        lost: Callable[[], int],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._place = place
        self._lost = lost
        self._patience_s = patience_s
        self._workers = Workers(SYSTEM)
        self._link = PerProcess(
            lambda: Link(place, writes=False, patience_s=patience_s)
        )

    def about(self) -> About:
        """Return what is covered."""
        oldest = select(func.min(calls.c.finished_at))
        try:
            since = self.ask(lambda connection: connection.scalar(oldest), None)
        except SourceError as error:
            return About("usage", error=str(error), lost=self._lost())
        return About("usage", since, lost=self._lost())

    def sums(self, table: Table, by: Sequence[str], span: Span) -> list[dict[str, Any]]:
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
        """Ask the database something, and wait for the answer only so long.

        Args:
            question: What to do in a transaction.
            empty: The answer where nothing was written yet.

        Raises:
            SourceError: There is no answer.
        """
        link = self._link.get()
        try:
            # A server that hangs is left behind; no timeout of a driver sees to that.
            return self._workers.call(
                lambda: link.run(question), self._patience_s + _SPARE_S
            )
        except NoLogYet:
            return empty
        except LeftBehind:
            told = f"no answer within {self._patience_s + _SPARE_S:g} s"
        except Exception as error:  # noqa: BLE001  # a driver may raise anything
            told = why(error, self._place.secrets)
        raise SourceError(f"The usage log cannot be read: {told}")

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return self.ask(lambda one: one.execute(query).mappings().all(), [])


def _summed(table: Table, by: Sequence[str], span: Span) -> Select[Any]:
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
