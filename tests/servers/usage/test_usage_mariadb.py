"""The usage log on MariaDB: what differs there; the fixture `url` holds the rest."""

import pytest
from real_time import AT_ONCE_S
from sqlalchemy import create_engine, inspect
from usage_calls import ask, attempt, call, database_at, disagreements, purposes, soon

from flask_llm.observe.usage import metadata
from flask_llm.observe.usage.queries import UsageSource
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.writer import write

pytestmark = pytest.mark.slow

NOW = 1_800_000_000.0


def put(url, *records):
    database_at(url).run(lambda one: write(one, records, []))


def test_all_tables_are_made_and_tell_texts_apart(mariadb_url):
    """Case, accents and characters of four bytes are kept, and count."""
    names = ["sky", "Sky", "ský", "😀", "😁"]
    for number, purpose in enumerate(names):
        put(mariadb_url, call(number, NOW, attempt("😀"), purpose=purpose))

    engine = create_engine(mariadb_url)
    assert {*inspect(engine).get_table_names()} == {*metadata.tables}
    engine.dispose()
    source = UsageSource(database_url_of(mariadb_url, ""))
    assert purposes(mariadb_url) == dict.fromkeys(names, 1)
    assert {each.purpose for each in source.recent(9)} == {*names}
    assert {each.provider for each in source.recent(9)} == {"😀"}
    assert not disagreements(mariadb_url, source)


def test_sums_grow(mariadb_url):
    """Two batches for the same time add up, and what is written twice counts once."""
    put(mariadb_url, call(1, NOW), call(2, NOW))
    put(mariadb_url, call(2, NOW), call(3, NOW, attempt("two", "quota")))

    source = UsageSource(database_url_of(mariadb_url, ""))
    assert not disagreements(mariadb_url, source)
    assert purposes(mariadb_url) == {"p": 3}
    assert source.find(f"{3:024x}").outcome == "quota"


def test_a_server_that_dies_in_traffic(app_of, mariadb_server, mariadb_url, lines):
    """No prompt fails or waits, and all calls are there when it is back."""
    app = app_of(mariadb_url)
    ask(app, 20)
    assert app.extensions["llm.usage"].flush()
    mariadb_server.kill()
    try:
        assert ask(app, 50) < AT_ONCE_S
        (said,) = soon(lambda: lines("WARNING.*cannot be written"))
    finally:
        mariadb_server.start()
    ask(app, 10)

    assert app.extensions["llm.usage"].flush(30)
    assert purposes(mariadb_url) == {"p": 80}
    assert mariadb_server.password not in said
