import json
import os
import subprocess
import sys

import pytest
from flask import Flask

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

ANSWER = LLMResponse(
    True,
    "spam — certainly",
    "fake",
    metadata={
        "model": "fake-1",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    },
)


@pytest.fixture
def run():
    """Run `flask llm …` against an app with the given scripts."""

    def run(*args, scripts=((ANSWER,),), stdin=None):
        names = ["gemini", "claude"]
        fakes = [FakeProvider(*s, name=n) for s, n in zip(scripts, names, strict=False)]
        app = Flask("testapp")
        app.config["LLM_PRIMARY_PROVIDER"] = fakes[0]
        app.config["LLM_FALLBACK_PROVIDERS"] = fakes[1:]
        app.config["LLM_RETRY_DELAY"] = 0
        FlaskLLM(app)
        run.fake = fakes[0]
        return app.test_cli_runner().invoke(args=["llm", *args], input=stdin)

    return run


def test_ask_prints_the_answer_and_who_gave_it(run):
    """The text alone is on standard output, fit for a pipe."""
    result = run("ask", "is this spam?")

    assert result.exit_code == 0
    assert result.stdout == "spam — certainly\n"
    assert result.stderr.startswith("(gemini, fake-1, 3+4 tokens, 0.0")


def test_ask_passes_its_options_on(run):
    """Temperature and max_tokens reach the provider."""
    run("ask", "hello", "--temperature", "0.5", "--max-tokens", "7")

    (call,) = run.fake.calls
    assert (call.prompt, call.temperature, call.max_tokens) == ("hello", 0.5, 7)


def test_ask_reads_standard_input(run):
    """`flask llm ask - < mail.txt`."""
    run("ask", "-", stdin="a long mail\n")

    assert run.fake.calls[0].prompt == "a long mail\n"


def test_ask_as_json_is_the_whole_response(run):
    """All five documented fields, metadata included."""
    result = run("ask", "hello", "--json")
    found = json.loads(result.stdout)

    assert list(found) == ["success", "content", "provider_name", "error", "metadata"]
    assert found["content"] == "spam — certainly"
    assert found["metadata"]["model"] == "fake-1"


def test_a_failure_exits_with_1(run):
    """A script can tell, and the reason is on standard error."""
    result = run("ask", "hello", scripts=[[QuotaError()]])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "All LLM providers failed: [gemini: quota exceeded]\n"


def test_a_failure_as_json_exits_with_1_too(run):
    """The JSON says why, on standard output."""
    result = run("ask", "hello", "--json", scripts=[[QuotaError()]])

    assert result.exit_code == 1
    assert json.loads(result.stdout)["metadata"]["error_kind"] == "quota"


def test_status_lists_the_chain_with_what_is_missing():
    """One line for each provider, with the key to set."""
    app = Flask("testapp")
    app.config |= {
        "ANTHROPIC_API_KEY": "k-12345678",
        "LLM_FALLBACK_PROVIDERS": "claude",
    }
    FlaskLLM(app)
    result = app.test_cli_runner().invoke(args=["llm", "status"])

    assert result.exit_code == 0
    assert result.stdout.split("\n") == [
        "primary   gemini               no API key (set GOOGLE_API_KEY)",
        "fallback  claude               available",
        "",
    ]


def test_status_as_json_has_the_reasons_too(run):
    """The same JSON as the route's, and why somebody would not be asked."""
    result = run("status", "--json")

    assert json.loads(result.stdout) == {
        "primary": {"name": "gemini", "available": True, "reason": None},
        "fallbacks": [],
        "current": "gemini",
    }


def test_the_real_command_works_outside_a_request(tmp_path):
    """`flask --app … llm status` in a process of its own, keys from a .env file."""
    (tmp_path / "mini.py").write_text(
        "from flask import Flask\nfrom flask_llm import FlaskLLM\n"
        "app = Flask(__name__)\nFlaskLLM(app)\n"
    )
    (tmp_path / ".env").write_text("GOOGLE_API_KEY=k-12345678\n")
    result = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "mini", "llm", "status", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "FLASK_SKIP_DOTENV": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    status = json.loads(result.stdout)
    assert status["primary"]["available"]
    (fallback,) = status["fallbacks"]
    assert fallback["reason"] == "no API key (set ANTHROPIC_API_KEY)"
