"""A private MariaDB for tests, from the programs that are installed."""

import gc
import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

# "1" in `.ci/run`, "full" in `.ci/full`. Read now: a fixture cleans it away.
_CI = os.environ.get("FLASK_LLM_CI")

_SETTINGS = (
    "bind-address=127.0.0.1",
    "innodb-flush-log-at-trx-commit=2",
    "skip-log-bin",
)


def program(name):
    """Return the path of one of its programs, which Debian keeps beside root's own."""
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


class MariadbServer:
    """A server with its data in a folder of its own; root runs it as nobody.

    Attributes:
        port: Where it listens on the loopback address.
    """

    password = "secret-0123456789"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="flask-llm-mariadb-"))
        self._numbers = count()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._options = ["--no-defaults", f"--datadir={self.folder}/data"]
        if os.geteuid() == 0:
            self._options.append("--user=nobody")
            shutil.chown(self.folder, "nobody", "nogroup")
        make = "--auth-root-authentication-method=normal", "--skip-test-db"
        subprocess.run(
            [program("mariadb-install-db"), *self._options, *make],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )
        self.start()
        self.execute(f"CREATE USER tester@'127.0.0.1' IDENTIFIED BY '{self.password}'")

    def start(self):
        """Start it, and wait until it answers."""
        place = f"port={self.port}", f"socket={self.folder}/socket"
        words = [f"--{each}" for each in (*_SETTINGS, *place)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("mariadbd"), *self._options, *words],
                stderr=log,
                stdout=log,
                cwd=self.folder,
            )
        for _ in range(1000):
            # Not by its driver, which leaves a socket behind where nobody listens.
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def execute(self, statement):
        """Run one statement as root; return its rows."""
        import pymysql

        socket_file = f"{self.folder}/socket"
        with (
            pymysql.connect(
                user="root", unix_socket=socket_file, autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()

    def new_url(self):
        """Make an empty database; return its address, as an app has it."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.execute(f"GRANT ALL ON {name}.* TO tester@'127.0.0.1'")
        server = f"tester:{self.password}@127.0.0.1:{self.port}"
        return f"mysql+pymysql://{server}/{name}"

    def kill(self):
        """End it at once, as if the machine had lost its power."""
        self._process.kill()
        self._process.wait()

    def remove(self):
        """End it, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def mariadb_server():
    """A MariaDB that runs as long as the tests."""
    if _CI == "1":
        pytest.skip("runs in .ci/full")
    if not (program("mariadbd") and program("mariadb-install-db")):
        (pytest.fail if _CI else pytest.skip)("MariaDB is not installed")
    server = MariadbServer()
    yield server
    server.remove()


@pytest.fixture
def mariadb_url(mariadb_server):
    """Return the address of an empty database.

    PyMySQL warns of connections that nobody has closed, which tests leave behind.
    """
    yield mariadb_server.new_url()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
