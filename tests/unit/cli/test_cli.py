import json
import os
import subprocess
import sys
import time
from functools import partial

import pytest
from click import echo
from commands import CANARY, KEYS, MINI, invoke, run_flask
from flask import Flask
from flask.cli import AppGroup
from wire import closed_port, python

from flask_llm import FlaskLLM, LLMFactory, LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.resilience.circuit_breaker import CLOSED
from flask_llm.resilience.storage.sqlite import SqliteStorage
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


def test_ask_tells_what_it_has_cost(run, monkeypatch):
    """Where that is known, behind the tokens."""
    monkeypatch.setenv("LLM_PRICES", '{"gemini": {"input": 1, "output": 2}}')
    result = run("ask", "is this spam?")

    assert result.stderr.startswith("(gemini, fake-1, 3+4 tokens, $0.000011, 0.0")


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


def test_an_answer_that_breaks_off_exits_with_1(run):
    """What had come is printed, and who broke off is told."""
    result = run("ask", "hello", scripts=[[["one ", QuotaError()]]])

    assert result.exit_code == 1
    assert result.stdout == "one \n"
    assert result.stderr == "gemini broke off its answer: quota exceeded\n"


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


def test_status_has_columns_for_long_names():
    """The states stand below each other."""
    chain = {
        "LLM_PRIMARY_PROVIDER": "openai:ft:gpt-6.1-terra:acme::8kd1",
        "LLM_FALLBACK_PROVIDERS": "claude",
    }
    lines = invoke(chain, "status").stdout.splitlines()

    assert {line.index("no API key") for line in lines} == {45}


def test_status_as_json_has_the_reasons_too(run):
    """The same JSON as the route's, and why somebody would not be asked."""
    result = run("status", "--json")

    found = json.loads(result.stdout)
    assert (found["fallbacks"], found["current"]) == ([], "gemini")
    primary = found["primary"]
    assert (primary["available"], primary["reason"]) == (True, None)
    assert primary["state"] == "closed"


@pytest.mark.slow
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


# models -------------------------------------------------------------------------


def claude_model(name):
    return {"type": "model", "id": name, "display_name": name, "created_at": None}


def gemini_model(name, *methods):
    return {"name": f"models/{name}", "supportedGenerationMethods": methods}


@pytest.fixture
def lists(httpserver):
    """Serve both providers' lists; return the configuration for it."""
    names = ["claude-sonnet-5-5", "claude-haiku-5-5"]
    httpserver.expect_request("/v1/models").respond_with_json(
        {"data": [claude_model(name) for name in names], "has_more": False}
    )
    found = [
        gemini_model("gemini-3.8-flash", "generateContent", "countTokens"),
        gemini_model("text-embedding-005", "embedContent"),
    ]
    httpserver.expect_request("/v1beta/models").respond_with_json({"models": found})
    url = httpserver.url_for("")
    return KEYS | {"LLM_GEMINI_BASE_URL": url, "LLM_CLAUDE_BASE_URL": url}


def test_models_lists_what_each_provider_of_the_chain_offers(lists):
    """With the configured one marked, and only those that generate text."""
    result = invoke(lists, "models")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "gemini (* configured: gemini-3.8-flash)",
        "  * gemini-3.8-flash",
        "claude (* configured: claude-sonnet-5-5)",
        "    claude-haiku-5-5",
        "  * claude-sonnet-5-5",
    ]


def test_a_configured_model_that_is_not_offered_is_told(lists):
    """On standard error, since the list is for pipes."""
    chain = {"LLM_PRIMARY_PROVIDER": "claude:claude-9", "LLM_FALLBACK_PROVIDERS": []}
    result = invoke(lists | chain, "models")

    assert result.exit_code == 0
    assert "    claude-sonnet-5-5" in result.stdout.splitlines()
    assert result.stderr == "claude-9 is configured, but not offered\n"
    assert invoke(lists, "models").stderr == ""


def test_models_asks_once_for_two_models_of_one_provider(lists, httpserver):
    """Both are marked."""
    chain = {"LLM_FALLBACK_PROVIDERS": "claude,claude:claude-haiku-5-5"}
    result = invoke(lists | chain, "models", "claude", "--json")

    names = ["claude-haiku-5-5", "claude-sonnet-5-5"]
    assert json.loads(result.stdout) == [
        {
            "provider": "claude",
            "configured": ["claude-sonnet-5-5", "claude-haiku-5-5"],
            "models": names,
            "error": None,
        }
    ]
    assert len(httpserver.log) == 1


def test_models_of_a_provider_outside_the_chain(lists):
    """A newcomer looks before choosing; nobody else is asked."""
    alone = {"LLM_PRIMARY_PROVIDER": "claude", "LLM_FALLBACK_PROVIDERS": []}
    result = invoke(lists | alone, "models", "gemini")

    assert result.stdout.splitlines() == [
        "gemini (* configured: gemini-3.8-flash)",
        "  * gemini-3.8-flash",
    ]


def test_models_of_an_ollama_server_before_one_is_chosen(httpserver):
    """The list is what one chooses from, so no model need be set for it."""
    pulled = {"models": [{"model": "qwen3:8b"}]}
    httpserver.expect_request("/api/tags").respond_with_json(pulled)
    config = {"LLM_OLLAMA_BASE_URL": httpserver.url_for("")}
    result = invoke(config, "models", "ollama")

    assert result.exit_code == 0
    assert result.output.split() == ["ollama", "(*", "configured:", "-)", "qwen3:8b"]


def test_models_of_an_endpoint(lists, httpserver):
    """A name of LLM_PROVIDERS is a name like any other, with its own address."""
    eu = {
        "provider": "claude",
        "api_key": CANARY,
        "base_url": httpserver.url_for(""),
        "model": "claude-haiku-5-5",
    }
    config = {"LLM_PROVIDERS": {"claude-eu": eu}}
    result = invoke(config, "models", "claude-eu")

    assert result.stdout.splitlines() == [
        "claude-eu (* configured: claude-haiku-5-5)",
        "  * claude-haiku-5-5",
        "    claude-sonnet-5-5",
    ]


def test_a_provider_that_cannot_list_says_why_on_standard_error(lists):
    """The others are listed, and that is a success."""
    result = invoke(lists | {"GOOGLE_API_KEY": ""}, "models")

    assert result.exit_code == 0
    assert result.stderr == "gemini: no API key (set GOOGLE_API_KEY)\n"
    assert result.stdout.startswith("claude (")


def test_models_fails_if_nobody_answers(lists):
    """Or the one that was named; what a server says may not show the key."""
    dead = {"LLM_GEMINI_BASE_URL": closed_port(), "LLM_CLAUDE_BASE_URL": closed_port()}
    result = invoke(lists | dead, "models")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "claude: connection" in result.stderr
    assert invoke(lists | {"GOOGLE_API_KEY": ""}, "models", "gemini").exit_code == 1


def test_models_of_an_unknown_provider(lists):
    """The known names are told, as everywhere."""
    result = invoke(lists, "models", "gemimi")

    assert result.exit_code == 2
    assert "names no known provider: 'gemimi'; did you mean 'gemini'?" in result.stderr


# reset ----------------------------------------------------------------------------


def resting(url):
    """Return the configuration of an app, after its first provider began to rest."""
    shared = {
        "LLM_PRIMARY_PROVIDER": FakeProvider(
            QuotaError(retry_after=600), name="gemini"
        ),
        "LLM_FALLBACK_PROVIDERS": [FakeProvider(name="claude")],
        "LLM_STATE_URL": url,
    }
    app = Flask("server")
    app.config |= shared
    FlaskLLM(app)
    app.llm.generate_content("hello")
    state = app.llm.get_provider_status(detail=True)["primary"]["state"]
    assert state == "open"
    return shared


def test_reset_reaches_the_server_through_the_shared_store(tmp_path):
    """The command is a process of its own; its server asks the provider again."""
    store = SqliteStorage(tmp_path / "llm.db")
    shared = resting(f"sqlite:///{tmp_path}/llm.db")
    key = LLMFactory(config=shared).entries[0].circuit_key
    wait_for(lambda: store.read([key])[0].until)
    result = invoke(shared, "reset", "gemini")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "gemini: the next call asks it again\n"
    assert store.read([key]) == [CLOSED]


def wait_for(condition):
    """Wait until a thread that writes circuits has done so."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_reset_says_that_it_cannot_reach_circuits_in_memory():
    """Each process has its own; the command would only reset itself."""
    result = invoke(resting("memory://"), "reset", "gemini")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        "Error: with LLM_STATE_URL=memory:// each process has circuits of its own"
    )


def test_reset_of_a_store_that_does_not_answer_fails(tmp_path):
    """A script can tell."""
    folder = tmp_path / "gone"
    folder.mkdir()
    config = {"LLM_STATE_URL": f"sqlite:///{folder}/llm.db"}
    app = Flask("testapp")
    app.config |= config
    FlaskLLM(app)
    folder.rmdir()
    result = app.test_cli_runner().invoke(args=["llm", "reset", "gemini"])

    assert result.exit_code == 1
    assert "LLM_STATE_URL: sqlite does not answer (" in result.stderr


def test_reset_of_a_provider_outside_the_chain(tmp_path):
    """The chain is told."""
    config = {"LLM_STATE_URL": f"sqlite:///{tmp_path}/llm.db"}
    result = invoke(config, "reset", "gemimi")

    assert result.exit_code == 2
    assert "no provider 'gemimi' is in the chain (it has: gemini, claude)" in (
        result.stderr
    )


# as a plug-in of `flask` ------------------------------------------------------------


@pytest.fixture
def flask(tmp_path):
    return partial(run_flask, tmp_path)


@pytest.mark.slow
def test_other_commands_tell_a_wrong_configuration_without_a_traceback(flask):
    """One line for each fault."""
    result = flask("llm", "status", LLM_TIMEOUT="soon")

    assert result.returncode == 1
    assert result.stderr.startswith("Error: Flask-LLM cannot work with this config")
    assert "  - LLM_TIMEOUT must be seconds" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ask", "status", "models", "reset"])
def test_without_the_extension_the_commands_say_so(flask, command):
    """Since they are there for every app where the package is installed."""
    arguments = ["hello"] if command in {"ask", "reset"} else []
    result = flask("llm", command, *arguments, source=MINI)

    assert result.returncode == 1
    assert result.stderr == (
        "Error: This app has no FlaskLLM: call FlaskLLM(app) first.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status"], ["doctor"], ["doctor", "--help"]])
def test_the_app_is_loaded_once_at_most(flask, tmp_path, command):
    """A factory may take seconds, or print; help needs no app at all."""
    source = (
        "import pathlib\nfrom flask import Flask\nfrom flask_llm import FlaskLLM\n"
        "def create_app():\n"
        "    with pathlib.Path('calls').open('a') as file:\n"
        "        file.write('x')\n"
        "    app = Flask('mini')\n"
        "    FlaskLLM(app)\n"
        "    return app\n"
    )
    assert flask("llm", *command, source=source, **KEYS).returncode == 0

    calls = tmp_path / "calls"
    expected = "" if "--help" in command else "x"
    assert (calls.read_text() if calls.exists() else "") == expected


@pytest.mark.slow
def test_help_of_other_commands_imports_no_sdk():
    """The entry point is loaded by every `flask` command of every app."""
    told = python("""if True:
        import sys
        from flask.cli import main
        sys.argv = ["flask", "--help"]
        try:
            main()
        except SystemExit:
            pass
        assert "flask_llm.cli" in sys.modules
        heavy = {"anthropic", "openai", "cohere", "ollama", "xllamacpp", "redis",
                 "google.generativeai", "google.genai", "flask_llm.cli.doctor"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """)
    assert "Ask language models" in told


def test_the_help_lists_each_command_with_its_own_help(run):
    """Though they are imported only when it is asked for."""
    listed = dict(
        line.split(maxsplit=1)
        for line in run("--help").stdout.partition("Commands:")[2].splitlines()
        if line.strip()
    )

    assert set(listed) == {"ask", "doctor", "models", "reset", "status", "usage"}
    assert all(text.endswith(".") for text in listed.values())


@pytest.mark.slow
def test_an_app_starts_without_its_commands():
    """Who runs none of them does not wait for their import."""
    python("""if True:
        import sys
        from flask import Flask
        from flask_llm import FlaskLLM
        app = Flask("x")
        FlaskLLM(app)
        assert "llm" in app.cli.commands
        late = {"flask_llm.cli.commands", "flask_llm.cli.usage",
                "flask_llm.observe.usage"}
        assert not late & set(sys.modules), late & set(sys.modules)
    """)


class TestGroupOfTheApp:
    """An app that has commands `flask llm …` of its own keeps them."""

    def made(self, command):
        app = Flask("testapp")
        app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider("hi")}
        app.config["LLM_FALLBACK_PROVIDERS"] = []
        app.cli.add_command(command)
        FlaskLLM(app)
        return app.test_cli_runner()

    def test_both_are_there(self):
        own = AppGroup("llm")
        own.command("reindex")(lambda: echo("reindexed"))
        runner = self.made(own)
        assert runner.invoke(args=["llm", "reindex"]).output == "reindexed\n"
        assert "hi" in runner.invoke(args=["llm", "ask", "hello"]).output

    def test_the_app_s_own_comes_first(self, caplog):
        own = AppGroup("llm")
        own.command("ask")(lambda: echo("asked"))
        runner = self.made(own)
        assert runner.invoke(args=["llm", "ask"]).output == "asked\n"
        assert "There is no flask llm ask: the app has a command" in caplog.text
