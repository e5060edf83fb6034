"""Reads the usage log for pages and commands, bounded in time."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
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

from ...config.parsers import is_folder
from ...resilience.clock import SYSTEM, Clock, PerProcess
from ...resilience.thread_pool import Abandoned, ThreadPool
from ...signals import CircuitChanged
from ...types import Attempt
from .. import aggregates
from ..aggregates import About, Failure, SourceError, Span
from ..records import SUCCESS, CallRecord
from .database import (
    Database,
    NoLogYet,
    dialect_of,
    is_ready,
    make_ready,
    missing,
    there,
    why,
)
from .settings import DatabaseURL
from .tables import (
    SUMS,
    attempts,
    calls,
    change_of,
    change_row,
    circuits,
    failed,
    failure_of,
    record_of,
)
from .writer import write

T = TypeVar("T")

RETRY_S = 10.0
"""Seconds for which an error is the answer to whoever asks, without asking."""

_SPARE_S = 1.0


class QueryGuard:
    """Asks the log, in one process and for all its threads.

    Args:
        url: Where it is.
        patience_s: Seconds to wait for an answer.
        clock: How long an error is remembered.
    """

    def __init__(
        self, url: DatabaseURL, patience_s: float, clock: Clock = SYSTEM
    ) -> None:
        self._secrets = url.secrets
        self._limit_s = patience_s + _SPARE_S
        self._clock = clock
        self._database = Database(url, writes=False, patience_s=patience_s)
        self._workers = ThreadPool(SYSTEM)
        self._lock = threading.Lock()
        self._error: str | None = None
        self._rests_until = 0.0

    def ask(self, question: Callable[[Connection], T], empty: T) -> T:
        """Ask the database something.

        Args:
            question: What to do in a transaction.
            empty: The answer where nothing was written yet.

        Raises:
            SourceError: There is no answer, or there was none a moment ago.
        """
        if known := self._known_error():
            raise SourceError(known)
        try:
            answer = self._answer(question, empty)
        except Exception as error:  # noqa: BLE001  # a driver may raise anything
            told = f"The usage log cannot be read: {why(error, self._secrets)}"
            self._error, self._rests_until = told, self._clock.monotonic() + RETRY_S
            raise SourceError(told) from None
        self._error = None
        return answer

    def _known_error(self) -> str | None:
        """Return the error that still holds; else the caller is the one who asks."""
        with self._lock:
            now = self._clock.monotonic()
            if self._error is None or now < self._rests_until:
                return self._error
            self._rests_until = now + self._limit_s + RETRY_S
            return None

    def _answer(self, question: Callable[[Connection], T], empty: T) -> T:
        try:
            # A server that hangs is abandoned; no timeout of a driver sees to that.
            return self._workers.call(
                lambda: self._database.run(question), self._limit_s
            )
        except NoLogYet:
            return empty
        except Abandoned:
            raise TimeoutError(f"no answer within {self._limit_s:g} s") from None


PATIENCE_S = 3.0
"""Seconds that a page waits for one of its questions."""

_NONE: list[CallRecord] = []


class UsageSource:
    """The `DataSource` of all calls in the log, whichever process made them.

    Args:
        url: Where the log is.
        of_writer: Returns how this process's writing goes.
        patience_s: Seconds to wait for an answer.
        clock: For how long an error is remembered.
    """

    def __init__(
        self,
        url: DatabaseURL,
        of_writer: Callable[[], About] = lambda: About("usage"),
        patience_s: float = PATIENCE_S,
        clock: Clock = SYSTEM,
    ) -> None:
        self._of_writer = of_writer
        self._guard = PerProcess(lambda: QueryGuard(url, patience_s, clock))

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
        self, table: aggregates.Table, by: Sequence[str], span: Span
    ) -> list[dict[str, Any]]:
        """Return sums of a span."""
        none: list[dict[str, Any]] = []
        rows = self.ask(lambda one: _summed(one, table, by, span), none)
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
        """Ask the database something; see `QueryGuard.ask`."""
        return self._guard.get().ask(question, empty)

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return self.ask(lambda one: one.execute(query).mappings().all(), [])


def _summed(
    connection: Connection, table: aggregates.Table, by: Sequence[str], span: Span
) -> list[dict[str, Any]]:
    lacks = {each.name for each in missing(connection) if each.table is SUMS[table]}
    query = _query(table, by, span, lacks)
    none = dict.fromkeys(lacks, 0)
    return [dict(row) | none for row in connection.execute(query).mappings()]


def _query(
    table: aggregates.Table, by: Sequence[str], span: Span, lacks: set[str]
) -> Select[Any]:
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
        if each not in lacks
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
        select(*there(connection, attempts))
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
        select(*there(connection, attempts))
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


_NAME = "flask llm doctor"
_RECORD = CallRecord(
    call_id=_NAME,
    started_at=0.0,
    finished_at=0.0,
    purpose="",
    request_id=None,
    provider=_NAME,
    model=None,
    outcome=SUCCESS,
    error=None,
    fallback=False,
    streamed=False,
    latency_s=0.0,
    first_token_s=None,
    input_tokens=0,
    output_tokens=0,
    cost_usd=0.0,
    unpriced=False,
    attempts=(Attempt(_NAME, SUCCESS),),
)


def probe(url: DatabaseURL, patience_s: float) -> None:
    """Write a call as the log does, and take it back; nothing is made that would stay.

    Args:
        url: Where the log is.
        patience_s: Seconds that a statement may take.

    Raises:
        Exception: It cannot be written.
    """
    dialect = dialect_of(url)
    if url.file and not dialect.is_there():
        _check_folder(url.file)
        return
    engine = dialect.engine(writes=True, patience_s=patience_s)
    # Never committed: it leaves no row, nor tables where there were none.
    with engine.connect() as connection, connection.begin() as transaction:
        if not is_ready(connection):
            if not dialect.undoes_tables:
                return
            dialect.lock_tables(connection)
            make_ready(connection)
        _write(connection)
        transaction.rollback()


def _write(connection: Connection) -> None:
    write(connection, [_RECORD], [change_row(_NAME, CircuitChanged(_NAME, 0.0))])


def _check_folder(file: Path) -> None:
    """See that a file can be made, and the folders in which it will be."""
    folder = next(each for each in file.parents if os.path.lexists(each))
    if not (is_folder(folder) and os.access(folder, os.W_OK | os.X_OK)):
        raise PermissionError(f"no file can be made in {folder}")
