"""Databases that are neither SQLite nor PostgreSQL: statements that all of them know.

They run here against these two, which are made to do without their own upserts, and
PostgreSQL without what is said to libpq.
"""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from sqlalchemy import NullPool, create_engine, inspect, select
from sqlalchemy.dialects import mysql, postgresql, registry
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable
from usage_calls import attempt, call, database_at, disagreements, purposes, query

from flask_llm.errors import ConfigurationError
from flask_llm.observe.usage import database as dialects
from flask_llm.observe.usage import database as link
from flask_llm.observe.usage import metadata
from flask_llm.observe.usage import writer as ledger
from flask_llm.observe.usage.queries import probe
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import change_row
from flask_llm.observe.usage.writer import Writer, write, write_items
from flask_llm.signals import CircuitChanged

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def portable(monkeypatch):
    """Let no database be known."""
    monkeypatch.setattr(ledger, "_INSERTS", {})
    monkeypatch.setattr(dialects, "_LIBPQ_DRIVERS", set())


def test_what_is_written_twice_counts_once(url, source):
    """Also where only some of it was there: a commit whose answer was lost."""
    records = [call(number, NOW, attempt("a"), attempt("b")) for number in range(5)]
    rows = [change_row("1", CircuitChanged("a", NOW))]
    more = [*rows, change_row("2", CircuitChanged("b", NOW))]
    log = database_at(url)
    log.run(lambda one: write(one, records[:3], rows))
    for _ in range(2):
        log.run(lambda one: write(one, records, more))

    assert purposes(url) == {"p": 5}
    assert not disagreements(url, source)
    assert [each.provider for each in source.changes(0)] == ["a", "b"]


def test_writers_at_once_lose_nothing(url, source):
    """They begin with an empty database, and each adds to the same sums."""
    writers = [Writer(database_url_of(url, ""), None) for _ in range(4)]
    for place, writer in enumerate(writers):
        for number in range(300):
            writer.put(call(1000 * place + number, NOW))
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda each: each.flush(60), writers))
    for writer in writers:
        writer.end(1)

    assert purposes(url) == {"p": 1200}
    assert not disagreements(url, source)
    assert [each.outage.lost for each in writers] == [0] * 4


def test_the_same_calls_at_once_count_once(url, source):
    """Whoever writes second waits, and then sees what the first has written."""
    records = [call(number, NOW) for number in range(50)]
    database_at(url).run(lambda one: write(one, [], []))  # makes the tables
    links = [database_at(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: each.run(_writing(records)), links))

    assert purposes(url) == {"p": 50}
    assert not disagreements(url, source)


def _writing(records):
    return lambda one: write(one, records, [])


@pytest.mark.slow
def test_processes_at_once_lose_nothing(script, url, source):
    """As in production, where no lock of Python's helps."""
    code = """
    from flask_llm.observe.usage import database as dialects, writer as ledger
    ledger._INSERTS.clear()
    dialects._LIBPQ_DRIVERS.clear()
    ask(300, f"worker {os.getpid()}")
    assert log.flush(60)
    """
    processes = [script(code, url) for _ in range(2)]
    for each in processes:
        _, errors = each.communicate(timeout=60)
        assert (each.returncode, errors) == (0, "")

    assert list(purposes(url).values()) == [300] * 2
    assert not disagreements(url, source)


def test_who_makes_the_tables_second_tries_again(url, monkeypatch):
    """That it is refused then is no fault of its calls, which are not lost."""
    refusal = IntegrityError("CREATE TABLE", {}, Exception("there already"))
    log = database_at(url)
    with monkeypatch.context() as patched:
        patched.setattr(link, "make_ready", Mock(side_effect=refusal))
        with pytest.raises(IntegrityError):
            log.run(lambda one: write_items(one, [call(1, NOW)]))
    log.run(lambda one: write_items(one, [call(1, NOW)]))

    assert purposes(url) == {"p": 1}


@pytest.mark.slow
def test_the_doctor_makes_no_tables_that_would_stay(postgres_url):
    """Some databases do not take tables back with their transaction."""
    probe(database_url_of(postgres_url, ""), 5.0)
    engine = create_engine(
        database_url_of(postgres_url, "").engine_url, poolclass=NullPool
    )
    assert not inspect(engine).get_table_names()
    database_at(postgres_url).run(lambda one: write(one, [call(1, NOW)], []))
    probe(database_url_of(postgres_url, ""), 5.0)
    assert purposes(postgres_url) == {"p": 1}


def test_no_connection_is_cut_that_has_no_number(url):
    """Drivers without one have their own time limits, or none."""
    log = database_at(url)
    log.run(lambda one: one.scalar(select(1)))
    log._file = None
    log._connection = SimpleNamespace(
        connection=SimpleNamespace(driver_connection=object())
    )
    log._hang_up()
    log._connection = None


@pytest.mark.slow
def test_statements_see_what_was_committed_meanwhile(postgres_server, postgres_url):
    """Whatever the database has as its usual isolation."""
    usual = "SET default_transaction_isolation = 'serializable'"
    postgres_server.execute(f"ALTER DATABASE {postgres_url.rpartition('/')[2]} {usual}")

    assert query(postgres_url, "SHOW transaction_isolation") == [("read committed",)]


def test_mysql_tells_all_texts_apart():
    """Case and accents count there too; other databases get what they always had."""
    for table in metadata.tables.values():
        made = str(CreateTable(table).compile(dialect=mysql.dialect()))
        texts = made.count("VARCHAR")
        assert made.count("COLLATE utf8mb4_bin") == texts
        made = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert "COLLATE" not in made


class Driver(DefaultDialect):
    """Of a database that nobody else has."""

    supports_statement_cache = True
    is_there = True

    @classmethod
    def import_dbapi(cls):
        if not cls.is_there:
            raise ModuleNotFoundError("No module named 'faraway'", name="faraway")
        return sqlite3


class UnfitDriver(Driver):
    """The same of a database that cannot keep the tables."""

    name = "oracle"

    @classmethod
    def import_dbapi(cls):
        """Return it: it is installed."""
        return sqlite3


class AsyncDriver(Driver):
    """The same for asyncio."""

    is_async = True


@pytest.fixture
def faraway(monkeypatch):
    """Register a driver and others that cannot be used."""
    kinds = {"": Driver, ".aio": AsyncDriver, ".unfit": UnfitDriver}
    for name, kind in kinds.items():
        monkeypatch.setitem(registry.impls, f"faraway{name}", lambda kind=kind: kind)
    monkeypatch.setattr(Driver, "is_there", True)


def test_other_databases_are_taken(faraway):
    """If SQLAlchemy knows them and their driver is installed."""
    place = database_url_of("faraway://u:secret@host/db", "")

    assert place.engine_url.drivername == "faraway"
    assert "secret" in place.secrets
    assert "secret" not in repr(place) + str(place)
    assert isinstance(dialects.dialect_of(place), dialects.Dialect)
    assert dialects.dialect_of(place).engine(writes=True, patience_s=1.0)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("faraway://u:secret@host/db", "needs faraway, which is not installed"),
        ("faraway+aio://u:secret@host/db", "names a driver for asyncio"),
        ("faraway+unfit://u:secret@host/db", "names Oracle or SQL Server"),
        ("secret://u:secret@host/db", "that SQLAlchemy does not know"),
        ("sqlite+aiosqlite:///secret.db", "must begin with sqlite:///"),
    ],
)
def test_those_that_cannot_be_used_are_refused(faraway, monkeypatch, url, fault):
    """The fault names the key, and nothing of the address."""
    monkeypatch.setattr(Driver, "is_there", False)
    with pytest.raises(ConfigurationError, match=f"LLM_USAGE_URL .*{fault}") as caught:
        database_url_of(url, "")

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
