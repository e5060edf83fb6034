"""Writes calls and their sums, all of them or none."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from .. import tally
from ..record import CallRecord
from ..tally import ATTEMPTS, CALLS
from .rows import Row, attempt_rows, call_row, sum_rows
from .tables import SUMS, attempts, calls, circuits

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


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
    fresh = _written_calls(connection, records)
    rows = [row for record in fresh for row in attempt_rows(record)]
    if rows:
        connection.execute(attempts.insert(), rows)
    for table in (CALLS, ATTEMPTS):
        _add(connection, table, sum_rows(table, fresh))
    if changes:
        statement = _insert(connection, circuits).on_conflict_do_nothing()
        connection.execute(statement, changes)


def _written_calls(
    connection: Connection, records: Sequence[CallRecord]
) -> list[CallRecord]:
    """Write the rows of calls; return those that were not there yet."""
    if not records:
        return []
    statement = _insert(connection, calls).on_conflict_do_nothing()
    statement = statement.returning(calls.c.call_id)
    new = set(connection.scalars(statement, list(map(call_row, records))))
    return [record for record in records if record.call_id in new]


def _add(connection: Connection, table: tally.Table, rows: list[Row]) -> None:
    """Add to sums."""
    if not rows:
        return
    columns = SUMS[table].columns
    statement = _insert(connection, SUMS[table])
    more = {name: columns[name] + statement.excluded[name] for name in table.measures}
    keys = ["step", "at", *table.dimensions]
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=more), rows
    )


def _insert(connection: Connection, table: Table) -> Any:
    return _INSERTS[connection.dialect.name](table)
