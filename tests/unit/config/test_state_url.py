"""`LLM_STATE_URL`: what it may say, and what is said about the rest."""

import subprocess
import sys

import pytest

from flask_llm.config import state_url as urls
from flask_llm.config.state_url import state_url, store_of
from flask_llm.resilience.storage.base import MemoryStorage
from flask_llm.resilience.storage.replicated import ReplicatedStorage


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "sqlite:///llm.db",
        "redis://localhost",
        "redis://:secret@[::1]:6379/0?socket_timeout=2",
        "rediss://user:secret@host:6380/1",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_addresses_that_name_a_store(url):
    """They come back as they are, without blanks around them."""
    assert state_url(f" {url} ") == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (5, "must be text, not int"),
        ("", "must begin with memory://, sqlite:/// or redis://"),
        ("secret", "must begin with memory://"),
        ("postgresql://user:secret@host/db", "must begin with memory://"),
        ("redis:secret", "must begin with memory://"),
        ("memory://secret", "must be memory:// and nothing behind it"),
        ("sqlite://", "must name a file, as in sqlite:///llm.db"),
        ("sqlite:///", "must name a file"),
        ("sqlite://secret.db", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////", "names a folder; it must name a file"),
        ("sqlite:///secret/llm.db", "names a file in a folder that does not exist"),
        (f"sqlite:////{'secret' * 60}/llm.db", "in a folder that does not exist"),
        ("redis://host:secret", "is no address: see its host, port and brackets"),
        ("redis://[secret", "is no address"),
    ],
)
def test_faults_say_what_is_right_and_not_the_address(url, fault):
    """They are the second half of a sentence, and hold no password."""
    with pytest.raises(ValueError, match=fault) as caught:
        state_url(url)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_redis_needs_its_package(monkeypatch):
    """The fault says how to get it."""
    monkeypatch.setattr(urls, "find_spec", lambda name: None)

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared in full
        state_url("redis://:secret@host")
    assert str(caught.value) == (
        'is for redis, which is not installed: pip install "Flask-LLM[redis]"'
    )


def test_the_store_is_the_one_that_is_named(tmp_path, monkeypatch):
    """A relative path stays where it was when the app was set up."""
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    relative, absolute = (
        store_of(state_url(url))
        for url in ("sqlite:///llm.db", f"sqlite:///{tmp_path}/llm.db")
    )
    monkeypatch.chdir("later")

    assert type(store_of("memory://")) is MemoryStorage
    assert type(relative) is type(absolute) is ReplicatedStorage
    assert relative._remote._path == absolute._remote._path == tmp_path / "llm.db"
    assert list(tmp_path.iterdir()) == [tmp_path / "later"]


def test_memory_loads_nothing_else():
    """Neither database nor client for those who want none."""
    code = """if True:
        import sys
        from flask_llm.config.state_url import state_url, store_of
        store_of(state_url("memory://")).read(["claude"])
        assert not {"redis", "sqlite3"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
