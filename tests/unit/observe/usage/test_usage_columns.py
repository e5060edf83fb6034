"""Columns that an older Flask-LLM has not made: added, or done without."""

import time

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError
from usage_calls import answer, ask, attempt, call, database_at, disagreements

from flask_llm.cli import llm_commands
from flask_llm.observe.aggregates import ATTEMPTS, Range, Span
from flask_llm.observe.usage import database, flush, writer
from flask_llm.observe.usage.queries import UsageSource
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import LATER, metadata
from flask_llm.observe.usage.writer import write
from flask_llm.testing import FakeProvider
from flask_llm.types import DETAILS

NOW = 1_700_000_000.0
PLAIN = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
USAGE = {**PLAIN, "cached_tokens": 60, "reasoning_tokens": 20}


@pytest.fixture
def old(url):
    """The address of a log that an older Flask-LLM has made, with a call of it."""
    database_at(url).run(lambda one: write(one, [call(1, NOW)], []))
    engine = create_engine(url)
    with engine.begin() as connection:
        for table, columns in LATER.items():
            for each in columns:
                connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {each.name}"))
    engine.dispose()
    return url


@pytest.fixture(autouse=True)
def _told_once():
    database._tell_missing.cache_clear()


def columns(url):
    """Return which of the later columns there are."""
    engine = create_engine(url)
    found = inspect(engine)
    names = {
        f"{table}.{each['name']}"
        for table in LATER
        for each in found.get_columns(table)
    }
    engine.dispose()
    wanted = {f"{table}.{each.name}" for table in LATER for each in LATER[table]}
    return names & wanted, wanted


def app_with_cache(app_of, url):
    return app_of(url, FakeProvider(*[answer(usage=USAGE)] * 3))


def test_one_process_adds_them(app_of, old, lines, monkeypatch):
    """What was written before, and by older workers meanwhile, stays right."""
    app = app_with_cache(app_of, old)
    ask(app, 1)
    assert flush(app, 20)
    there, wanted = columns(old)
    assert there == wanted
    with monkeypatch.context() as patch:  # an older worker knows no new columns
        patch.setattr(writer, "missing", lambda _: frozenset().union(*LATER.values()))
        database_at(old).run(lambda one: write(one, [call(2, NOW)], []))
    ask(app, 1)
    assert flush(app, 20)

    source = UsageSource(database_url_of(old, ""), patience_s=20)
    assert not disagreements(old, source)
    told = [each.attempts[0].usage for each in source.recent(9)]
    assert told == [USAGE, USAGE, *[attempt("one").usage] * 2]
    assert sum(each["cached_tokens"] for each in sums(source)) == 120
    assert not lines("WARNING")


def sums(source):
    """Return the sums of all hours there ever were, by the hour."""
    whole = Span(0, int(time.time()) + 3600, Range(3600, 3600, 3600))
    return source.sums(ATTEMPTS, ("at",), whole)


def test_the_log_goes_on_without_them(app_of, old, lines, monkeypatch):
    """Whoever may not change tables has one warning, and all that was kept before."""

    def refused(_):
        raise OperationalError("ALTER TABLE", {}, PermissionError("denied"))

    monkeypatch.setattr(database, "migrate", refused)
    app = app_with_cache(app_of, old)
    ask(app, 2)
    assert flush(app, 20)

    source = UsageSource(database_url_of(old, ""), patience_s=20)
    assert columns(old)[0] == set()
    assert [each.attempts[0].usage for each in source.recent(2)] == [PLAIN, PLAIN]
    assert [each["input_tokens"] for each in sums(source)] == [7, 200]
    assert [each["cached_tokens"] for each in sums(source)] == [0, 0]
    (warning,) = lines("WARNING.*cannot be added")
    assert "flask llm usage --migrate print" in warning


def test_who_reads_already_sees_them_too(app_of, old):
    """A page that is open when another process adds them."""
    source = UsageSource(database_url_of(old, ""), patience_s=20)
    assert len(source.recent(9)) == 1
    app = app_with_cache(app_of, old)
    ask(app, 1)
    assert flush(app, 20)
    assert source.recent(1)[0].attempts[0].usage == USAGE
    assert sum(each["cached_tokens"] for each in sums(source)) == 60


def test_the_command_adds_them(app_of, old):
    """First it prints, then it runs; nothing is missing then."""
    app = app_of(old)

    def run(how):
        with app.app_context():
            return CliRunner().invoke(llm_commands, ["usage", "--migrate", how])

    printed = run("print")
    assert printed.exit_code == 0, printed.output
    assert printed.stdout.count("ALTER TABLE flask_llm_attempts ADD COLUMN") == len(
        DETAILS
    )
    assert columns(old)[0] == set()
    assert run("run").stdout == printed.stdout
    assert columns(old)[0] == columns(old)[1]
    assert "Nothing is missing." in run("run").output


def test_new_tables_have_them(app_of, url):
    """There is nothing to add."""
    app = app_with_cache(app_of, url)
    ask(app, 1)
    assert flush(app, 20)
    assert columns(url)[0] == columns(url)[1]
    assert metadata.tables.keys() >= LATER.keys()
