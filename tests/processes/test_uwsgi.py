"""A real uWSGI, which by default runs no threads and tells Python of no fork."""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from gunicorn_server import MUST_RUN, SOON
from usage_calls import soon

UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UWSGI and not MUST_RUN, reason="needs uWSGI"),
]

APP = """
import logging, os
from flask import Flask
from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

logging.basicConfig()
app = Flask(__name__)
app.config.update(
    LLM_PRIMARY_PROVIDER=FakeProvider(*["hello"] * 9),
    LLM_FALLBACK_PROVIDERS="none",
    LLM_DASHBOARD=False,
    LLM_USAGE_URL="sqlite:///{folder}/usage.db",
)
FlaskLLM(app)

@app.get("/")
def ask():
    return app.llm.generate_content("hi").content

if {before}:
    app.llm.generate_content("before the fork")
"""

THREADS, FORKS = "--enable-threads", "--py-call-uwsgi-fork-hooks"


@pytest.mark.parametrize(
    ("options", "before", "told"),
    [
        ([], 0, "runs no threads"),
        ([THREADS], 0, None),
        ([THREADS], 1, "before uWSGI forks: start it with --py-call-uwsgi-fork-hooks"),
        ([THREADS, FORKS], 1, None),
        ([THREADS, "--lazy-apps"], 1, None),
    ],
)
def test_the_usage_log(tmp_path, options, before, told):
    """Each call is written while it serves, or a line says what it must be told."""
    (tmp_path / "served.py").write_text(APP.format(folder=tmp_path, before=before))
    output = tmp_path / "output"
    with serving(tmp_path, *options) as url:
        with urlopen(url, timeout=SOON) as answer:
            assert answer.read() == b"hello"
        assert told or soon(lambda: written(tmp_path) == 1 + before, SOON)
    lines = [each for each in output.read_text().splitlines() if "flask_llm" in each]
    assert len(lines) == (told is not None)
    assert (told or "") in "".join(lines)


@contextmanager
def serving(folder, *options):
    """Run uWSGI until the block ends; give its address."""
    command = [UWSGI, "--http-socket", "127.0.0.1:0", "--pythonpath", str(folder)]
    command += ["--module", "served:app", "--master", "--die-on-term", *options]
    output = folder / "output"
    with output.open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    bound = lambda: re.search(r"TCP address (\S+) \(port auto", output.read_text())  # noqa: E731  # twice
    try:
        assert soon(bound, SOON), output.read_text()
        yield f"http://{bound()[1]}/"
    finally:
        server.terminate()
        server.wait(SOON)


def written(folder):
    """Return how many calls the usage log has."""
    with closing(sqlite3.connect(folder / "usage.db")) as db, suppress(sqlite3.Error):
        return db.execute("SELECT count(*) FROM flask_llm_calls").fetchone()[0]
    return 0
