"""The observers when they are switched on: every fault at once, and none too many."""

import pytest
from commands import KEYS, MINI, run_flask
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.errors import ConfigurationError

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METRICS = {"LLM_METRICS": "on", **KEYS}
HELLO = MINI + (
    "from flask_llm.testing import FakeProvider\n"
    "app.config['LLM_PRIMARY_PROVIDER'] = FakeProvider('hello')\n"
    "app.config['LLM_FALLBACK_PROVIDERS'] = []\nFlaskLLM(app)\n"
)


def test_the_faults_of_all_observers_are_told_at_once(monkeypatch):
    """Whoever mends one does not start the app to meet the next; each names its key."""
    missing = lambda name: False  # noqa: E731  # of a whole world
    monkeypatch.setattr("flask_llm.observe.installed", missing)
    app = Flask("testapp")
    app.config |= {"LLM_METRICS": "on", "LLM_TRACES": "on"}
    app.config["LLM_USAGE_URL"] = "mysql://user:hunter2@host/name"

    with pytest.raises(ConfigurationError) as caught:
        FlaskLLM(app)

    keys = [each.partition(" ")[0] for each in caught.value.faults]
    assert keys == ["LLM_USAGE_URL", "LLM_METRICS", "LLM_TRACES"]
    assert 'needs prometheus_client: pip install "Flask-LLM[metrics]"' in str(
        caught.value
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", [["routes"], ["llm", "status"]])
def test_a_command_that_asks_nobody_makes_no_folder(tmp_path, command):
    """It may be run by another user than the server, who could not write there then."""
    folder = tmp_path / "missing"
    told = run_flask(tmp_path, *command, **METRICS, **{FOLDER: str(folder)})

    assert told.returncode == 0, told.stderr
    assert FOLDER not in told.stderr
    assert not folder.exists()


def test_a_command_that_asks_counts_as_a_server_does(tmp_path):
    """It is a process like the server's, and makes the folder if need be."""
    folder = tmp_path / "missing"
    there = {FOLDER: str(folder)}
    told = run_flask(tmp_path, "llm", "ask", "x", source=HELLO, **METRICS, **there)

    assert (told.returncode, told.stdout) == (0, "hello\n"), told.stderr
    assert list(folder.glob("counter_*.db"))


@pytest.mark.slow
def test_a_command_answers_where_it_cannot_count(tmp_path):
    """It says why it does not, in one line."""
    (tmp_path / "file").touch()
    there = {FOLDER: str(tmp_path / "file" / "below")}
    told = run_flask(tmp_path, "llm", "ask", "x", source=HELLO, **METRICS, **there)

    assert (told.returncode, told.stdout) == (0, "hello\n"), told.stderr
    assert told.stderr.count(f"nothing is counted until a restart: {FOLDER}") == 1
    assert "Traceback" not in told.stderr
