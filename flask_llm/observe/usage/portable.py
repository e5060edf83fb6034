"""Writes with statements that every database knows, one writer at a time."""

from collections.abc import Collection, Sequence
from sqlalchemy import Connection, Table, select, update

from .rows import Row
from .tables import schema

class Portable:
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
