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
    monkeypatch.setattr("flask_llm.observe.metrics.installed", missing)
    monkeypatch.setattr("flask_llm.observe.tracing.installed", missing)
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


@pytest.mark.parametrize("command", [["routes"], ["llm", "status"]])
def test_a_command_runs_where_the_servers_folder_is_missing(tmp_path, command):
    """Only a server counts in it, and makes it before it starts."""
    missing = {FOLDER: str(tmp_path / "missing")}
    told = run_flask(tmp_path, *command, **METRICS, **missing)

    assert told.returncode == 0, told.stderr
    assert f"nothing is counted here: {FOLDER} must be a folder" in told.stderr


def test_a_call_of_such_a_command_raises_nothing(tmp_path):
    """It is not counted, and nothing is written about that for each call."""
    missing = {FOLDER: str(tmp_path / "missing")}
    told = run_flask(tmp_path, "llm", "ask", "x", source=HELLO, **METRICS, **missing)

    assert (told.returncode, told.stdout) == (0, "hello\n"), told.stderr
    assert "FileNotFoundError" not in told.stderr


def test_a_command_counts_where_the_folder_is(tmp_path):
    """It is a process like the server's."""
    counts = tmp_path / "counts"
    counts.mkdir()
    there = {FOLDER: str(counts)}
    told = run_flask(tmp_path, "llm", "ask", "x", source=HELLO, **METRICS, **there)

    assert told.returncode == 0, told.stderr
    assert list(counts.glob("counter_*.db"))


def test_a_server_does_not_start_without_the_folder(tmp_path):
    """`flask run` serves: what it cannot count it must not promise."""
    source = MINI + (
        "import sys\n"
        "try:\n    FlaskLLM(app)\n"
        "except ValueError as error:\n    sys.exit(str(error))\n"
    )
    missing = {FOLDER: str(tmp_path / "missing")}
    told = run_flask(
        tmp_path, "run", "--port", "0", source=source, **METRICS, **missing
    )

    assert told.returncode == 1
    assert f"- {FOLDER} must be a folder that exists" in told.stderr
