"""What the databases want said to them before anything else."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from .settings import Place

LOCK = 5_318_008_412
"""Number of the lock under which one process makes the tables of PostgreSQL."""

# Seconds; libpq takes whole ones.
_CONNECT_S = 3
_BUSY_S = 2.0

# A server whose machine is gone is given up after about this long.
_LIBPQ = {
    "connect_timeout": _CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "flask-llm",
}
_LIBPQ_DRIVERS = {"postgresql+psycopg", "postgresql+psycopg2"}
_READ_COMMITTED = "READ COMMITTED"
_INSTRUCTIONS = 20_000  # of SQLite's machine between two looks at the time


class Dialect(Protocol):
    """How one kind of database is used.

    Attributes:
        undoes_tables: Whether a transaction that is not committed leaves no tables.
    """

    undoes_tables: bool

    def engine(self, *, writes: bool, patience_s: float) -> Engine:
        """Return an engine that keeps no connection; connects to nothing.

        Args:
            writes: Whether transactions may write.
            patience_s: Seconds that a statement may take, where that can be said.
        """

    def is_there(self) -> bool:
        """Return whether there can be a log, as far as that can be told from here."""

    def lock_tables(self, connection: Connection) -> None:
        """Let no other process make tables until the transaction ends."""


def dialect_of(place: Place) -> Dialect:
    """Return how a place is used."""
    if place.file:
        return Sqlite(place)
    is_libpq = place.url.drivername in _LIBPQ_DRIVERS
    return Postgres(place.url) if is_libpq else Other(place.url)


class Postgres:
    """PostgreSQL through libpq.

    Args:
        url: Its address.
    """

    undoes_tables = True

    def __init__(self, url: URL) -> None:
        self._url = url

    def engine(self, *, writes: bool, patience_s: float) -> Engine:
        """Return an engine; what its address itself says of libpq's settings holds."""
        own = {
            key: value for key, value in _LIBPQ.items() if key not in self._url.query
        }
        engine = _engine(self._url, own)
        # Not as an option of the connection, which poolers such as PgBouncer refuse.
        patience = f"SET LOCAL statement_timeout = {int(patience_s * 1000)}"
        access = "" if writes else "SET TRANSACTION READ ONLY; "
        _on_begin(engine, access + patience)
        return engine

    def is_there(self) -> bool:
        """Return true: only the server knows."""
        return True

    def lock_tables(self, connection: Connection) -> None:
        """Wait for a lock of the database's own."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


class Sqlite:
    """A file of SQLite, used by many processes.

    Args:
        place: Where it is.
    """

    undoes_tables = True

    def __init__(self, place: Place) -> None:
        assert place.file is not None
        self._url, self._file = place.url, place.file

    def engine(self, *, writes: bool, patience_s: float) -> Engine:
        """Return an engine; one that writes makes the file and its folder."""
        engine = _engine(
            self._url,
            {
                "timeout": min(_BUSY_S, patience_s),
                "check_same_thread": False,
                # The driver must not begin transactions: it does so without a lock.
                "isolation_level": None,
            },
        )
        if writes:
            event.listen(engine, "do_connect", self._make_file)
            event.listen(engine, "connect", _prepare_file)
        else:
            event.listen(engine, "begin", lambda one: _limit(one, patience_s))
        # With the write lock, since a reader that wants it later may not get it.
        _on_begin(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
        return engine

    def is_there(self) -> bool:
        """Return whether the file is there."""
        return self._file.exists()

    def lock_tables(self, connection: Connection) -> None:
        """Do nothing: whoever writes is alone."""

    def _make_file(self, *_: object) -> None:
        """Make what is missing: the folder, and a file for nobody else's eyes."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._file.touch(0o600, exist_ok=False)


class Other:
    """Any other database, with what its address and its driver say of time limits.

    Args:
        url: Its address.
    """

    undoes_tables = False

    def __init__(self, url: URL) -> None:
        self._url = url

    def engine(self, *, writes: bool, patience_s: float) -> Engine:  # noqa: ARG002  # neither can be said in a way that all understand
        """Return an engine whose statements see what others have committed."""
        engine = _engine(self._url, {})
        try:
            levels = engine.dialect.get_isolation_level_values(cast("Any", None))
        except NotImplementedError:
            levels = []
        if _READ_COMMITTED in levels:
            return engine.execution_options(isolation_level=_READ_COMMITTED)
        return engine

    def is_there(self) -> bool:
        """Return true: only the server knows."""
        return True

    def lock_tables(self, connection: Connection) -> None:
        """Do nothing: of two that make a table one fails, and tries again."""


def _engine(url: URL, arguments: dict[str, Any]) -> Engine:
    return create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )


def _on_begin(engine: Engine, statement: str) -> None:
    event.listen(engine, "begin", lambda one: one.exec_driver_sql(statement))


def _prepare_file(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _limit(connection: Connection, seconds: float) -> None:
    """Let SQLite stop a statement when the transaction has taken too long."""
    until = time.monotonic() + seconds
    is_late: Callable[[], bool] = lambda: time.monotonic() > until  # noqa: E731
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.set_progress_handler(is_late, _INSTRUCTIONS)
