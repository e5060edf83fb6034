"""Stores to test: in memory, in a file, and in a Redis of the tests' own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from functools import partial

import pytest

from flask_llm.resilience.clock import SystemClock
from flask_llm.resilience.storage import sqlite
from flask_llm.resilience.storage.base import MemoryStorage
from flask_llm.resilience.storage.replicated import ReplicatedStorage
from flask_llm.resilience.storage.sqlite import SqliteStorage

_IN_CI = bool(os.environ.get("FLASK_LLM_CI"))  # now: a fixture cleans it away
_PATIENT = "socket_timeout=60"  # this suite is not about time
_TOGETHER = ["memory", "sqlite", "redis", "shared sqlite", "shared redis"]


class RedisServer:
    """A private `redis-server` that forgets everything when it ends."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://:secret@127.0.0.1:{self.port}/0"
        self._folder = folder
        self.start()

    def start(self):
        options = {"port": self.port, "save": "", "appendonly": "no"}
        options |= {"bind": "127.0.0.1", "requirepass": "secret", "dir": self._folder}
        words = [str(word) for name in options for word in (f"--{name}", options[name])]
        self._process = subprocess.Popen(
            ["redis-server", *words], stdout=subprocess.DEVNULL
        )
        for _ in range(3000):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.01)
        raise AssertionError("redis-server does not start")

    def kill(self):
        self._process.kill()
        self._process.wait()

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)


class SkewedClock(SystemClock):
    """A clock that is ahead, or behind, by some seconds."""

    def __init__(self, ahead=0.0):
        self.ahead = ahead

    def time(self):
        return super().time() + self.ahead


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory):
    if not shutil.which("redis-server"):
        (pytest.fail if _IN_CI else pytest.skip)("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis_server(_redis_server):
    import redis

    with redis.Redis.from_url(_redis_server.url) as client:
        client.flushall()
    return _redis_server


@pytest.fixture
def redis_client(redis_server):
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture(params=_TOGETHER)
def open_store(request, tmp_path, monkeypatch):
    """Yield a function that opens the same data, as seen with a clock."""
    monkeypatch.setattr(sqlite, "_BUSY", 60.0)
    how, _, which = request.param.rpartition(" ")
    if which == "memory":
        store = MemoryStorage(SkewedClock())

        def opened(ahead=0.0):
            store._clock.ahead = ahead
            return store

        yield opened
        return
    if which == "sqlite":
        make = partial(SqliteStorage, tmp_path / "llm.db")
    else:
        from flask_llm.resilience.storage.redis import RedisStorage

        server = request.getfixturevalue("redis_server")
        make = partial(RedisStorage, f"{server.url}?{_PATIENT}")

    shared = []

    def opened(ahead=0.0):
        clock = SkewedClock(ahead)
        store = make(clock)
        if how:
            # Patient: this suite is about what is stored, on a machine that is busy.
            store = ReplicatedStorage(store, which, clock, patience=60.0)
            shared.append(store)
        return store

    yield opened
    for store in shared:
        store.decide("nobody", lambda circuit: circuit)  # what is queued is written


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture(params=["sqlite", "redis"])
def url(request, tmp_path):
    """Return the address of a store that processes share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/llm.db"
    return f"{request.getfixturevalue('redis_server').url}?{_PATIENT}"
