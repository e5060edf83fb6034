"""Circuits in a file: for all processes of a host, without a server."""

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from ..circuit_breaker import CLOSED, Circuit
from ..clock import SYSTEM, Clock, PerProcess
from ..limits import Charge, Counters, Rate, Refused, bucket_of, gone_at, wait_for
from .base import Change, Storage, unless_stale

T = TypeVar("T")

_TABLE = """
    CREATE TABLE IF NOT EXISTS flask_llm_circuits (
        key TEXT PRIMARY KEY, circuit TEXT NOT NULL, stale_at REAL NOT NULL
    ) WITHOUT ROWID
"""
_COUNTERS = """
    CREATE TABLE IF NOT EXISTS flask_llm_counters (
        key TEXT, bucket INTEGER, amount INTEGER NOT NULL, gone_at REAL NOT NULL,
        PRIMARY KEY (key, bucket)
    ) WITHOUT ROWID
"""
_BUSY = 1.0
_COUNTERS_BUSY = 2.0
_BUSY_PAUSE = 0.005
_SWEEP = 600.0
_FORK = 0.05


def make_private(path: Path) -> None:
    """Make a file for nobody else's eyes, unless it is there; then its mode is kept.

    Args:
        path: The file. What else is wrong with it SQLite tells.

    Raises:
        OSError: It is a link to nothing: what others have put there is not followed.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        if path.is_symlink() and not path.exists():
            raise OSError("it is a link to a file that is not there") from None


_OF_OTHERS = """
    SELECT 1 FROM sqlite_master WHERE type = 'table'
    AND name NOT GLOB 'flask_llm_*' AND name NOT GLOB 'sqlite_*'
"""


def let_read(db: sqlite3.Connection) -> None:
    """Let others read while somebody writes: SQLite's WAL mode.

    Not in a file with tables of others, such as the app's own: its mode is theirs.

    Args:
        db: A connection to the file.
    """
    if db.execute(_OF_OTHERS).fetchone() is None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")


class SqliteStorage(Storage):
    """Circuits in an SQLite file, which is made if it is missing.

    Args:
        path: The file; its folder must be there.
        clock: Says when circuits are stale.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._sweep_at = 0.0
        self._file = PerProcess(lambda: _File(self._path))

    def read(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys, as of one moment."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, circuit FROM flask_llm_circuits WHERE key IN ({marks})"  # noqa: S608  # question marks
        texts = dict(self._patiently(lambda db: db.execute(query, keys).fetchall()))
        return [self._loaded(texts.get(key)) for key in keys]

    def update(self, key: str, change: Change) -> Circuit:
        """Change one circuit in a transaction that begins with the write lock."""

        def run(db: sqlite3.Connection) -> Circuit:
            with db:
                db.execute("BEGIN IMMEDIATE")
                self._sweep(db)
                return self._changed(db, key, change)

        return self._patiently(run)

    def _changed(self, db: sqlite3.Connection, key: str, change: Change) -> Circuit:
        query = "SELECT circuit FROM flask_llm_circuits WHERE key = ?"
        row = db.execute(query, (key,)).fetchone()
        known = self._loaded(row and row[0])
        circuit = change(known)
        if circuit == CLOSED:
            db.execute("DELETE FROM flask_llm_circuits WHERE key = ?", (key,))
        elif circuit != known:
            db.execute(
                "REPLACE INTO flask_llm_circuits VALUES (?, ?, ?)",
                (key, circuit.dumps(), circuit.stale_at()),
            )
        return circuit

    def _sweep(self, db: sqlite3.Connection) -> None:
        now = self._clock.time()
        if now >= self._sweep_at:
            db.execute("DELETE FROM flask_llm_circuits WHERE stale_at <= ?", (now,))
            self._sweep_at = now + _SWEEP

    def _loaded(self, text: str | None) -> Circuit:
        return unless_stale(Circuit.loads(text), self._clock.time())

    def _patiently(self, run: Callable[[sqlite3.Connection], T]) -> T:
        return _patiently(self._file.get(), run, self._clock, _BUSY)


class SqliteCounters(Counters):
    """Counters of limits in an SQLite file, which is made if it is missing.

    Args:
        path: The file; its folder must be there.
        clock: Says when a bucket is gone.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._file = PerProcess(lambda: _File(path))

    def take(self, charges: Sequence[Charge]) -> list[int]:
        """Take from several windows, or from none, in one transaction."""

        def run(db: sqlite3.Connection) -> list[int]:
            with db:
                db.execute("BEGIN IMMEDIATE")
                now = self._clock.time()
                for each in charges:
                    _require_room(db, each, now)
                return [_add(db, each, now) for each in charges]

        return _patiently(self._file.get(), run, self._clock, _COUNTERS_BUSY)

    def correct(self, charge: Charge, bucket: int, more: int) -> None:
        """Add to what was taken, or give some of it back."""
        change = (
            "UPDATE flask_llm_counters SET amount = max(0, amount + ?)"
            " WHERE key = ? AND bucket = ?"
        )
        values = (more, charge.key, bucket)
        file, busy = self._file.get(), _COUNTERS_BUSY
        _patiently(file, lambda db: db.execute(change, values), self._clock, busy)

    def used(self, key: str, rate: Rate) -> int:  # noqa: ARG002  # each row tells its end
        """Return what was taken of a window."""
        query = (
            "SELECT coalesce(sum(amount), 0) FROM flask_llm_counters"
            " WHERE key = ? AND gone_at > ?"
        )
        values = (key, self._clock.time())
        file, busy = self._file.get(), _COUNTERS_BUSY
        look: Callable[[sqlite3.Connection], int] = lambda db: db.execute(  # noqa: E731  # one look
            query, values
        ).fetchone()[0]
        return _patiently(file, look, self._clock, busy)


def _require_room(db: sqlite3.Connection, charge: Charge, now: float) -> None:
    """Raise `Refused` unless a window has room; forget what is no part of it."""
    old = "DELETE FROM flask_llm_counters WHERE key = ? AND gone_at <= ?"
    db.execute(old, (charge.key, now))
    query = "SELECT bucket, amount FROM flask_llm_counters WHERE key = ?"
    counted = dict(db.execute(query, (charge.key,)).fetchall())
    if wait := wait_for(charge, counted, now):
        raise Refused(charge.key, wait)


def _add(db: sqlite3.Connection, charge: Charge, now: float) -> int:
    bucket = bucket_of(charge.rate, now)
    gone = gone_at(bucket, charge.rate)
    db.execute(
        "INSERT INTO flask_llm_counters VALUES (?, ?, ?, ?) ON CONFLICT (key, bucket)"
        " DO UPDATE SET amount = amount + excluded.amount",
        (charge.key, bucket, charge.amount, gone),
    )
    return bucket


def _patiently(
    file: "_File", run: Callable[[sqlite3.Connection], T], clock: Clock, seconds: float
) -> T:
    """Run again while another process writes, for some seconds.

    SQLite would wait too, but not for the switch to WAL, and under gevent the whole
    process with it.
    """
    give_up_at = clock.monotonic() + seconds
    while True:
        try:
            return file.run(run)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or clock.monotonic() > give_up_at:
                raise
        clock.sleep(_BUSY_PAUSE)


class _File:
    """One process's connection to the file, used by one thread at a time.

    It is closed before every fork. SQLite keeps its locks in tables of the process: in
    a child that inherits an open connection, even one of its own may hold no real
    lock, or find the file locked for ever.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._parked = False
        _FILES.add(self)

    def run(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Run something with the connection."""
        with self._lock:
            try:
                return run(self._connected())
            except sqlite3.Error as error:
                if not _is_busy(error):
                    self.close()
                raise

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        if self._db:
            self._db.close()
        self._db = None

    __del__ = close

    def park(self) -> None:
        """Close the connection and let nobody open one, for a fork."""
        if self._lock.acquire(timeout=_FORK):
            self._parked = True
            self.close()

    def go_on(self) -> None:
        """Allow connections again."""
        if self._parked:
            self._parked = False
            self._lock.release()

    def _connected(self) -> sqlite3.Connection:
        if self._db and not self._is_there():
            self.close()
        if not self._db:
            make_private(self._path)
            self._db = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            let_read(self._db)
            self._db.execute(_TABLE)
            self._db.execute(_COUNTERS)
            self._inode = self._path.stat().st_ino
        return self._db

    def _is_there(self) -> bool:
        """Tell whether the path still names the open file; it may be deleted."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)  # absent if Python raised it
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


_FILES: WeakSet[_File] = WeakSet()


def _park() -> None:
    for file in list(_FILES):
        file.park()


def _go_on() -> None:
    for file in list(_FILES):
        file.go_on()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(
        before=_park, after_in_parent=_go_on, after_in_child=_FILES.clear
    )
