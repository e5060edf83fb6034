"""Writes calls and their sums, all of them or none."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from ..records import CallRecord
from ..aggregates import ATTEMPTS, CALLS
from .portable import Portable
from .rows import Row, attempt_rows, call_row, sum_rows
from .tables import SUMS, attempts, calls, circuits

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class _Way(Protocol):
    """How rows get into one kind of database."""

    def insert_new(self, table: Table, rows: Sequence[Row]) -> set[str]:
        """Insert the rows whose key is not there yet; return these keys."""

    def add(self, table: Table, measures: Collection[str], rows: Sequence[Row]) -> None:
        """Add rows of sums to those of the same key, and insert the others."""


def write(
    connection: Connection, records: Sequence[CallRecord], changes: Sequence[Row]
) -> None:
    """Write calls and changes of circuits; what is there already is left out.

    A commit whose answer was lost may have happened. The same calls are then written
    once more: the number of a call tells, and only new ones are added to the sums.

    Args:
        connection: In a transaction.
        records: The calls.
        changes: The rows of changes.
    """
    way = _way(connection)
    fresh = _written_calls(way, records)
    rows = [row for record in fresh for row in attempt_rows(record)]
    if rows:
        connection.execute(attempts.insert(), rows)
    for table in (CALLS, ATTEMPTS):
        if sums := sum_rows(table, fresh):
            way.add(SUMS[table], table.measures, sums)
    if changes:
        way.insert_new(circuits, changes)


def _written_calls(way: _Way, records: Sequence[CallRecord]) -> list[CallRecord]:
    """Write the rows of calls; return those that were not there yet."""
    if not records:
        return []
    new = way.insert_new(calls, list(map(call_row, records)))
    return [record for record in records if record.call_id in new]


def _way(connection: Connection) -> _Way:
    insert = _INSERTS.get(connection.dialect.name)
    return _Upserts(connection, insert) if insert else Portable(connection)


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
