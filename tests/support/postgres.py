"""A private PostgreSQL for tests, from the programs that are installed."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

MUST_RUN = bool(os.environ.get("FLASK_LLM_CI"))  # now: a fixture cleans it away

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/bin", "/opt/homebrew/bin")
_SETTINGS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": 60,
    "autovacuum": "off",
}


def program(name):
    """Return the path of the newest of PostgreSQL's programs; None if absent."""
    found = [
        file
        for place in _PLACES
        for file in sorted(Path("/").glob(f"{place[1:]}/{name}"), reverse=True)
    ]
    return str(found[0]) if found else shutil.which(name)


class PostgresServer:
    """A server with its data in a folder of its own.

    It refuses to run as root, so root runs it as nobody.

    Attributes:
        port: Where it listens on the loopback address.
    """

    password = "secret-0123456789"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="flask-llm-postgres-"))
        self._numbers = count()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._identity = {}
        if os.geteuid() == 0:
            self._identity = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, "nobody", "nogroup")
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        self._run("initdb", "-A", "scram-sha-256", "-U", "tester", f"--pwfile={secret}")
        self.start()

    @property
    def _data(self):
        return str(self.folder / "data")

    def _run(self, name, *words):
        command = [program(name), "-D", self._data, "--no-sync", *words]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._identity,
        )

    def start(self):
        """Start it, and wait until it answers."""
        settings = _SETTINGS | {
            "port": self.port,
            "unix_socket_directories": self.folder,
        }
        words = [
            word for each in settings.items() for word in ("-c", "{}={}".format(*each))
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", self._data, *words],
                stderr=log,
                stdout=log,
                cwd=self.folder,
                **self._identity,
            )
        for _ in range(1000):
            try:
                return self.execute("SELECT 1")
            except Exception:  # noqa: BLE001  # not yet
                time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def url(self, database, scheme="postgresql"):
        """Return the address of one of its databases."""
        return f"{scheme}://tester:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement, database="postgres"):
        """Run one statement of its own transaction; return its rows, if any."""
        import psycopg

        with psycopg.connect(
            self.url(database), autocommit=True, connect_timeout=5
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def new_database(self):
        """Make an empty database; return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def kill(self):
        """End it at once, as if the machine had lost its power."""
        self._signal(self._children(), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        (Path(self._data) / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self):
        """Let it hang, with all its connections."""
        self._signal([self._process.pid, *self._children()], signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self._signal([*self._children(), self._process.pid], signal.SIGCONT)

    def remove(self):
        """End it, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def _signal(self, pids, number):
        for each in pids:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(each, number)

    def _children(self):
        pid = self._process.pid
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return list(map(int, told.split()))


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL that runs as long as the tests."""
    if not (program("postgres") and program("initdb")):
        (pytest.fail if MUST_RUN else pytest.skip)("PostgreSQL is not installed")
    pytest.importorskip("psycopg") if not MUST_RUN else __import__("psycopg")
    server = PostgresServer()
    yield server
    server.remove()
