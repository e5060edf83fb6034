"""The checks of settings that are allowed, but not safe."""

import logging

import pytest

from flask_llm import LLMFactory
from flask_llm.cli.doctor.app import UnreadableError, worker_timeout


def of(key, found):
    return [each for each in found if each[1] == key]


def deadline(look, **config):
    (found,) = of("LLM_DEADLINE", look("settings", **config))
    return found


def test_debug_mode_is_a_warning(look):
    """Its debugger runs what a visitor types."""
    (found,) = of("debug", look("settings", debug=True))

    assert found[0] == "warning"
    assert not of("debug", look("settings"))


def test_a_deadline_below_gunicorns_usual_timeout_is_well(look):
    """As with the preset for requests."""
    assert deadline(look, LLM_RETRY_PRESET="web") == (
        "ok",
        "LLM_DEADLINE",
        "25 s, below gunicorn's timeout of 30 s",
        "",
    )


@pytest.mark.parametrize("arguments", ["-t 20", "-t25", "--timeout 25", "--timeout=25"])
def test_a_deadline_above_gunicorns_timeout_is_a_warning(look, monkeypatch, arguments):
    """Also one that the preset brings; gunicorn would kill the worker in mid-call."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"-w 4 --bind=0.0.0.0:80 {arguments}")

    level, _, message, advice = deadline(look, LLM_RETRY_PRESET="web")
    seconds = arguments[-2:]
    assert level == "warning"
    assert message == (
        f"25 s, but gunicorn kills a worker after {seconds} s, in the middle of a call"
    )
    assert advice == f"set it below {seconds}, or raise gunicorn's --timeout"


def test_no_deadline_is_told_with_what_it_means(look):
    """The patient preset is for work outside of requests."""
    level, _, message, advice = deadline(look, LLM_MAX_RETRIES=3, LLM_TIMEOUT=10)

    assert level == "warning"
    assert "up to 3 times, 10 s each" in message
    assert "gunicorn kills a worker after 30 s" in message
    assert "LLM_RETRY_PRESET=web" in advice


def test_a_computed_timeout_is_a_note(look, tmp_path):
    """The file is read, never run."""
    canary = tmp_path / "ran"
    (tmp_path / "gunicorn.conf.py").write_text(
        f"timeout = open({str(canary)!r}, 'w').write('') or 5\n"
    )

    found = of("LLM_DEADLINE", look("settings", LLM_DEADLINE=20))
    assert [level for level, *_ in found] == ["note", "ok"]
    assert "computed in gunicorn.conf.py" in found[0][2]
    assert not canary.exists()


@pytest.mark.parametrize(
    ("arguments", "file", "seconds"),
    [
        ("", "", 30),
        ("", "timeout = 20\n", 20),
        ("", "if True:\n    pass\ntimeout: int = 20\ntimeout = 40\n", 40),
        ("-t 50", "timeout = 20\n", 50),
        ("--timeout 0", "", None),
        ("", "timeout = 0\n", None),
        ("-k gevent", "", None),
        ("--threads 4", "timeout = 20\n", None),
        ("", "threads = 1\nworker_class = 'gthread'\ntimeout = 20\n", None),
        ("--graceful-timeout 5", "", 30),
    ],
)
def test_gunicorns_timeout_is_read_where_it_is_written(
    tmp_path, arguments, file, seconds
):
    """Arguments before the file before the default; only sync workers have one."""
    if file:
        (tmp_path / "gunicorn.conf.py").write_text(file)

    assert worker_timeout(arguments, tmp_path) == seconds


def test_another_configuration_file_can_be_named(tmp_path):
    """As gunicorn's -c does."""
    (tmp_path / "production.py").write_text("timeout = int('7')\n")

    with pytest.raises(UnreadableError, match=r"^production\.py$"):
        worker_timeout("-c file:production.py", tmp_path)
    assert worker_timeout("-c production.py -t 8", tmp_path) == 8


@pytest.mark.parametrize(
    ("address", "is_told"),
    [
        ("http://llm.example.com/v1", True),
        ("http://user:hunter2-hunter2@10.0.0.7:8000", True),
        ("http://[2001:db8::1]:8000", True),
        ("https://llm.example.com/v1", False),
        ("http://localhost:8000", False),
        ("http://127.0.0.2:8000", False),
        ("http://[::1]:8000", False),
    ],
)
def test_a_key_in_plain_text_is_a_warning(look, address, is_told):
    """Only where it leaves the machine; the address's own password is not shown."""
    found = look(
        "settings",
        LLM_PRIMARY_PROVIDER="claude",
        ANTHROPIC_API_KEY="sk-ant-0123456789",
        LLM_CLAUDE_BASE_URL=address,
    )

    told = of("LLM_CLAUDE_BASE_URL", found)
    assert [level for level, *_ in told] == ["warning"] * is_told
    assert "hunter2" not in str(look.all)


def test_an_endpoint_outside_of_the_chain_is_looked_at_too(look):
    """It is there to be used one day."""
    endpoint = {
        "provider": "claude",
        "api_key": "sk-ant-0123456789",
        "base_url": "http://llm.example.com",
    }

    found = look("settings", LLM_PROVIDERS={"plain": endpoint})
    message = "the key of plain travels to llm.example.com in plain text"
    place = "LLM_PROVIDERS['plain']['base_url']"
    assert ("warning", place, message, "use https://") in found


def test_without_a_key_plain_text_is_no_matter(look):
    """There is nothing to steal."""
    found = look("settings", LLM_CLAUDE_BASE_URL="http://llm.example.com")

    assert not of("LLM_CLAUDE_BASE_URL", found)


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, True)])
def test_an_env_file_that_others_read_is_a_warning(look, tmp_path, mode, is_told):
    """The one beside the app, or above the folder that it is started in."""
    file = tmp_path / ".env"
    file.write_text("ANTHROPIC_API_KEY=sk-ant-0123456789\n")
    file.chmod(mode)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()

    found = of(str(file), look("settings", root=package))
    message = "other users of this machine may read it (mode 640)"
    told = [("warning", str(file), message, f"chmod 600 {file}")]
    assert found == told * is_told


def test_what_was_odd_at_start_is_told_again(look, monkeypatch):
    """A warning in a log that nobody reads is no help: typos, plug-ins left out."""
    registry = LLMFactory.PROVIDER_REGISTRY
    monkeypatch.setattr(registry, "left_out", ["plug-in 'x' is left out"])

    found = look("settings", LLM_TIMEOUTS=5)
    assert of("", found) == [
        ("warning", "", "plug-in 'x' is left out", ""),
        (
            "warning",
            "",
            "Unknown setting LLM_TIMEOUTS: did you mean LLM_TIMEOUT?",
            "",
        ),
    ]
    monkeypatch.setattr(registry, "left_out", [])
    assert not of("", look("settings"))


@pytest.mark.parametrize(
    ("written", "level"),
    [
        ("[uwsgi]\nmodule = wsgi:app\nmodule = other\nmaster", "warning"),
        ("[uwsgi]\nthreads = 4", "ok"),
        ("[uwsgi]\nenable-threads = true\nhttp = :%(port)", "ok"),
        ("[pytest]\naddopts = -q", None),
        ("threads = 4", None),
    ],
)
def test_uwsgi_without_threads(look, tmp_path, written, level):
    """By default it runs none, and nothing would be written while it serves."""
    (tmp_path / "server.ini").write_text(written)
    found = [each for each in look("settings") if each[1] == "server.ini"]
    assert [each[0] for each in found] == ([level] if level else [])
    if level == "warning":
        assert "runs no threads" in found[0][2]
        assert found[0][3] == "write enable-threads = true"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"LLM_CLAUDE_RATE": "60/minute"}, True),
        ({"LLM_CLAUDE_TOKEN_RATE": "1000/hour", "LLM_STATE_URL": "memory://"}, True),
        ({"LLM_CLAUDE_RATE": "60/minute", "LLM_STATE_URL": "sqlite:///{}/x.db"}, False),
        ({}, False),
    ],
)
def test_limits_that_each_process_counts_for_itself(look, tmp_path, config, told):
    """Together they would send several times as much."""
    config = {key: value.format(tmp_path) for key, value in config.items()}
    found = [each[2] for each in look("settings", **config)]
    line = "each process counts the limits of claude for itself"
    assert (line in found) is told


def test_a_logger_that_is_disabled(look, monkeypatch):
    """As `logging.config` leaves it, unless it is told not to."""
    assert look("logs") == []
    monkeypatch.setattr(logging.getLogger("flask_llm"), "disabled", True)
    ((level, subject, message, advice),) = look("logs")
    assert (level, subject) == ("warning", "flask_llm")
    assert "its logger is disabled" in message
    assert "disable_existing_loggers=False" in advice
