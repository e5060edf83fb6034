"""Where the usage log is, what may be said of that, and what it costs at start."""

import subprocess
import sys

import pytest
from usage_calls import call, database_at, locked, purposes, query

from flask_llm.errors import ConfigurationError
from flask_llm.observe import usage
from flask_llm.observe.aggregates import SourceError
from flask_llm.observe.usage import settings as place
from flask_llm.observe.usage.database import why
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.writer import DAY_S, Writer, pieces, write

NOW = 1_800_000_000.0
SECRET = "secret/0123:456"


def test_by_default_it_is_a_file_of_the_instance(app_of, tmp_path):
    """Its folder is made with the first call, and nothing before."""
    app = app_of()
    assert not (tmp_path / "instance").exists()
    app.llm.generate_content("hello", purpose="p")

    assert app.extensions["llm.usage"].flush()
    file = tmp_path / "instance" / "flask_llm_usage.sqlite3"
    assert purposes(f"sqlite:///{file}") == {"p": 1}


def test_a_relative_file_is_in_the_instance_folder(app_of, tmp_path, monkeypatch):
    """Wherever the process was started; its folder is made with the first call."""
    monkeypatch.chdir("/")
    app = app_of("sqlite:///logs/usage.db")
    assert not (tmp_path / "instance").exists()
    app.llm.generate_content("hello", purpose="p")

    assert usage.flush(app)
    file = tmp_path / "instance" / "logs" / "usage.db"
    assert purposes(f"sqlite:///{file}") == {"p": 1}


def test_flush_waits_for_an_app(app_of, tmp_path):
    """It says whether all is written, and has nothing to do where the log is off."""
    assert usage.flush(app_of(LLM_USAGE="off")) is True
    app = app_of(f"sqlite:///{tmp_path}/log.db")
    app.llm.generate_content("hello")
    assert usage.flush(app) is True
    with locked(tmp_path / "log.db"):
        app.llm.generate_content("hello")
        assert usage.flush(app, timeout=0.1) is False


def test_an_address_switches_it_on(app_of, tmp_path):
    """And `LLM_USAGE=off` switches it off all the same."""
    url = f"sqlite:///{tmp_path}/log.db"
    assert "llm.usage" in app_of(url, LLM_USAGE="").extensions
    with pytest.raises(KeyError):
        app_of(url, LLM_USAGE="off").extensions["llm.usage"]


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@host/db", "postgresql+psycopg"),
        ("postgres://u:p@host/db?sslmode=require", "postgresql+psycopg"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg"),
    ],
)
def test_addresses_of_servers(url, driver):
    """As SQLAlchemy writes them, and as hosting platforms do."""
    assert database_url_of(url, "").engine_url.drivername == driver


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (f"nonsense {SECRET}", "is no address of a database"),
        (f"postgresql://u:{SECRET}@host:port/db", "is no address of a database"),
        ("nonsense://u:secret/0123@host/db", "that SQLAlchemy does not know"),
        ("postgresql+asyncpg://u:secret@host/db", "names a driver for asyncio"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///file:secret?mode=ro&uri=true", "must name a file"),
        ("sqlite:////", "names a folder"),
        ("sqlite:////secret/log.db", "in a folder that does not exist"),
        (f"sqlite:////{'secret' * 60}/log.db", "in a folder that does not exist"),
    ],
)
def test_faults_name_the_key_and_not_the_address(app_of, url, fault):
    """They are found when the app starts."""
    with pytest.raises(ConfigurationError, match=f"LLM_USAGE_URL .*{fault}") as caught:
        app_of(url)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("postgresql://host/db", "psycopg[binary]"),
        ("postgresql+psycopg2://host/db", "psycopg2-binary"),
    ],
)
def test_a_driver_that_is_missing(monkeypatch, url, package):
    """The fault says how to get it."""
    monkeypatch.setattr(place, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        database_url_of(url, "")

    assert f'pip install "{package}"' in str(caught.value)


def test_sqlalchemy_is_missing(monkeypatch, app_of):
    """The fault names the key that wants it, and the extra."""
    monkeypatch.setattr(usage, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        app_of()

    told = 'LLM_USAGE needs SQLAlchemy: pip install "Flask-LLM[usage]"'
    assert told in str(caught.value)


@pytest.mark.slow
def test_nothing_is_done_before_the_first_call(tmp_path):
    """Nor is SQLAlchemy imported where the log is off."""
    code = f"""if True:
        import sys, threading
        from flask import Flask
        from flask_llm import FlaskLLM
        app = Flask("x", instance_path={str(tmp_path)!r})
        FlaskLLM(Flask("other"))
        assert "sqlalchemy" not in sys.modules
        app.config["LLM_USAGE"] = "on"
        FlaskLLM(app)
        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_text_holds_the_password(app_of, postgres_server, postgres_url):
    """Neither the place, nor an error of the driver that repeats the address."""
    where = database_url_of(postgres_url, "")
    password = postgres_server.password
    assert password in where.secrets
    assert password not in repr(where) + str(where.engine_url) + repr(where.engine_url)
    assert (
        why(ValueError(f"bad {postgres_url}"), where.secrets).count("[redacted]") == 1
    )
    wrong = postgres_url.replace(password, "wrong-0123456789")
    with pytest.raises(SourceError) as caught:
        app_of(wrong).extensions["llm.source"].recent(1)

    assert "password authentication failed" in str(caught.value)
    assert "wrong-0123456789" not in str(caught.value)


def test_old_calls_and_sums_are_deleted(url, source):
    """Calls after so many days, fine sums after hours; what is newer stays."""
    ages = {"new": 60, "hours": 3 * 3600, "days": 3 * DAY_S, "old": 8 * DAY_S}
    records = [
        call(1000 * place + number, NOW - age - number, purpose=name)
        for place, (name, age) in enumerate(ages.items())
        for number in range(600)
    ]
    link = database_at(url)
    link.run(lambda one: write(one, records, []))
    for piece in pieces(NOW, 7):
        while link.run(piece):
            pass

    assert purposes(url) == {"new": 600, "hours": 600, "days": 600}
    assert query(url, "SELECT count(*) FROM flask_llm_attempts") == [(1800,)]
    by_step = "SELECT DISTINCT step, purpose FROM flask_llm_call_sums ORDER BY 1, 2"
    assert query(url, by_step) == [
        (15, "new"),
        (300, "hours"),
        (300, "new"),
        (3600, "days"),
        (3600, "hours"),
        (3600, "new"),
    ]


def test_without_days_calls_are_kept_for_ever(url):
    """Only the fine sums go, which nobody reads after their time."""
    link = database_at(url)
    link.run(lambda one: write(one, [call(1, NOW - 5000 * DAY_S)], []))
    for piece in pieces(NOW, None):
        while link.run(piece):
            pass

    assert purposes(url) == {"p": 1}
    assert query(url, "SELECT step FROM flask_llm_call_sums") == [(3600,)]


def test_the_writer_deletes_now_and_then(url, clock):
    """When an hour is over, without any call."""
    database_at(url).run(
        lambda one: write(one, [call(1, clock.time() - 9 * DAY_S)], [])
    )
    writer = Writer(database_url_of(url, ""), 7, clock)
    clock.sleep(601)
    writer.put(call(2, clock.time(), purpose="new"))
    assert writer.flush(20)
    writer.end(5)
    writer._thread.join(20)

    assert purposes(url) == {"new": 1}
