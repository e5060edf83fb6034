"""Writes the usage log: receivers, queue, thread, batches, outages and retention."""

import atexit
import logging
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from ...resilience.clock import SYSTEM, Clock, PerProcess
from ...signals import CircuitChanged, GenerationFinished
from .. import aggregates
from ..aggregates import ATTEMPTS, CALLS, DAY_S, KEPT_S, STEPS_S, About
from ..records import CallRecord
from .database import Database, missing, why
from .settings import DatabaseURL
from .tables import (
    SUMS,
    Row,
    attempt_rows,
    attempts,
    call_row,
    calls,
    change_row,
    circuits,
    schema,
    sum_rows,
)

log = logging.getLogger("flask_llm")

Change = tuple[str, CircuitChanged]
"""A circuit that opened or closed, and its number, should it be written twice."""

Item = CallRecord | Change
"""What is written."""


class Refused(Exception):  # noqa: N818  # it says what has happened
    """The database does not take a row, and never will; the cause says why."""


_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def write(
    connection: Connection, records: Sequence[CallRecord], changes: Sequence[Row]
) -> None:
    """Write calls and changes of circuits; what is there already is left out.

    A commit whose answer was lost may have happened. The same calls are then written
    once more: by their numbers, and only new ones are added to the sums.

    Args:
        connection: In a transaction.
        records: The calls.
        changes: The rows of changes.
    """
    way = _way(connection)
    fresh = _written_calls(way, records)
    rows = [row for record in fresh for row in attempt_rows(record)]
    if rows:
        connection.execute(attempts.insert(), _kept(connection, attempts, rows))
    for table in (CALLS, ATTEMPTS):
        if sums := sum_rows(table, fresh):
            known = _kept(connection, SUMS[table], sums)
            measures = [each for each in table.measures if each in known[0]]
            way.add(SUMS[table], measures, known)
    if changes:
        way.insert_new(circuits, changes)


def _kept(connection: Connection, table: Table, rows: list[Row]) -> list[Row]:
    """Return rows without what an older table has no columns for."""
    lacks = {each.name for each in missing(connection) if each.table is table}
    if not lacks:
        return rows
    return [{k: v for k, v in row.items() if k not in lacks} for row in rows]


def _written_calls(
    way: "_Upserts | _Portable", records: Sequence[CallRecord]
) -> list[CallRecord]:
    """Write the rows of calls; return those that were not there yet."""
    if not records:
        return []
    new = way.insert_new(calls, list(map(call_row, records)))
    return [record for record in records if record.call_id in new]


def _way(connection: Connection) -> "_Upserts | _Portable":
    insert = _INSERTS.get(connection.dialect.name)
    return _Upserts(connection, insert) if insert else _Portable(connection)


class _Upserts:
    """The way into SQLite and PostgreSQL, which many writers may go at once.

    Args:
        connection: In a transaction.
        insert: Makes the database's own INSERT.
    """

    def __init__(self, connection: Connection, insert: Any) -> None:
        self._connection, self._insert = connection, insert

    def insert_new(self, table: Table, rows: Sequence[Row]) -> set[str]:
        """Insert the rows whose key is not there yet; return these keys."""
        statement = self._insert(table).on_conflict_do_nothing()
        statement = statement.returning(*table.primary_key)
        return set(self._connection.scalars(statement, rows))

    def add(self, table: Table, measures: Collection[str], rows: Sequence[Row]) -> None:
        """Add rows of sums to those of the same key, and insert the others."""
        statement = self._insert(table)
        more = {name: table.c[name] + statement.excluded[name] for name in measures}
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_=more
        )
        self._connection.execute(statement, rows)


class _Portable:
    """The way into a database whose own kind of upsert is not known here.

    What is there is asked for first, so nobody else may write meanwhile: each writer
    holds the row of the version until its transaction ends.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Not SELECT … FOR UPDATE, which some databases do not know.
        connection.execute(update(schema).values(version=schema.c.version))

    def insert_new(self, table: Table, rows: Sequence[Row]) -> set[str]:
        """Insert the rows whose key is not there yet; return these keys."""
        (key,) = table.primary_key
        wanted = [row[key.name] for row in rows]
        there = set(self._connection.scalars(select(key).where(key.in_(wanted))))
        new = [row for row in rows if row[key.name] not in there]
        if new:
            self._connection.execute(table.insert(), new)
        return set(wanted) - there

    def add(self, table: Table, measures: Collection[str], rows: Sequence[Row]) -> None:
        """Add rows of sums to those of the same key, and insert the others."""
        for row in rows:
            same = [key == row[key.name] for key in table.primary_key]
            more = {name: table.c[name] + row[name] for name in measures}
            # The database tells which keys are the same: it may overlook spaces.
            found = self._connection.execute(update(table).where(*same).values(more))
            if found.rowcount < 1:
                self._connection.execute(table.insert(), row)


_CALLS = 500
_TIMES = 50

Piece = Callable[[Connection], bool]
"""Deletes some rows in a transaction; returns whether there may be more."""


def pieces(now: float, days: int | None) -> Iterator[Piece]:
    """Yield what has to be done, each again and again as long as it returns true.

    Args:
        now: The time.
        days: For how long calls are kept; None for ever.
    """
    if days is not None:
        limit = now - days * DAY_S
        yield partial(_delete_calls, limit)
        yield partial(_delete_changes, limit)
    for step in STEPS_S:
        kept = KEPT_S.get(step, None if days is None else days * DAY_S)
        if kept is not None:
            yield from (partial(_delete_sums, each, step, now - kept) for each in SUMS)


def _delete_calls(limit: float, connection: Connection) -> bool:
    # Skipped if locked: another process is deleting them.
    old = (
        select(calls.c.call_id)
        .where(calls.c.finished_at < limit)
        .order_by(calls.c.finished_at)
        .limit(_CALLS)
        .with_for_update(skip_locked=True)
    )
    found = list(connection.scalars(old))
    if found:
        connection.execute(delete(attempts).where(attempts.c.call_id.in_(found)))
        connection.execute(delete(calls).where(calls.c.call_id.in_(found)))
    return len(found) == _CALLS


def _delete_changes(limit: float, connection: Connection) -> bool:
    connection.execute(delete(circuits).where(circuits.c.at < limit))
    return False  # there are never many


def _delete_sums(
    table: aggregates.Table, step: int, limit: float, connection: Connection
) -> bool:
    """Delete the sums of some times that had ended by the limit."""
    sums = SUMS[table]
    oldest = connection.scalar(select(func.min(sums.c.at)).where(sums.c.step == step))
    if oldest is None or oldest + step > limit:
        return False
    until = min(oldest + _TIMES * step, limit - step)
    old = delete(sums).where(sums.c.step == step, sums.c.at <= until)
    connection.execute(old)
    return True


def write_items(connection: Connection, items: Sequence[Item]) -> None:
    """Write calls and changes; what is there already is left out.

    Args:
        connection: In a transaction. Only here a row is said to be at fault: who makes
            the tables at the same time as others may be refused as well.
        items: What is written, all of it or nothing.

    Raises:
        Refused: The database does not take one of them.
        Exception: The database cannot be written now.
    """
    records = [each for each in items if isinstance(each, CallRecord)]
    changes = [change_row(*each) for each in items if isinstance(each, tuple)]
    try:
        write(connection, records, changes)
    except Exception as error:
        if _is_of_rows(error):
            raise Refused from error
        raise


def _is_of_rows(error: Exception) -> bool:
    """Return whether an error is about what was to be written, not about where."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, TypeError | ValueError | ArithmeticError)


_PAUSE_S = 300.0

# A file may be locked for a moment, and a server may be starting anew.
_TRIES_UNLOGGED = 3


class Outage:
    """An outage of the database, if there is one, and what was lost in all.

    Args:
        clock: The time.
        secrets: What must not be logged.

    Attributes:
        lost: Calls that this process could not write.
        error: Why the last attempt to write has failed; None if it went well.
    """

    def __init__(self, clock: Clock, secrets: tuple[str, ...]) -> None:
        self.lost = 0
        self.error: str | None = None
        self._clock = clock
        self._secrets = secrets
        self._lock = threading.Lock()
        self._failures = 0
        self._lost_before = 0
        self._logged_at: float | None = None

    def failed(self, error: Exception, waiting: int) -> None:
        """Note that writing has failed."""
        reason = why(error, self._secrets)
        with self._lock:
            self.error = reason
            self._failures += 1
            is_logged = self._failures >= _TRIES_UNLOGGED and self._is_due()
        if is_logged:
            log.warning(
                "LLM_USAGE: the usage log cannot be written (%s); calls that wait: %d,"
                " lost: %d",
                reason,
                waiting,
                self._lost_now,
            )

    def lose(self, number: int) -> None:
        """Count calls that there is no room for."""
        with self._lock:
            self.lost += number
            is_logged = self._is_due()
        if is_logged:
            log.warning(
                "LLM_USAGE: the usage log is too slow or does not answer; calls that"
                " have no room to wait are lost, so far: %d",
                self._lost_now,
            )

    def refused(self, error: BaseException) -> None:
        """Count a call whose row the database does not take."""
        with self._lock:
            self.lost += 1
        log.warning(
            "LLM_USAGE: a call is lost, since its row is refused (%s)",
            why(error, self._secrets),
        )

    def over(self) -> None:
        """Note that writing works, and log it if the outage was logged."""
        if not self._failures and self._logged_at is None:
            return
        with self._lock:
            is_logged, lost = self._logged_at is not None, self._lost_now
            self._failures, self._logged_at, self.error = 0, None, None
            self._lost_before = self.lost
        if is_logged:
            log.info("LLM_USAGE: the usage log is written again; calls lost: %d", lost)

    @property
    def _lost_now(self) -> int:
        return self.lost - self._lost_before

    def _is_due(self) -> bool:
        now = self._clock.monotonic()
        if self._logged_at is not None and now - self._logged_at < _PAUSE_S:
            return False
        self._logged_at = now
        return True


ROOM = 10_000
"""What may wait."""

_BATCH = 500
_GATHER_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 30.0
_CLEAN_S = 3600.0
_FIRST_CLEAN_S = (60.0, 600.0)
_BREATH_S = 0.02
_LAST_CHANCE_S = 2.0
_CLOSE_S = 0.5
_PATIENCE_S = 20.0


class Writer:
    """Takes calls at once, and writes them soon, in one process.

    Args:
        url: Where the log is.
        days: For how long calls are kept; None for ever.
        clock: The time.
        room: How much may wait; calls for which there is no room are lost, and counted.

    Attributes:
        outage: What is lost.
    """

    def __init__(
        self,
        url: DatabaseURL,
        days: int | None,
        clock: Clock = SYSTEM,
        room: int = ROOM,
    ) -> None:
        self.outage = Outage(clock, url.secrets)
        self._secrets = url.secrets
        self._database = Database(url, writes=True, patience_s=_PATIENCE_S)
        self._days = days
        self._clock = clock
        self._room = room
        self._pid = os.getpid()
        # An event is set when all before it is written.
        self._waiting: deque[Item | threading.Event] = deque()
        self._batch: list[Item | threading.Event] = []
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._clean_at = clock.monotonic() + random.uniform(*_FIRST_CLEAN_S)  # noqa: S311  # so that workers do not all begin at once

    def put(self, item: Item) -> None:
        """Let something be written; never waits."""
        if len(self._waiting) >= self._room:
            self.outage.lose(isinstance(item, CallRecord))
            return
        self._waiting.append(item)
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written that was put before.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is.
        """
        mark = threading.Event()
        self._waiting.append(mark)
        if self._thread is None:
            self._start()
        self._hurry.set()
        self._wake.set()
        return mark.wait(timeout)

    def end(self, timeout: float = _LAST_CHANCE_S) -> None:
        """Write what waits, and stop; say how many calls are lost by that."""
        if os.getpid() != self._pid or self._thread is None or self._ended:
            return  # nothing to do; in a forked process there is no such thread
        is_own = threading.current_thread() is self._thread
        written = not is_own and self.flush(timeout)
        self._ended = True
        atexit.unregister(self.end)
        self._hurry.set()
        self._wake.set()
        if written:
            # Stopped while it closes SQLite, it would leave the other files behind.
            self._thread.join(_CLOSE_S)
        if not written and (left := self._calls_left()):
            log.warning("LLM_USAGE: the process ends; calls lost: %d", left)

    def about(self) -> About:
        """Return how the writing goes."""
        lost, error = self.outage.lost, self.outage.error
        return About("usage", lost=lost, waiting=self._calls_left(), write_error=error)

    def _calls_left(self) -> int:
        left = (*self._batch, *self._waiting)
        return sum(isinstance(each, CallRecord) for each in left)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._work, name="flask-llm-usage", daemon=True
                )
                thread.start()
                self._thread = thread
                # Of a gunicorn worker too. No finalizer of weakref's: those of a
                # process are looked through while other threads may still add some.
                atexit.register(self.end)

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(max(0.0, self._clean_at - self._clock.monotonic()))
            self._wake.clear()
            if self._waiting:
                self._hurry.wait(_GATHER_S)  # more may come, to be written with it
            self._write_all()
            if self._clock.monotonic() >= self._clean_at:
                self._clean_at = self._clock.monotonic() + _CLEAN_S
                self._clean()
        self._database.close()

    def _write_all(self) -> None:
        """Write until nothing waits, however long the database is away."""
        pause = _FIRST_PAUSE_S
        while (self._waiting or self._batch) and not self._ended:
            self._hurry.clear()
            try:
                self._write_some()
                pause = _FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001  # a driver may raise anything
                self.outage.failed(error, self._calls_left())
                self._hurry.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _write_some(self) -> None:
        """Write a batch; it stays until it is written."""
        while self._waiting and len(self._batch) < _BATCH:
            self._batch.append(self._waiting.popleft())
        items = [each for each in self._batch if isinstance(each, CallRecord | tuple)]
        marks = [
            each for each in self._batch if not isinstance(each, CallRecord | tuple)
        ]
        self._write(items)
        self._batch = []
        self.outage.over()
        for mark in marks:
            mark.set()

    def _write(self, items: list[Item]) -> None:
        """Write calls; if one of them is refused, each of them alone."""
        try:
            if items:
                self._database.run(partial(write_items, items=items))
        except Refused as refusal:
            if len(items) == 1:
                self.outage.refused(refusal.__cause__ or refusal)
                return
            for each in items:
                self._write([each])

    def _clean(self) -> None:
        """Delete what is old; calls that come meanwhile are written in between."""
        try:
            for piece in pieces(self._clock.time(), self._days):
                while self._database.run(piece):
                    self._hurry.wait(_BREATH_S)
                    self._write_all()
                    if self._ended:
                        return
        except Exception as error:  # noqa: BLE001  # a driver may raise anything
            told = why(error, self._secrets)
            log.warning("LLM_USAGE: old calls are not deleted (%s)", told)


class UsageLog:
    """Hears an app's calls; the app keeps it at ``app.extensions["llm.usage"]``.

    Args:
        url: Where the log is.
        days: For how long calls are kept; None for ever.

    Attributes:
        url: Where the log is.
    """

    def __init__(self, url: DatabaseURL, days: int | None) -> None:
        self.url = url
        self._days = days
        self._writer = PerProcess(self._made)

    def about(self) -> About:
        """Return how this process's writing goes."""
        writer = self._writer.made()
        return About("usage") if writer is None else writer.about()

    def finished(self, sender: object, event: GenerationFinished) -> None:  # noqa: ARG002  # blinker's own
        """Let a call that is over be written; never waits."""
        self._writer.get().put(CallRecord.of(event))

    def changed(self, sender: object, event: CircuitChanged) -> None:  # noqa: ARG002  # blinker's own
        """Let it be written that a circuit has opened or closed; never waits."""
        self._writer.get().put((os.urandom(12).hex(), event))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until this process's calls are written, for tests and scripts.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether they are.
        """
        writer = self._writer.made()
        return writer is None or writer.flush(timeout)

    def _made(self) -> Writer:
        writer = Writer(self.url, self._days)
        # When the app is gone; the writer itself sees to the end of the process.
        weakref.finalize(self, writer.end).atexit = False
        return writer
