"""What the doctor says of metrics, traces, logged content, and who may see it all."""

import os
from pathlib import Path

import pytest
from commands import KEYS, MINI
from opentelemetry.sdk.trace import TracerProvider

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NO_SDK = "on, but no SDK is set up in this process"
ALIVE, ENDED = os.getpid(), 2**22 + 7  # Linux has no greater number than 2 ** 22


def of(found, key):
    """Return what was found of one setting: the level and the message."""
    return [(level, message) for level, about, message, _ in found if about == key]


def test_metrics_of_one_process_are_worth_a_note(look, monkeypatch):
    """With several workers Prometheus would meet one of them by chance."""
    monkeypatch.delenv(FOLDER, raising=False)
    found = look("observing", LLM_METRICS="on")

    message = f"on, without {FOLDER}: each process shows its own calls only"
    assert of(found, "LLM_METRICS") == [("note", message)]


@pytest.mark.parametrize("folder", ["", "file", "file/below"])
def test_a_folder_in_which_nobody_can_count_is_an_error(
    look, monkeypatch, tmp_path, folder
):
    """The server would run, and count nothing."""
    (tmp_path / "file").touch(0o777)
    monkeypatch.setenv(FOLDER, str(tmp_path / folder) if folder else "")
    message = "must be a folder that can be made and written to"

    found = look("observing", LLM_METRICS="on")
    assert of(found, FOLDER) == [("error", message)]
    assert of(look("observing"), FOLDER) == []


def test_a_folder_that_is_missing_is_made_later(look, monkeypatch, tmp_path):
    """The doctor makes nothing: it may be another user than the server."""
    folder = tmp_path / "not" / "there"
    monkeypatch.setenv(FOLDER, str(folder))

    found = look("observing", LLM_METRICS="on")
    assert of(found, FOLDER) == [("ok", f"the first call makes {folder}")]
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    ("pids", "level"),
    [([], "ok"), ([ENDED], "warning"), ([ENDED, ALIVE], "ok")],
    ids=["empty", "left over", "in use"],
)
def test_counts_of_a_server_that_has_ended_are_a_warning(
    look, monkeypatch, tmp_path, pids, level
):
    """The next one would add its own; of a server that runs they belong there."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for pid in pids:
        (tmp_path / f"counter_{pid}.db").touch()

    ((told, message),) = of(look("observing", LLM_METRICS="on"), FOLDER)
    assert told == level
    assert ("has ended" in message) == (level == "warning")


@pytest.mark.parametrize(
    ("provider", "found"),
    [
        (None, ("note", f"{NO_SDK}: spans go nowhere")),
        (TracerProvider(), ("ok", "an SDK takes the spans")),
    ],
    ids=["no SDK", "SDK"],
)
def test_spans_that_go_nowhere_are_worth_a_note(look, monkeypatch, provider, found):
    """A process that is set up elsewhere may have one, so it is no more than that."""
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)

    assert of(look("observing", LLM_TRACES="on"), "LLM_TRACES") == [found]


def test_an_sdk_that_is_not_even_installed_is_a_warning(look, monkeypatch):
    """Nobody can set it up elsewhere."""
    proxy = "opentelemetry.trace._TRACER_PROVIDER"
    monkeypatch.setattr(proxy, None)
    monkeypatch.setattr("flask_llm.cli.doctor.observers.installed", lambda name: False)
    ((level, message),) = of(look("observing", LLM_TRACES="on"), "LLM_TRACES")

    assert level == "warning"
    assert "no SDK of OpenTelemetry is installed" in message


def test_logged_prompts_are_a_warning(look):
    """What users write is in the hands of whoever reads the log."""
    ((level, message),) = of(look("observing", LLM_LOG_CONTENT="on"), "LLM_LOG_CONTENT")

    assert level == "warning"
    assert "reads prompts and answers" in message
    assert of(look("observing"), "LLM_LOG_CONTENT") == []


@pytest.mark.parametrize(
    ("config", "closed"),
    [
        ({}, "dashboard"),
        ({"LLM_METRICS": "on"}, "dashboard and metrics"),
        ({"LLM_DASHBOARD": "off"}, None),
        ({"debug": True}, None),
        ({"guarded": True}, None),
    ],
)
def test_pages_that_nobody_can_see_are_worth_a_note(look, config, closed):
    """Closed is safe; yet somebody may wonder where the dashboard is."""
    found = of(look("observing", **config), "access")

    message = f"{closed} closed to everybody: nobody was given access"
    assert found == ([("note", message)] if closed else [])


@pytest.mark.parametrize("access", ["", ", authorize=lambda: True"])
def test_a_real_app_is_seen_as_it_is(flask, access):
    """Its guard and its instance folder are those of the app."""
    source = f"{MINI}FlaskLLM(app{access})\n"
    told = flask("llm", "doctor", source=source, LLM_USAGE="on", **KEYS)

    assert told.exit_code == 0, told.stdout
    assert ("closed to everybody" in told.stdout) == (not access)
    file = Path("instance", "flask_llm_usage.sqlite3")
    assert f"LLM_USAGE: the first call makes {Path('/')}" in told.stdout
    assert str(file) in told.stdout
