"""Try one extra where it is installed alone, from the wheel: PROGRAM EXTRA.

Imports the package, lets the doctor look, and makes one call: over HTTP to a server on
loopback, or to the model in the process.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import flask

import flask_llm
from flask_llm import FlaskLLM, LLMFactory
from flask_llm.config.parsers import installed
from flask_llm.testing import StubServer, reply

TEXT = "It works."
MESSAGE = {"role": "assistant", "content": TEXT}
CONTENT = {"role": "model", "parts": [{"text": TEXT}]}
GENERATED = {
    "candidates": [{"content": CONTENT, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 2},
}
ANSWERS = {
    "claude": {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": GENERATED,
    "genai": GENERATED,
    "vertex": GENERATED,
    "openai": {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]},
    "cohere": {
        "id": "1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
    },
    "ollama": {"model": "m", "message": MESSAGE, "done": True, "done_reason": "stop"},
}
PROVIDERS = {
    "": ["claude"],
    "gemini": ["gemini"],
    "openai": ["openai"],
    "cohere": ["cohere"],
    "ollama": ["ollama"],
    "google-genai": ["genai", "vertex"],
    "local": ["local"],
    "redis": ["claude"],
    "prices": ["claude"],
    "metrics": ["claude"],
    "traces": ["claude"],
    "usage": ["claude"],
}
SDKS = {
    "gemini": "google.generativeai",
    "openai": "openai",
    "cohere": "cohere",
    "ollama": "ollama",
    "google-genai": "google.genai",
    "local": "xllamacpp",
    "redis": "redis",
    "prices": "genai_prices",
    "usage": "sqlalchemy",
    "metrics": "prometheus_client",
}


def main(extra: str) -> None:
    """Check that this extra's package is the only one here, and that it is enough."""
    home = Path(flask_llm.__file__).parent
    assert "site-packages" in home.parts, home
    assert (home / "py.typed").is_file()
    found = {name for name, module in SDKS.items() if installed(module)}
    # What traces need comes with anthropic.
    assert found == {extra} - {"", "traces"}, found
    with ExitStack() as stack:
        settings = {"LLM_STATE_URL": redis(stack)} if extra == "redis" else {}
        for provider in PROVIDERS[extra]:
            call(provider, settings, stack)
    if extra == "prices":
        check_prices()
    if extra == "metrics":
        check_metrics()
    if extra == "traces":
        check_traces()
    if extra == "usage":
        check_usage()


def check_usage() -> None:
    """Check that a call is written to the usual file."""
    from flask_llm.testing import FakeProvider

    with tempfile.TemporaryDirectory() as folder:
        app = flask.Flask("logged", instance_path=folder)
        app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider(), "LLM_USAGE": "on"}
        app.config["LLM_FALLBACK_PROVIDERS"] = []
        FlaskLLM(app)
        app.llm.generate_content("Say that it works.")
        assert app.extensions["llm.usage"].flush()
        shown = app.test_cli_runner().invoke(args=["llm", "usage"])
        assert "100.0 %" in shown.output, shown.output
    print("a call was written")


def check_traces() -> None:
    """Check that the package is there, without which the app would not start."""
    app = flask.Flask("traced")
    app.config |= {"LLM_TRACES": "on", "LLM_PRIMARY_PROVIDER": "claude"}
    FlaskLLM(app)
    print(f"spans by {type(app.extensions['llm.tracing']).__name__}")


def check_metrics() -> None:
    """Check that a call is counted."""
    from flask_llm.observe.metrics import exposition
    from flask_llm.testing import FakeProvider

    app = flask.Flask("counted")
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider(), "LLM_METRICS": "on"}
    app.config["LLM_FALLBACK_PROVIDERS"] = []
    FlaskLLM(app)
    assert app.llm.generate_content("Say that it works.").success
    lines = exposition(app)[0].decode().splitlines()
    (line,) = (each for each in lines if each.startswith("flask_llm_calls_total{"))
    print(line)


def check_prices() -> None:
    """Check that an answer of a default model has a cost, by the published list."""
    answer = {**ANSWERS["claude"], "model": "claude-sonnet-5-5"}
    with StubServer(reply(answer)) as server:
        config = {"LLM_CLAUDE_BASE_URL": server.url, "ANTHROPIC_API_KEY": "made-up-key"}
        factory = LLMFactory("claude", [], config=config)
        provider = factory.entries[0].provider
        provider.warm_up(full=True)
        provider.base_url = None  # as if it were Anthropic's; it stays connected
        response = factory.generate_content("Say that it works.")
    assert response.cost_usd, response.metadata
    print(f"{response.model}: ${response.cost_usd:.6f}")


def redis(stack: ExitStack) -> str:
    """Return the address of a Redis that runs until the end."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = stack.enter_context(
        subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    )
    stack.callback(server.terminate)
    while not socket.exists():
        time.sleep(0.05)
    return f"unix://{socket}"


def call(provider: str, settings: dict[str, Any], stack: ExitStack) -> None:
    """Make an app with one provider, let the doctor look at it, and ask."""
    server = stack.enter_context(StubServer(reply(ANSWERS.get(provider, {}))))
    prefix = f"LLM_{provider.upper()}"
    app = flask.Flask("tiny")
    app.config |= settings | {
        "LLM_PRIMARY_PROVIDER": provider,
        "LLM_FALLBACK_PROVIDERS": [],
        **dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY"), "made-up-key"),
        **dict.fromkeys(("GOOGLE_API_KEY", "COHERE_API_KEY"), "made-up-key"),
    }
    if provider != "local":
        app.config[f"{prefix}_BASE_URL"] = server.url
        app.config[f"{prefix}_MODEL"] = "m"
    if provider == "vertex":
        from google.oauth2.credentials import Credentials

        app.config["LLM_VERTEX_PROJECT"] = "p"
        app.config["LLM_VERTEX_CREDENTIALS"] = Credentials(token="made-up-token")
    FlaskLLM(app)
    assert app.test_client().get("/llm/status").json["primary"]["available"]
    response = app.llm.generate_content("Say that it works.", max_tokens=16)
    assert response.success, response.error
    assert provider == "local" or response.content == TEXT, response
    examined = app.test_cli_runner().invoke(args=["llm", "doctor", "--json"])
    report = json.loads(examined.output)
    assert report["ok"], examined.output
    chain = [each for each in report["findings"] if each["area"] == "chain"]
    assert chain[0]["level"] == "ok", chain
    told = {each["advice"] for each in report["findings"]}
    for missing in {"openai", "cohere", "ollama"} - {provider}:
        assert f'pip install "Flask-LLM[{missing}]"' in told, told
    print(f"{provider}: {response.content[:40]!r}, the doctor is content")


if __name__ == "__main__":
    main(*sys.argv[1:])
