"""The demo in the terminal."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

from example_app import __main__ as demo
from example_app import create_app
from example_app.mails import SAMPLES
from flask_llm import LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.providers.local import LocalProvider
from flask_llm.testing import FakeProvider

ROOT = Path(__file__).resolve().parents[3]
USAGE = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}


@pytest.fixture
def play(monkeypatch, capsys):
    """Return a function that plays the demo with other providers."""
    # Handlers and levels would outlive the test; a process of its own shows them below.
    monkeypatch.setattr(demo, "log_to_stdout", lambda: None)

    def play(*providers, terminal=False):
        primary, *fallbacks = providers
        chain = {"LLM_PRIMARY_PROVIDER": primary, "LLM_FALLBACK_PROVIDERS": fallbacks}
        monkeypatch.setattr(
            demo, "create_app", lambda config: create_app(config | chain)
        )
        monkeypatch.setattr(demo.sys.stdin, "isatty", lambda: terminal, raising=False)
        return demo.main(), capsys.readouterr().out

    return play


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_generation_is_shown(play):
    """The demo shows mail, label, reason, provider, model and tokens, and exits 0."""
    metadata = {"model": "big-1", "usage": USAGE}
    code, out = play(FakeProvider(LLMResponse(True, "payment", "big", None, metadata)))
    assert code == 0
    assert SAMPLES[0].subject in out
    assert "Label:   payment" in out
    assert "Reason:  About an invoice, a charge or a refund." in out
    assert re.search(r"from fake \(big-1 · 12 \+ 3 tokens · \d+\.\d\d s\)", out)


def test_the_status_is_shown(play):
    """The demo ends with the status, as JSON."""
    _, out = play(FakeProvider("payment", name="one"), FakeProvider(name="two"))
    assert json.loads(out[out.index("{") :]) == {
        "primary": {"name": "one", "available": True},
        "fallbacks": [{"name": "two", "available": True}],
        "current": "one",
    }


def test_who_did_not_answer_is_shown(play):
    """The demo tells of the fallback."""
    _, out = play(FakeProvider(QuotaError()), FakeProvider("payment", name="two"))
    assert "Attempt: fake: quota exceeded" in out
    assert "Answer:  from two" in out


def test_an_answer_off_the_list_is_no_failure(play):
    """The model answered; that the label is "unknown" is the service's decision."""
    code, out = play(FakeProvider("REFUND APPROVED"))
    assert code == 0
    assert "Label:   unknown" in out


def test_no_answer_is_a_failure(play):
    """The demo exits 1 with the reason, and serves no page, if nobody answers."""
    code, out = play(FakeProvider(QuotaError()), terminal=True)
    assert code == 1
    assert out.endswith(
        "The generation failed. All LLM providers failed: [fake: quota exceeded]\n"
    )


def test_in_a_terminal_the_page_is_served(play, monkeypatch):
    """A person gets the page after the generation; a pipe does not wait for one."""
    served = []
    monkeypatch.setattr(demo, "serve", served.append)
    play(FakeProvider("payment"))
    assert served == []
    play(FakeProvider("payment"), terminal=True)
    assert len(served) == 1


def test_without_standard_input(play, monkeypatch):
    """A demo started without any standard input does not stumble over it."""
    monkeypatch.setattr(demo, "show_status", lambda: setattr(demo.sys, "stdin", None))
    monkeypatch.setattr(demo.sys, "stdin", demo.sys.stdin)
    assert play(FakeProvider("payment"))[0] == 0


def test_interrupting_the_generation(play):
    """Ctrl-C during the generation ends the demo without a traceback."""

    def interrupt(prompt):
        raise KeyboardInterrupt

    assert play(FakeProvider(interrupt))[0] == 130


@pytest.mark.skipif(
    version("flask").startswith("3.0"), reason="TRUSTED_HOSTS came with Flask 3.1"
)
def test_other_hosts_are_refused(play, monkeypatch):
    """A page of another name that points to this machine cannot use the demo."""
    apps = []
    monkeypatch.setattr(demo, "serve", apps.append)
    play(FakeProvider("payment"), terminal=True)
    client = apps[0].test_client()
    assert client.get("/", base_url="http://127.0.0.1:5000").status_code == 200
    assert client.get("/", base_url="http://evil.example").status_code == 400


def test_a_port_in_use_is_passed_over(monkeypatch):
    """The page is served on the next port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        monkeypatch.setattr(demo, "PORTS", (busy.getsockname()[1], 0))
        with demo.listen() as listener:
            assert listener.getsockname()[1] != busy.getsockname()[1]


def test_no_port_is_free(monkeypatch):
    """Without any free port there is one clear error."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        monkeypatch.setattr(demo, "PORTS", (busy.getsockname()[1],))
        with pytest.raises(OSError, match=r"no port of 127\.0\.0\.1 is free"):
            demo.listen()


# Whoever is started in the background may ignore Ctrl-C, and its children with it.
SERVE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from example_app import __main__ as demo, create_app
from flask_llm.testing import FakeProvider
demo.PORTS = (0,)
chain = {"LLM_PRIMARY_PROVIDER": FakeProvider(), "LLM_FALLBACK_PROVIDERS": []}
demo.serve(create_app(chain))
"""


def test_the_page_is_served_until_ctrl_c():
    """The printed address shows the inbox, and Ctrl-C ends it without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = next(each for each in process.stdout if "http://" in each)
            with urllib.request.urlopen(line.split()[0], timeout=60) as page:
                assert SAMPLES[0].subject in page.read().decode()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
def test_without_any_key_or_model(monkeypatch):
    """The program exits 1 and names the keys to set, its log lines among the rest."""
    monkeypatch.setenv("LLM_FALLBACK_PROVIDERS", "claude")
    ended = run("-m", "example_app")
    assert ended.returncode == 1
    assert "INFO: LLMFactory initialized with primary provider: gemini" in ended.stdout
    assert "ERROR: All LLM providers failed:" in ended.stdout
    assert "no API key (set GOOGLE_API_KEY)" in ended.stdout
    assert "no API key (set ANTHROPIC_API_KEY)" in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.local
def test_a_real_generation():
    """With no key at all the local model answers, and the program exits 0."""
    if not LocalProvider().is_available():
        pytest.skip(f"no local model: {LocalProvider().unavailable_reason()}")
    ended = run("-m", "example_app")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "INFO: LLMFactory initialized with primary provider: gemini" in ended.stdout
    assert "INFO: Using local for content generation" in ended.stdout
    assert "from local (SmolLM2-135M" in ended.stdout
    assert '"current": "local"' in ended.stdout
    assert ended.stderr == ""
