"""A server that is away, hangs or refuses: no prompt notices, and calls wait."""

import time

import pytest
from commit_proxy import Proxy
from real_time import AT_ONCE_S
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from usage_calls import ask, disagreements, purposes, soon

from flask_llm.observe.aggregates import About, SourceError
from flask_llm.observe.usage.database import Database
from flask_llm.observe.usage.queries import RETRY_S, UsageSource
from flask_llm.observe.usage.settings import database_url_of

pytestmark = pytest.mark.slow


def test_a_server_that_dies_in_traffic(app_of, postgres_server, postgres_url, lines):
    """All calls of before, meanwhile and after are there when it is back."""
    app = app_of(postgres_url)
    log = app.extensions["llm.usage"]
    ask(app, 50)
    assert log.flush()
    ask(app, 50)
    postgres_server.kill()
    try:
        assert ask(app, 100) < AT_ONCE_S
        (said,) = soon(lambda: lines("WARNING.*cannot be written"))
        about = log.about()
    finally:
        postgres_server.start()
    ask(app, 50)

    assert log.flush(30)
    assert purposes(postgres_url) == {"p": 250}
    assert lines("INFO.*written again; calls lost: 0")
    assert 100 <= about.waiting <= 150
    assert about.write_error
    assert postgres_server.password not in said + about.write_error
    assert log.about() == About("usage")
    source = UsageSource(database_url_of(postgres_url, ""))
    assert not disagreements(postgres_url, source)


def test_a_server_that_hangs(app_of, postgres_server, postgres_url, clock):
    """Prompts go on, a page is told in time, and all is written afterwards."""
    app = app_of(postgres_url)
    log = app.extensions["llm.usage"]
    ask(app, 10)
    assert log.flush()
    source = UsageSource(database_url_of(postgres_url, ""), patience_s=0.7, clock=clock)

    def answers():
        clock.sleep(RETRY_S)  # a busy machine may be late once
        return source.about().since

    soon(answers)
    postgres_server.freeze()
    try:
        assert ask(app, 100) < AT_ONCE_S
        assert not log.flush(0.3)
        begin = time.monotonic()
        with pytest.raises(SourceError, match="The usage log cannot be read"):
            source.recent(1)
        assert "The usage log cannot be read" in source.about().error
        assert time.monotonic() - begin < AT_ONCE_S
    finally:
        postgres_server.thaw()

    assert log.flush(30)
    assert purposes(postgres_url) == {"p": 110}
    soon(answers)


def test_a_connection_that_falls_silent(postgres_server, postgres_url):
    """Its other end lives, so the system sees no fault; it is cut all the same."""
    link = Database(database_url_of(postgres_url, ""), writes=True, patience_s=20)
    assert link.run(lambda one: one.scalar(select(1))) == 1
    postgres_server.freeze()
    link._patience_s = 0.2
    try:
        begin = time.monotonic()
        with pytest.raises(DBAPIError):
            link.run(lambda one: one.scalar(select(1)))
        assert time.monotonic() - begin > 0.3
    finally:
        postgres_server.thaw()
    link._patience_s = 20
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
    source = UsageSource(database_url_of(postgres_url, ""))
    assert not disagreements(postgres_url, source)


def test_a_database_that_may_only_be_read(app_of, postgres_server, postgres_url, lines):
    """The log says why, and calls wait until it may be written."""
    name = postgres_url.rpartition("/")[2]
    only = f"ALTER DATABASE {name} SET default_transaction_read_only"
    postgres_server.execute(f"{only} = on")
    app = app_of(postgres_url)
    assert ask(app, 10) < AT_ONCE_S
    soon(lambda: lines("WARNING.*cannot be written .*read-only transaction"))
    postgres_server.execute(f"{only} = off")

    assert app.extensions["llm.usage"].flush()
    assert purposes(postgres_url) == {"p": 10}
