"""A file that is locked, deleted, private, or cannot be made or grow."""

import os
import sqlite3
from contextlib import closing

import pytest
from real_time import AT_ONCE_S
from usage_calls import ask, locked, purposes, soon

from flask_llm.observe.usage import database as dialects
from flask_llm.observe.usage import flush


def test_a_file_that_is_locked_for_a_while(app_of, tmp_path, monkeypatch):
    """Calls wait until whoever holds the lock is done, and no prompt does."""
    monkeypatch.setattr(dialects, "_BUSY_S", 60)
    url = f"sqlite:///{tmp_path}/log.db"
    app = app_of(url)
    log = app.extensions["llm.usage"]
    ask(app, 10)
    assert log.flush()
    with locked(tmp_path / "log.db"):
        assert ask(app, 100) < AT_ONCE_S
        assert not log.flush(0.1)

    assert log.flush()
    assert purposes(url) == {"p": 110}


def test_a_file_that_is_deleted(app_of, tmp_path):
    """A new one is made; nothing goes to a file that has no name any more."""
    url = f"sqlite:///{tmp_path}/log.db"
    app = app_of(url)
    log = app.extensions["llm.usage"]
    ask(app, 3)
    assert log.flush()
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    ask(app, 4)

    assert log.flush()
    assert purposes(url) == {"p": 4}


def test_a_folder_that_cannot_be_made(app_of, tmp_path, lines):
    """A file stands in its way; the calls are written when that is gone."""
    (tmp_path / "instance").write_text("")
    app = app_of(DEBUG=True)
    assert ask(app, 10) < AT_ONCE_S
    soon(lambda: lines("WARNING.*cannot be written.*calls that wait: 10, lost: 0"))
    shown = app.test_client().get("/llm/dashboard/data").json["source"]
    assert (shown["waiting"], shown["error"]) == (10, None)
    assert "Error: " in shown["write_error"]
    (tmp_path / "instance").unlink()

    assert app.extensions["llm.usage"].flush()
    file = tmp_path / "instance" / "flask_llm_usage.sqlite3"
    assert purposes(f"sqlite:///{file}") == {"p": 10}
    about = app.extensions["llm.source"].about()
    assert (about.waiting, about.write_error) == (0, None)


def test_a_new_file_is_private(app_of, tmp_path):
    """Whatever the umask says; SQLite gives its other files the same mode."""
    before = os.umask(0o002)
    try:
        app = app_of(f"sqlite:///{tmp_path}/log.db")
        ask(app, 1)
        assert flush(app)
    finally:
        os.umask(before)

    modes = {each.stat().st_mode & 0o777 for each in tmp_path.glob("log.db*")}
    assert modes == {0o600}


def test_a_file_that_is_there_keeps_its_mode(app_of, tmp_path):
    """Who has made it may have made it for a group."""
    (tmp_path / "log.db").touch()
    (tmp_path / "log.db").chmod(0o660)
    app = app_of(f"sqlite:///{tmp_path}/log.db")
    ask(app, 1)

    assert flush(app)
    assert (tmp_path / "log.db").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(("own", "mode"), [(False, "wal"), (True, "delete")])
def test_the_app_s_own_file_keeps_its_journal(app_of, tmp_path, own, mode):
    """Backups, network drives and other programs may count on the mode it has."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as db:
        if own:
            db.execute("CREATE TABLE users (name TEXT)")
        app = app_of(f"sqlite:///{path}", LLM_STATE_URL=f"sqlite:///{path}")
        ask(app, 3)
        app.llm.reset("fake")

        assert flush(app)
        assert db.execute("PRAGMA journal_mode").fetchone() == (mode,)
        tables = "SELECT count(*) FROM sqlite_master WHERE name = ?"
        for name in ("flask_llm_calls", "flask_llm_circuits"):
            assert db.execute(tables, (name,)).fetchone() == (1,), name


def test_a_full_disk(app_of, tmp_path):
    """SQLite may not grow its file any more, until it may again."""
    resource = pytest.importorskip("resource")
    url = f"sqlite:///{tmp_path}/log.db"
    app = app_of(url)
    log = app.extensions["llm.usage"]
    ask(app, 5)
    assert log.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        ask(app, 50)
        assert not log.flush(0.1)
        soon(lambda: log.about().write_error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert log.flush()
    assert purposes(url) == {"p": 55}
