"""The check of the store, against the stores themselves."""

import sqlite3
import time
from importlib import import_module

import pytest
import redis
from real_time import AT_ONCE_S
from wire import closed_port

from flask_llm.config.state_url import store_of
from flask_llm.resilience.circuit_breaker import Circuit
from flask_llm.resilience.storage.base import Storage


def seen(look, url):
    (found,) = look("store", LLM_STATE_URL=url)
    return found


def test_memory_is_worth_a_note(look):
    """It is the default, and fine, but no worker learns from another."""
    level, key, message, advice = look("store")[0]

    assert (level, key) == ("note", "LLM_STATE_URL")
    assert message.startswith("memory://, so each worker learns for itself")
    assert "sqlite:///" in advice


def test_a_file_that_works_is_well(look, tmp_path):
    """It is written and read, and nothing stays behind."""
    file = tmp_path / "llm.db"

    assert seen(look, f"sqlite:///{file}") == (
        "ok",
        "LLM_STATE_URL",
        "sqlite keeps what is written",
        "",
    )
    with sqlite3.connect(file) as database:
        kept = database.execute("SELECT count(*) FROM flask_llm_circuits").fetchone()
    database.close()
    assert kept == (0,)


def test_a_file_that_is_no_database_is_an_error(look, tmp_path):
    """The shared view would hide it behind the process's own memory."""
    file = tmp_path / "llm.db"
    file.write_text("these are my notes, not a database\n" * 100)

    level, _, message, _ = seen(look, f"sqlite:///{file}")
    assert level == "error"
    assert "DatabaseError: file is not a database" in message


def test_a_redis_that_works_is_well(look, redis_server):
    """It is written and read, and nothing stays behind."""
    assert seen(look, redis_server.url)[:3] == (
        "ok",
        "LLM_STATE_URL",
        "redis keeps what is written",
    )
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys() == []


def test_a_wrong_password_is_an_error_without_the_password(look, redis_server):
    """The address holds it, and a driver may repeat it."""
    url = redis_server.url.replace("secret", "hunter2-hunter2")

    level, _, message, _ = seen(look, url)
    assert level == "error"
    assert "AuthenticationError" in message
    assert "hunter2" not in str(look.all)


def test_an_absent_redis_is_an_error(look):
    """Where nobody listens, and without a wait."""
    address = closed_port().removeprefix("http://")

    level, _, message, _ = seen(look, f"redis://:hunter2-hunter2@{address}/0")
    assert level == "error"
    assert message.startswith("redis does not answer (ConnectionError: ")
    assert "hunter2" not in str(look.all)


def test_a_silent_redis_is_an_error_after_two_seconds(look, redis_server, monkeypatch):
    """Here after a tenth of one; even where the address allows more time."""
    module = import_module("flask_llm.cli.doctor.observers")
    assert module._STORE_PATIENCE_S == 2.0
    monkeypatch.setattr(module, "_STORE_PATIENCE_S", 0.1)
    redis_server.freeze()
    try:
        started = time.monotonic()
        level, _, message, _ = seen(look, f"{redis_server.url}?socket_timeout=60")
    finally:
        redis_server.thaw()

    assert level == "error"
    assert "redis does not answer (nothing within 0.1 s)" in message
    assert time.monotonic() - started < AT_ONCE_S


class Forgetful(Storage):
    """A store that takes everything and keeps nothing."""

    def read(self, keys):
        return [Circuit() for _ in keys]

    def update(self, key, change):
        return change(Circuit())


def test_a_store_that_forgets_fails_its_check():
    """Such as a Redis that evicts at once: taking is not keeping."""
    with pytest.raises(OSError, match="does not keep what is written"):
        Forgetful().check()
    store_of("memory://").check()
