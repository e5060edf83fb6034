"""A database that is away, hangs or refuses: no prompt notices, and calls wait."""

import socket
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from usage_calls import call, disagreements, link_to, purposes, query, soon

from flask_llm.observe.source import SourceError
from flask_llm.observe.usage.link import Link
from flask_llm.observe.usage.place import place_of
from flask_llm.observe.usage.source import UsageSource
from flask_llm.observe.usage.tables import metadata
from flask_llm.observe.usage.writer import Writer

NOW = 1_800_000_000.0


def ask(app, times):
    """Make calls; return the seconds of the slowest but one in a hundred."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        assert app.llm.generate_content("hello", purpose="p").success
        took.append(time.perf_counter() - begin)
    return sorted(took)[int(times * 0.99) - 1]


@contextmanager
def locked(file):
    """Hold the lock of an SQLite file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_server_that_dies_in_traffic(app_of, postgres_server, postgres_url, lines):
    """All calls of before, meanwhile and after are there when it is back."""
    app = app_of(postgres_url)
    log = app.extensions["llm.usage"]
    ask(app, 50)
    assert log.flush()
    ask(app, 50)
    postgres_server.kill()
    try:
        assert ask(app, 100) < 0.1
        (said,) = soon(lambda: lines("WARNING.*cannot be written"))
    finally:
        postgres_server.start()
    ask(app, 50)

    assert log.flush(30)
    assert purposes(postgres_url) == {"p": 250}
    assert lines("INFO.*written again; 0 calls lost")
    assert log.lost == 0
    assert postgres_server.password not in said
    source = UsageSource(place_of(postgres_url, ""), lambda: 0)
    assert not disagreements(postgres_url, source)


def test_a_server_that_hangs(app_of, postgres_server, postgres_url):
    """Prompts go on, a page is told in time, and all is written afterwards."""
    app = app_of(postgres_url)
    log = app.extensions["llm.usage"]
    ask(app, 10)
    assert log.flush()
    source = UsageSource(place_of(postgres_url, ""), lambda: 0, patience_s=0.7)
    assert soon(lambda: source.about().since)
    postgres_server.freeze()
    try:
        assert ask(app, 100) < 0.1
        assert not log.flush(0.3)
        begin = time.monotonic()
        with pytest.raises(SourceError, match="The usage log cannot be read"):
            source.recent(1)
        assert "The usage log cannot be read" in source.about().error
        assert time.monotonic() - begin < 6.0
    finally:
        postgres_server.thaw()

    assert log.flush(30)
    assert purposes(postgres_url) == {"p": 110}
    assert soon(lambda: source.about().error is None)


def test_an_address_where_nobody_answers(app_of, lines):
    """A connection is made to it, and not a word comes: a firewall, a wrong port."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        app = app_of(
            f"postgresql://u:secret-0123@127.0.0.1:{port}/db?connect_timeout=2"
        )
        assert ask(app, 100) < 0.1
        assert not app.extensions["llm.usage"].flush(0.2)


def test_a_connection_that_falls_silent(postgres_server, postgres_url):
    """Its other end lives, so the system sees no fault; it is cut all the same."""
    link = Link(place_of(postgres_url, ""), writes=True, patience_s=0.2)
    assert link.run(lambda one: one.scalar(select(1))) == 1
    postgres_server.freeze()
    try:
        begin = time.monotonic()
        with pytest.raises(DBAPIError):
            link.run(lambda one: one.scalar(select(1)))
        assert 0.3 < time.monotonic() - begin < 2.0
    finally:
        postgres_server.thaw()
    assert link.run(lambda one: one.scalar(select(1))) == 1


def test_a_commit_whose_answer_is_lost(app_of, postgres_url, postgres_server):
    """It has happened, the writer cannot know, and writes nothing twice."""
    with Proxy(postgres_server.port) as proxy:
        through = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        app = app_of(f"{through}?sslmode=disable&gssencmode=disable")
        ask(app, 3)
        assert app.extensions["llm.usage"].flush()
        proxy.swallow = 2
        ask(app, 20)
        assert app.extensions["llm.usage"].flush()

    assert proxy.swallow == 0
    assert purposes(postgres_url) == {"p": 23}
    source = UsageSource(place_of(postgres_url, ""), lambda: 0)
    assert not disagreements(postgres_url, source)


def test_a_file_that_is_locked_for_a_while(app_of, tmp_path):
    """Calls wait until whoever holds the lock is done."""
    url = f"sqlite:///{tmp_path}/log.db"
    app = app_of(url)
    log = app.extensions["llm.usage"]
    ask(app, 10)
    assert log.flush()
    with locked(tmp_path / "log.db"):
        assert ask(app, 100) < 0.1
        assert not log.flush(0.3)

    assert log.flush()
    assert purposes(url) == {"p": 110}


def test_a_file_that_is_deleted(app_of, tmp_path):
    """A new one is made; nothing goes to a file that has no name any more."""
    url = f"sqlite:///{tmp_path}/log.db"
    app = app_of(url)
    log = app.extensions["llm.usage"]
    ask(app, 3)
    assert log.flush()
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    ask(app, 4)

    assert log.flush()
    assert purposes(url) == {"p": 4}


def test_a_folder_that_cannot_be_made(app_of, tmp_path, lines):
    """A file stands in its way; the calls are written when that is gone."""
    (tmp_path / "instance").write_text("")
    app = app_of()
    assert ask(app, 10) < 0.1
    soon(lambda: lines("WARNING.*cannot be written.*10 calls wait, 0 are lost"))
    (tmp_path / "instance").unlink()

    assert app.extensions["llm.usage"].flush()
    file = tmp_path / "instance" / "flask_llm_usage.sqlite3"
    assert purposes(f"sqlite:///{file}") == {"p": 10}


def test_a_database_that_may_only_be_read(app_of, postgres_server, postgres_url, lines):
    """The log says why, and calls wait until it may be written."""
    name = postgres_url.rpartition("/")[2]
    only = f"ALTER DATABASE {name} SET default_transaction_read_only"
    postgres_server.execute(f"{only} = on")
    app = app_of(postgres_url)
    assert ask(app, 10) < 0.1
    soon(lambda: lines("WARNING.*cannot be written .*read-only transaction"))
    postgres_server.execute(f"{only} = off")

    assert app.extensions["llm.usage"].flush()
    assert purposes(postgres_url) == {"p": 10}


def test_a_full_disk(script, tmp_path, url):
    """SQLite may not grow its file any more, until it may again."""
    if not url.startswith("sqlite"):
        pytest.skip("a server's disk is its own affair")
    code = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    ask(5)
    assert log.flush()
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most[1]))
    ask(50)
    assert not log.flush(0.5)
    resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert log.flush()
    """
    process = script(code, url)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 0, errors
    assert purposes(url) == {"p": 55}


def test_what_has_no_room_is_counted_and_said_once(tmp_path, lines):
    """One warning when it begins, and how many were lost when it is over."""
    (tmp_path / "none").write_text("")
    url = f"sqlite:///{tmp_path}/log.db"
    link_to(url).run(lambda one: None)
    with locked(tmp_path / "log.db"):
        writer = Writer(place_of(url, ""), None, room=20)
        for number in range(100):
            writer.put(call(number, NOW))
        assert not writer.flush(0.2)
        for number in range(100, 200):
            writer.put(call(number, NOW))
    assert writer.flush(20)
    writer.end(1)

    written = purposes(url)["p"]
    assert 20 <= written <= 60
    assert writer.outage.lost == 200 - written
    assert len(lines("WARNING")) == 1
    assert lines("INFO.*is written again; [1-9][0-9]* calls lost")


def test_tables_of_a_newer_version_are_left_alone(app_of, url, lines):
    """Nothing is written, and both the log and a page say why."""
    link_to(url).run(lambda one: None)
    query(url, "UPDATE flask_llm_schema SET version = 2 RETURNING 1")
    app = app_of(url)
    ask(app, 3)
    (said,) = soon(lambda: lines("WARNING"))

    told = "its tables are of version 2; this Flask-LLM knows 1 only"
    assert told in said
    assert told in app.extensions["llm.source"].about().error
    with pytest.raises(SourceError, match=told):
        app.extensions["llm.source"].recent(1)


def test_tables_made_by_alembic_are_taken(app_of, url):
    """They are complete, but nobody has said their version."""
    from sqlalchemy import create_engine

    from flask_llm.observe.usage import metadata as exported

    assert exported is metadata
    engine = create_engine(place_of(url, "").url)
    metadata.create_all(engine)
    engine.dispose()
    app = app_of(url)
    ask(app, 3)

    assert app.extensions["llm.usage"].flush()
    assert purposes(url) == {"p": 3}
    assert query(url, "SELECT version FROM flask_llm_schema") == [(1,)]


class Proxy:
    """Stands before a server, and can swallow the answers to commits.

    Attributes:
        port: Where it listens.
        swallow: To how many commits it will cut the connection instead of answering.
    """

    def __init__(self, port):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._target = port
        self._open = []
        self._threads = []
        self.swallow = 0

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._server.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in self._open:
            each.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            cut = threading.Event()
            for args in ((client, server, cut), (server, client, cut)):
                thread = threading.Thread(target=self._pass, args=args, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pass(self, one, other, cut):
        while data := _received(one):
            if cut.is_set():
                break  # what the server said to the commit
            if b"COMMIT\0" in data and self.swallow:
                self.swallow -= 1
                cut.set()
            try:
                other.sendall(data)
            except OSError:
                break
        for each in (one, other):
            with suppress(OSError):  # it is closed already
                each.shutdown(socket.SHUT_RDWR)


def _received(connection):
    try:
        return connection.recv(65536)
    except OSError:
        return b""
