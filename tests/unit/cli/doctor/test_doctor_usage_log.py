"""The check of the usage log, against the databases themselves."""

import sqlite3
import time
from contextlib import closing

import pytest
from postgres import postgres_server  # noqa: F401  # a fixture
from real_time import AT_ONCE_S
from sqlalchemy import NullPool, create_engine, inspect
from usage_calls import call, database_at
from wire import closed_port

from flask_llm.cli.doctor import observers
from flask_llm.observe.usage import database as dialects
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import metadata
from flask_llm.observe.usage.writer import write

PASSWORD = "hunter2-hunter2"


def seen(look, url="", **config):
    found = look("observing", LLM_USAGE="on", LLM_USAGE_URL=url, **config)
    (mine,) = [each for each in found if each[1] in {"LLM_USAGE", "LLM_USAGE_URL"}]
    return mine


def fill(url):
    """Let the log hold a call."""
    with closing(database_at(url)) as link:
        link.run(lambda connection: write(connection, [call(1, 1.0)], []))


def rows(url):
    """Return what is in each table."""
    with closing(database_at(url)) as link:
        return link.run(
            lambda connection: {
                name: connection.execute(table.select()).fetchall()
                for name, table in metadata.tables.items()
            }
        )


@pytest.fixture
def database(postgres_server):  # noqa: F811  # the fixture
    return postgres_server.new_database()


def test_a_log_that_is_off_is_worth_a_note(look):
    """The dashboard then knows little; without a dashboard nobody misses it."""
    (level, key, message, _), *_ = look("observing")

    assert (level, key) == ("note", "LLM_USAGE")
    assert message.startswith("off: the dashboard shows the last hour")
    assert look("observing", LLM_DASHBOARD="off") == []


def test_a_file_that_is_not_there_is_not_made(look, tmp_path):
    """The doctor may be another user than the server, whose file it has to be."""
    file = tmp_path / "instance" / "flask_llm_usage.sqlite3"
    told = seen(look)

    assert told == ("ok", "LLM_USAGE", f"the first call makes {file}", "")
    assert not file.parent.exists()


def test_a_place_where_no_file_can_be_made_is_an_error(look, tmp_path):
    """Such as an instance folder below something that is no folder."""
    (tmp_path / "file").touch()
    level, _, message, _ = seen(look, instance=str(tmp_path / "file" / "instance"))

    assert level == "error"
    assert "PermissionError: no file can be made in" in message


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request, tmp_path):
    """The address of an empty database."""
    if request.param == "sqlite":
        (tmp_path / "log.db").touch()
        return f"sqlite:///{tmp_path}/log.db"
    server = request.getfixturevalue("postgres_server")
    return server.url(request.getfixturevalue("database"))


def test_a_log_that_can_be_written_keeps_what_it_has(look, url):
    """A call is written for real, with all that belongs to it, and taken back."""
    fill(url)
    before = rows(url)

    level, key, message, _ = seen(look, url)
    assert (level, key) == ("ok", "LLM_USAGE_URL"), message
    assert message.endswith("can be written")
    assert len(before["flask_llm_attempts"]) == 1
    assert rows(url) == before


def test_a_new_database_has_no_tables_afterwards(look, url):
    """Not the doctor shall own them, but the user of the server."""
    assert seen(look, url)[0] == "ok"
    engine = create_engine(database_url_of(url, "").engine_url, poolclass=NullPool)

    with closing(engine.connect()) as connection:
        assert inspect(connection).get_table_names() == []


def test_a_file_that_is_no_database_is_an_error(look, tmp_path):
    """Its calls would be lost without the doctor's word."""
    file = tmp_path / "log.db"
    file.write_text("these are my notes, not a database\n" * 100)

    level, _, message, _ = seen(look, f"sqlite:///{file}")
    assert level == "error"
    assert "DatabaseError: file is not a database" in message


def test_tables_of_another_version_are_an_error(look, tmp_path):
    """A newer Flask-LLM has made them."""
    url = f"sqlite:///{tmp_path}/log.db"
    fill(url)
    with closing(sqlite3.connect(tmp_path / "log.db")) as file, file:
        file.execute("UPDATE flask_llm_schema SET version = 99")

    level, _, message, _ = seen(look, url)
    assert level == "error"
    assert "its tables are of version 99" in message


def test_a_file_that_somebody_keeps_locked_is_an_error(look, tmp_path, monkeypatch):
    """After a wait of about the writer's own, here a shorter one."""
    monkeypatch.setattr(dialects, "_BUSY_S", 0.05)
    file = tmp_path / "log.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        level, _, message, _ = seen(look, f"sqlite:///{file}")

    assert level == "error"
    assert "database is locked" in message


@pytest.mark.slow
def test_a_user_who_may_only_read_is_an_error(look, postgres_server, database):  # noqa: F811  # the fixture
    """He connects, and sees the tables, and the log stays empty."""
    run = postgres_server.execute
    url = postgres_server.url(database)
    fill(url)
    run(f"CREATE USER reader PASSWORD '{PASSWORD}'", database)
    run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database)
    told = url.replace(f"tester:{postgres_server.password}", f"reader:{PASSWORD}")

    level, _, message, _ = seen(look, told)
    assert level == "error"
    assert "permission denied for table flask_llm_calls" in message
    assert PASSWORD not in str(look.all)


@pytest.mark.slow
def test_a_wrong_password_is_an_error_without_the_password(
    look,
    postgres_server,  # noqa: F811  # the fixture
    database,
):
    """The address holds it, and a driver may repeat it."""
    url = postgres_server.url(database).replace(postgres_server.password, PASSWORD)

    level, _, message, _ = seen(look, url)
    assert level == "error"
    assert "password authentication failed" in message
    assert PASSWORD not in str(look.all)


def test_an_absent_server_is_an_error(look):
    """Where nobody listens, and without a wait."""
    address = closed_port().removeprefix("http://")

    level, _, message, _ = seen(look, f"postgresql://u:{PASSWORD}@{address}/db")
    assert level == "error"
    assert message.startswith("the database cannot be written (OperationalError: ")
    assert PASSWORD not in str(look.all)


@pytest.mark.slow
def test_a_silent_server_is_an_error_after_some_seconds(
    look,
    monkeypatch,
    postgres_server,  # noqa: F811  # the fixture
    database,
):
    """Here after one; even where the address allows more time."""
    assert observers._PATIENCE_S == 5.0
    monkeypatch.setattr(observers, "_PATIENCE_S", 1.0)
    url = f"{postgres_server.url(database)}?connect_timeout=60"
    postgres_server.freeze()
    try:
        started = time.monotonic()
        level, _, message, _ = seen(look, url)
    finally:
        postgres_server.thaw()

    assert level == "error"
    assert "nothing within 1 s" in message
    assert time.monotonic() - started < AT_ONCE_S
