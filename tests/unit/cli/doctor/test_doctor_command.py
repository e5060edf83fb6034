"""The command `flask llm doctor`, on apps that are well, ill, or cannot start."""

import json

import pytest
from commands import CANARY, KEYS, MINI

SOUND = {"LLM_RETRY_PRESET": "web", "GUNICORN_CMD_ARGS": "--timeout 60"}


def test_doctor_looks_at_a_real_app(flask_process):
    """Keys from the environment, and nothing wrong but what it was set up with."""
    result = flask_process("llm", "doctor", **KEYS, **SOUND)

    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert "  ✓ start: starts, and its configuration is sound" in lines
    assert "  ✓ claude: available" in lines
    assert "  ✓ LLM_DEADLINE: 25 s, below gunicorn's timeout of 60 s" in lines
    assert result.stderr == ""


def test_doctor_as_json(flask):
    """For CI: whether it is well, and every finding."""
    result = flask("llm", "doctor", "--json", ANTHROPIC_API_KEY=CANARY)
    found = json.loads(result.stdout)

    assert found["ok"]
    assert {
        "level": "warning",
        "area": "chain",
        "subject": "gemini",
        "message": "no API key",
        "advice": "set GOOGLE_API_KEY",
    } in found["findings"]


def test_strict_fails_for_warnings_too(flask):
    """What a careful team runs in CI."""
    result = flask("llm", "doctor", "--strict", "--json", ANTHROPIC_API_KEY=CANARY)

    assert result.exit_code == 1
    assert not json.loads(result.stdout)["ok"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("key", [f"{CANARY} x", f"'{CANARY}'", f"{CANARY}é"])
def test_doctor_works_where_the_configuration_is_wrong(flask, key, as_json):
    """It tells every fault by its key and goes on with what it can look at."""
    result = flask(
        "llm",
        "doctor",
        *["--json"] * as_json,
        ANTHROPIC_API_KEY=key,
        LLM_TIMEOUT="soon",
        LLM_STATE_URL="redis://:hunter2-hunter2@[::1/0",
    )

    assert result.exit_code == 1
    assert "hunter2" not in result.stdout
    for fault in ("ANTHROPIC_API_KEY", "LLM_TIMEOUT", "LLM_STATE_URL", "Python"):
        assert fault in result.stdout


@pytest.mark.parametrize("end", ["", "}"], ids=["cut", "unknown setting"])
def test_a_key_inside_of_llm_providers_stays_there(flask, end):
    """Whether its JSON can be read or not."""
    providers = (
        f'{{"eu": {{"provider": "claude", "api_key": "{CANARY} x", "q": 1}}{end}'
    )
    source = (
        "import os\nfrom flask import Flask\nfrom flask_llm import FlaskLLM\n"
        "app = Flask('mini')\n"
        "try:\n    FlaskLLM(app)\nexcept ValueError as error:\n"
        "    raise RuntimeError(f'{error} in {os.environ}')\n"
    )
    for also in ({}, {"source": source}):
        result = flask("llm", "doctor", "--json", LLM_PROVIDERS=providers, **also)
        assert result.exit_code == 1
        assert "LLM_PROVIDERS" in result.stdout


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_"),
        (
            "import os\nraise RuntimeError('bad ' + os.environ['ANTHROPIC_API_KEY'])\n",
            "RuntimeError: bad [redacted]",
        ),
        (
            "raise OSError('postgresql://app:hunter2-hunter2@db/shop refused')\n",
            "OSError: postgresql://[redacted]@db/shop refused",
        ),
        (f"raise RuntimeError('my {CANARY}')\n", "RuntimeError: my [redacted]"),
        ("import sys\nsys.exit('no settings')\n", "SystemExit: no settings"),
        ("x = 1\n", "NoAppException: Failed to find Flask application or factory"),
        (MINI, "this app has no FlaskLLM"),
    ],
    ids=["import", "key", "password", "shape", "exit", "no app", "no FlaskLLM"],
)
def test_doctor_tells_why_an_app_does_not_start(flask, source, says):
    """One finding with the exception's class and text, without keys."""
    result = flask("llm", "doctor", source=source, **KEYS)

    assert result.exit_code == 1
    assert says in result.stdout
    assert "hunter2" not in result.stdout
    assert "Python" in result.stdout


def test_debug_is_what_a_server_would_run_with(flask):
    """Flask's command line would overwrite what the code says."""
    source = MINI + "app.debug = True\nFlaskLLM(app)\n"

    assert "! debug: on" in flask("llm", "doctor", source=source, **KEYS).stdout
    assert "! debug: on" in flask("--debug", "llm", "doctor", **KEYS).stdout
    assert "debug" not in flask("llm", "doctor", **KEYS).stdout


@pytest.mark.slow
def test_output_without_unicode_is_no_reason_to_fail(flask_process):
    """A pipe on an old system; JSON is escaped, not garbled."""
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    plain = flask_process("llm", "doctor", **KEYS, **ascii_only)
    found = flask_process("llm", "doctor", "--json", **KEYS, **ascii_only)

    assert "  + claude: available" in plain.stdout
    assert any("…" in each["advice"] for each in json.loads(found.stdout)["findings"])


def test_an_example_of_an_address_stays_as_it_is(flask):
    """The doctor hides what may be a password in an address, so there is none."""
    told = flask("llm", "doctor", LLM_USAGE_URL="usage.db").stdout

    assert "such as postgresql://HOST/NAME or sqlite:////PATH" in told
    assert "[redacted]" not in told
