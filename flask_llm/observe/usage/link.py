"""One connection to the log, used by one thread at a time."""

import atexit
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet
from sqlalchemy import Connection

from ...resilience.gevent import in_native_thread
from .database import dialect_of
from .settings import Place
from .schema import is_ready, make_ready

T = TypeVar("T")

# Seconds that a fork waits for a transaction, which are SQLite's longest wait and some
# more, and those that the end of a process waits.
_FORK_S = 2.5
_END_S = 0.2


class NoLogYet(Exception):  # noqa: N818  # no error of anybody: nothing was written yet
    """There are no tables, and whoever only reads makes none."""


class Link:
    """A connection that is made on first use, and again after each failure.

    One to SQLite is closed before every fork. SQLite keeps its locks in tables of the
    process: in a child that inherits an open connection, even one of its own may hold
    no real lock.

    Args:
        place: Where the log is.
        writes: Whether to write, and to make what is missing.
        patience_s: Seconds that one may wait for others, and a statement may take.
    """

    def __init__(self, place: Place, *, writes: bool, patience_s: float) -> None:
        self._file = place.file
        self._writes = writes
        self._patience_s = patience_s
        self._dialect = dialect_of(place)
        self._engine = self._dialect.engine(writes=writes, patience_s=patience_s)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._inode = 0
        self._parked = False
        if self._file:
            _LINKS.add(self)

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
        """Cut a connection whose other end lives, but does not say a word any more."""
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
            return
        if not self._writes:
            raise NoLogYet
        with connection.begin():
            self._dialect.lock_tables(connection)
            make_ready(connection)


def _inode(file: Path | None) -> int:
    return file.stat().st_ino if file else 0


def _is(file: Path | None, inode: int) -> bool:
    """Tell whether a path still names the open file; it may be deleted."""
    try:
        return _inode(file) == inode
    except FileNotFoundError:
        return False


_LINKS: WeakSet[Link] = WeakSet()


def _park(seconds: float = _FORK_S) -> None:
    for link in list(_LINKS):
        link.park(seconds)


def _go_on() -> None:
    for link in list(_LINKS):
        link.go_on()


# SQLite puts all into one file when the last connection is closed. Writers register
# later, so they are done before.
atexit.register(_park, _END_S)

if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(
        before=_park, after_in_parent=_go_on, after_in_child=_LINKS.clear
    )
