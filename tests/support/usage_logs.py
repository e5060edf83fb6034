"""Usage logs to test: in a file, and in a PostgreSQL of the tests' own."""

import logging
import re

import pytest
from flask import Flask
from mariadb import mariadb_server, mariadb_url  # noqa: F401  # fixtures
from postgres import postgres_server  # noqa: F401  # a fixture
from usage_calls import ANSWER, HEAD, python

from flask_llm import FlaskLLM
from flask_llm.observe.usage.queries import UsageSource
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.testing import FakeProvider

_SERVERS = [
    pytest.param(each, marks=pytest.mark.slow) for each in ("postgresql", "mariadb")
]


@pytest.fixture(params=["sqlite", *_SERVERS])
def url(request, tmp_path):
    """Return the address of an empty database."""
    if request.param == "mariadb":
        return request.getfixturevalue("mariadb_url")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server = request.getfixturevalue("postgres_server")
    return server.url(server.new_database())


@pytest.fixture
def postgres_url(postgres_server):  # noqa: F811  # the fixture
    return postgres_server.url(postgres_server.new_database())


@pytest.fixture
def source(url):
    return UsageSource(database_url_of(url, ""), patience_s=20)


@pytest.fixture
def app_of(tmp_path):
    """Return what makes an app whose calls go to a log."""
    made = []

    def make(url="", *providers, **config):
        app = Flask("logged", instance_path=str(tmp_path / "instance"))
        first, *others = providers or [FakeProvider(lambda _: ANSWER)]
        app.config |= {"LLM_PRIMARY_PROVIDER": first, "LLM_FALLBACK_PROVIDERS": others}
        app.config |= {"LLM_USAGE": "on", "LLM_USAGE_URL": url, **config}
        FlaskLLM(app)
        made.append(app)
        return app

    yield make
    for app in made:
        log = app.extensions.get("llm.usage")
        if log and (writer := log._writer.made()):
            writer.end(0.0)


@pytest.fixture
def lines(caplog):
    """Return what gives the warnings and better of the log, as "LEVEL text"."""
    caplog.set_level(logging.INFO, "flask_llm")

    def found(pattern=""):
        said = [f"{each.levelname} {each.getMessage()}" for each in caplog.records]
        return [
            each for each in said if "LLM_USAGE" in each and re.search(pattern, each)
        ]

    return found


@pytest.fixture
def script(tmp_path):
    """Return what starts a process with an app; see `usage_calls.HEAD`."""
    return lambda code, url, **options: python(HEAD + code, url, tmp_path, **options)
