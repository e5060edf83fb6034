"""The connection to the usage log's database."""

import atexit
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import WeakSet

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    NullPool,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from ...errors import redact, text_of
from ...resilience.gevent import in_native_thread
from ...resilience.storage.sqlite import let_read, make_private
from .settings import DatabaseURL
from .tables import LATER, VERSION, metadata, schema

log = logging.getLogger("flask_llm")

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


class Dialect:
    """How one kind of database is used; here any that has no class of its own.

    What its address and its driver say of time limits holds.

    Args:
        url: Where it is.

    Attributes:
        undoes_tables: Whether a transaction that is not committed leaves no tables.
    """

    undoes_tables = False

    def __init__(self, url: DatabaseURL) -> None:
        self._file, self._url = url.file, url.engine_url

    def engine(self, *, writes: bool, patience_s: float) -> Engine:  # noqa: ARG002  # there is no way to say either that all understand
        """Return an engine that keeps no connection; connects to nothing.

        Its statements see what others have committed.

        Args:
            writes: Whether transactions may write.
            patience_s: Seconds that a statement may take, where that can be set.
        """
        engine = _engine(self._url, {})
        try:
            levels = engine.dialect.get_isolation_level_values(cast("Any", None))
        except NotImplementedError:
            levels = []
        if _READ_COMMITTED in levels:
            return engine.execution_options(isolation_level=_READ_COMMITTED)
        return engine

    def is_there(self) -> bool:
        """Return whether there can be a log; of a server only the server knows."""
        return True

    def lock_tables(self, connection: Connection) -> None:
        """Let no other process make tables until the transaction ends.

        Nothing is done here: of two that make a table one fails, and tries again.
        """


class Postgres(Dialect):
    """PostgreSQL through libpq."""

    undoes_tables = True

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

    def lock_tables(self, connection: Connection) -> None:
        """Wait for a lock of the database's own."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


class Sqlite(Dialect):
    """A file of SQLite, used by many processes: whoever writes is alone."""

    undoes_tables = True

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
            event.listen(engine, "connect", lambda raw, _: let_read(raw))
        else:
            event.listen(engine, "begin", lambda one: _limit(one, patience_s))
        # With the write lock, since a reader that wants it later may not get it.
        _on_begin(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
        return engine

    def is_there(self) -> bool:
        """Return whether the file is there."""
        return self._file is not None and self._file.exists()

    def _make_file(self, *_: object) -> None:
        """Make what is missing: the folder, and a file for nobody else's eyes."""
        assert self._file is not None
        self._file.parent.mkdir(parents=True, exist_ok=True)
        make_private(self._file)


def dialect_of(url: DatabaseURL) -> Dialect:
    """Return how a database is used."""
    if url.file:
        return Sqlite(url)
    is_libpq = url.engine_url.drivername in _LIBPQ_DRIVERS
    return Postgres(url) if is_libpq else Dialect(url)


def _engine(url: URL, arguments: dict[str, Any]) -> Engine:
    return create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )


def _on_begin(engine: Engine, statement: str) -> None:
    event.listen(engine, "begin", lambda one: one.exec_driver_sql(statement))


def _limit(connection: Connection, seconds: float) -> None:
    """Let SQLite stop a statement when the transaction has taken too long."""
    until = time.monotonic() + seconds
    is_late: Callable[[], bool] = lambda: time.monotonic() > until  # noqa: E731  # one line says it
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.set_progress_handler(is_late, _INSTRUCTIONS)


_LONGEST = 160


class WrongVersion(Exception):  # noqa: N818  # it says what is the matter
    """The tables belong to another version of Flask-LLM."""


def why(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return what went wrong in one line.

    Args:
        error: What was raised; of SQLAlchemy's it is the driver's that counts, since
            theirs also has the statement.
        secrets: What it must not hold.
    """
    cause = getattr(error, "orig", None) or error
    text = " ".join(redact(text_of(cause), secrets).split())[:_LONGEST]
    if isinstance(cause, WrongVersion | TimeoutError) and text:
        return text
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def is_ready(connection: Connection) -> bool:
    """Return whether the tables are there.

    Raises:
        WrongVersion: They are not those of this Flask-LLM.
    """
    if not inspect(connection).has_table(schema.name):
        return False
    version = connection.scalar(select(func.max(schema.c.version)))
    if version not in {None, VERSION}:
        raise WrongVersion(
            f"its tables are of version {version}; this Flask-LLM knows {VERSION} only"
        )
    return version is not None


def make_ready(connection: Connection) -> None:
    """Make the tables that are missing; nobody else may do so meanwhile.

    Those that Alembic has made are complete but for the version.
    """
    if not is_ready(connection):
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=VERSION))


_COMPLETE = "flask_llm.complete"


def missing(connection: Connection) -> frozenset[Column[Any]]:
    """Return which columns the tables lack, since an older Flask-LLM has made them.

    Args:
        connection: In a transaction. Asked until nothing is missing: another process
            may add the columns at any time.
    """
    if _COMPLETE in connection.info:
        return frozenset()
    found = inspect(connection)
    lacks = frozenset(
        column
        for table, columns in LATER.items()
        for column in columns
        if column.name not in {each["name"] for each in found.get_columns(table)}
    )
    if not lacks:
        connection.info[_COMPLETE] = True
    return lacks


def there(connection: Connection, table: Table) -> list[Column[Any]]:
    """Return the columns of a table that are there."""
    lacks = missing(connection)
    return [each for each in table.columns if each not in lacks]


def migration(connection: Connection) -> list[str]:
    """Return the statements that add what the tables lack."""
    dialect = connection.dialect
    columns = sorted(missing(connection), key=lambda each: f"{each.table.name}{each}")
    return [
        f"ALTER TABLE {each.table.name} ADD COLUMN"
        f" {' '.join(str(CreateColumn(each).compile(dialect=dialect)).split())}"
        for each in columns
    ]


def migrate(connection: Connection) -> None:
    """Add what the tables lack.

    Args:
        connection: In a transaction. Two processes may try: one of them fails.
    """
    for statement in migration(connection):
        connection.exec_driver_sql(statement)


def statements(url: DatabaseURL, patience_s: float, *, runs: bool) -> list[str]:
    """Return the statements that add what the tables of a log lack.

    Args:
        url: Where it is.
        patience_s: Seconds that a statement may take.
        runs: Whether to run them too.

    Raises:
        Exception: What the database raises.
    """
    dialect = dialect_of(url)
    if not dialect.is_there():
        return []
    engine = dialect.engine(writes=runs, patience_s=patience_s)
    with engine.connect() as connection, connection.begin():
        if not is_ready(connection):
            return []
        found = migration(connection)
        if runs:
            dialect.lock_tables(connection)
            migrate(connection)
        return found


T = TypeVar("T")

# Seconds that a fork waits for a transaction, which are SQLite's longest wait and some
# more, and those that the end of a process waits.
_FORK_S = 2.5
_END_S = 0.2


class NoLogYet(Exception):  # noqa: N818  # no error of anybody: nothing was written yet
    """There are no tables, and whoever only reads makes none."""


class Database:
    """One connection to the log, made on first use and again after each failure.

    One to SQLite is closed before every fork. SQLite keeps its locks in tables of the
    process: in a child that inherits an open connection, even one of its own may hold
    no real lock.

    Args:
        url: Where the log is.
        writes: Whether to write, and to make what is missing.
        patience_s: Seconds that one may wait for others, and a statement may take.
    """

    def __init__(self, url: DatabaseURL, *, writes: bool, patience_s: float) -> None:
        self._file = url.file
        self._writes = writes
        self._patience_s = patience_s
        self._dialect = dialect_of(url)
        self._engine = self._dialect.engine(writes=writes, patience_s=patience_s)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._inode = 0
        self._parked = False
        if self._file:
            _DATABASES.add(self)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do something in one transaction; all of it happens, or nothing.

        Raises:
            TimeoutError: Another thread still uses the connection.
            NoLogYet: There is nothing to read.
            Exception: What the database or the work raises.
        """
        if not self._lock.acquire(timeout=self._patience_s):
            raise TimeoutError("no answer yet to what was asked before")
        watch = threading.Timer(2 * self._patience_s, self._hang_up)
        watch.daemon = True
        try:
            # At a process's end Python 3.12 begins no thread; nobody waits long there.
            with suppress(RuntimeError):
                watch.start()
            # SQLite waits inside C, and under gevent all would wait with it.
            return in_native_thread(self._run, work)
        finally:
            watch.cancel()
            self._lock.release()

    def close(self) -> None:
        """Close the connection; the next use makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Not to be rolled back first: that waits for a server that is gone.
            connection.invalidate()
            connection.close()

    def _hang_up(self) -> None:
        """Close a connection whose other end lives, but sends nothing any more."""
        connection = self._connection
        if connection is None or self._file:
            return
        number_of = getattr(connection.connection.driver_connection, "fileno", None)
        if number_of is None:
            return  # libpq has one, few others do
        number = os.dup(number_of())
        with socket.socket(fileno=number) as twin, suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    def park(self, seconds: float) -> None:
        """Close the connection and let nobody make one; wait so long for its user."""
        if self._lock.acquire(timeout=seconds):
            self._parked = True
            self.close()

    def go_on(self) -> None:
        """Allow connections again."""
        if self._parked:
            self._parked = False
            self._lock.release()

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connected()
            with connection.begin():
                return work(connection)
        except BaseException:
            self.close()
            raise

    def _connected(self) -> Connection:
        if self._connection is not None and not _is(self._file, self._inode):
            self.close()
        if self._connection is None:
            if not (self._writes or self._dialect.is_there()):
                raise NoLogYet
            self._connection = self._engine.connect()
            self._check_tables(self._connection)
            self._inode = _inode(self._file)
        return self._connection

    def _check_tables(self, connection: Connection) -> None:
        with connection.begin():
            ready = is_ready(connection)
        if ready:
            if self._writes:
                self._add_columns(connection)
            return
        if not self._writes:
            raise NoLogYet
        with connection.begin():
            self._dialect.lock_tables(connection)
            make_ready(connection)

    def _add_columns(self, connection: Connection) -> None:
        """Add what older tables lack, if that is allowed; the log does without it."""
        with connection.begin():
            if not missing(connection):
                return
        try:
            with connection.begin():
                self._dialect.lock_tables(connection)
                migrate(connection)
        except DBAPIError as error:
            with connection.begin():
                if missing(connection):  # nobody else has just done so
                    _tell_missing(type(error.orig).__name__)


@cache
def _tell_missing(why: str) -> None:
    log.warning(
        "LLM_USAGE: columns for cached and reasoning tokens cannot be added (%s), so"
        " these are not kept: flask llm usage --migrate print shows how",
        why,
    )


def _inode(file: Path | None) -> int:
    return file.stat().st_ino if file else 0


def _is(file: Path | None, inode: int) -> bool:
    """Return whether a path still names the open file; it may be deleted."""
    try:
        return _inode(file) == inode
    except FileNotFoundError:
        return False


_DATABASES: WeakSet[Database] = WeakSet()


def _park(seconds: float = _FORK_S) -> None:
    for each in list(_DATABASES):
        each.park(seconds)


def _go_on() -> None:
    for each in list(_DATABASES):
        each.go_on()


# SQLite puts all into one file when the last connection is closed. Writers register
# later, so they are done before.
atexit.register(_park, _END_S)

if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(
        before=_park, after_in_parent=_go_on, after_in_child=_DATABASES.clear
    )
