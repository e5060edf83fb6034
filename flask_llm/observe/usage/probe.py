"""Whether the log can be written, found out without leaving anything in it."""

import os
from pathlib import Path
from sqlalchemy import Connection

from ...folders import is_folder
from ...signals import CircuitChanged
from ...types import Attempt
from ..records import SUCCESS, CallRecord
from .database import dialect_of
from .ledger import write
from .settings import Place
from .rows import change_row
from .schema import is_ready, make_ready

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


def probe(place: Place, patience_s: float) -> None:
    """Write a call as the log does, and take it back; nothing is made that would stay.

    Args:
        place: Where the log is.
        patience_s: Seconds that a statement may take.

    Raises:
        Exception: It cannot be written.
    """
    dialect = dialect_of(place)
    if place.file and not dialect.is_there():
        _check_folder(place.file)
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
