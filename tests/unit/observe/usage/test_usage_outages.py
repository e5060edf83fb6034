"""What is lost, what is said of it, and whose tables are written."""

import socket

import pytest
from real_time import AT_ONCE_S
from usage_calls import ask, call, database_at, locked, purposes, query, soon

from flask_llm.observe.aggregates import SourceError
from flask_llm.observe.usage import database as dialects
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import metadata
from flask_llm.observe.usage.writer import Writer

NOW = 1_800_000_000.0


def test_what_has_no_room_is_counted_and_said_once(tmp_path, lines, monkeypatch):
    """One warning when it begins, and how many were lost when it is over."""
    monkeypatch.setattr(dialects, "_BUSY_S", 60)  # so that it is tried once
    url = f"sqlite:///{tmp_path}/log.db"
    database_at(url).run(lambda one: None)
    with locked(tmp_path / "log.db"):
        writer = Writer(database_url_of(url, ""), None, room=20)
        for number in range(100):
            writer.put(call(number, NOW))
        assert not writer.flush(0.1)
        for number in range(100, 200):
            writer.put(call(number, NOW))
    assert writer.flush(20)
    writer.end(1)

    written = purposes(url)["p"]
    assert 20 <= written <= 60
    assert writer.outage.lost == 200 - written
    assert len(lines("WARNING")) == 1
    assert lines("INFO.*is written again; calls lost: [1-9]")


def test_an_address_where_nobody_answers(app_of):
    """A connection is made to it, and not a word comes: a firewall, a wrong port."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        app = app_of(f"postgresql://u:secret-0123@127.0.0.1:{port}/?connect_timeout=60")
        assert ask(app, 100) < AT_ONCE_S
        assert not app.extensions["llm.usage"].flush(0.2)


def test_tables_of_a_newer_version_are_left_alone(app_of, url, lines):
    """Nothing is written, and both the log and a page say why."""
    newer = "UPDATE flask_llm_schema SET version = 2"
    database_at(url).run(lambda one: one.exec_driver_sql(newer))
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
    engine = create_engine(database_url_of(url, "").engine_url)
    metadata.create_all(engine)
    engine.dispose()
    app = app_of(url)
    ask(app, 3)

    assert app.extensions["llm.usage"].flush()
    assert purposes(url) == {"p": 3}
    assert query(url, "SELECT version FROM flask_llm_schema") == [(1,)]
