"""The database as the writer sees it: calls go in, and old ones go out."""

from collections.abc import Iterator
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from ..records import CallRecord
from .items import Change, Item, Refused
from .ledger import write
from .link import Link
from .settings import Place
from .retention import pieces
from .rows import Row, change_row

_PATIENCE_S = 20.0


class Book:
    """The log of a place, for one thread that writes.

    Args:
        place: Where it is.
    """

    def __init__(self, place: Place) -> None:
        self._link = Link(place, writes=True, patience_s=_PATIENCE_S)

    def write(self, items: list[Item]) -> None:
        """Write all of these or none; those that are there already are left out.

        Raises:
            Refused: The database does not take one of them.
            Exception: The database cannot be written now.
        """
        records = [each for each in items if isinstance(each, CallRecord)]
        changes = [
            change_row(each.number, each.event)
            for each in items
            if isinstance(each, Change)
        ]
        self._link.run(lambda connection: _write(connection, records, changes))

    def clean(self, now: float, days: int | None) -> Iterator[None]:
        """Delete what is old; yields now and then, so that others have their turn.

        Args:
            now: The time.
            days: For how long calls are kept; None for ever.
        """
        for piece in pieces(now, days):
            while self._link.run(piece):
                yield

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def _write(
    connection: Connection, records: list[CallRecord], changes: list[Row]
) -> None:
    """Write, and say it if a row is at fault.

    Only here: who makes the tables at the same time as others may be refused as well.
    """
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
