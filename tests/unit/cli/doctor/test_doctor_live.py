"""`flask llm doctor --live`: real SDKs, a server that fails as told, nothing to pay."""

import json
import os
import pty
from collections import Counter

import pytest
from commands import KEYS, invoke
from faultserver import FaultServer, faults


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def wired(server, **more):
    return {**KEYS, "LLM_GEMINI_BASE_URL": server.url} | {
        "LLM_CLAUDE_BASE_URL": server.url,
        "LLM_MAX_RETRIES": 5,
        **more,
    }


def live(config, *args):
    """Run the paid calls without a question; return findings by provider."""
    result = invoke(config, "doctor", "--live", "--yes", "--json", *args)
    found = json.loads(result.stdout)
    assert result.exit_code == (0 if found["ok"] else 1)
    lives = [each for each in found["findings"] if each["area"] == "live"]
    return {(each["subject"], each["level"]): each["message"] for each in lives}


def test_live_asks_each_provider_once(server):
    """In few tokens, and says who answered, how fast, and what was left out."""
    found = live(wired(server))

    assert found["claude", "ok"].startswith("answered (claude-sonnet-5-5, 12+7 tokens")
    assert found["gemini", "ok"].startswith("answered (gemini-3.8-flash")
    assert found["claude", "note"].startswith("temperature is not sent to claude-")
    asked = Counter(attempt.wire for attempt in server.attempts())
    assert asked == {"anthropic": 1, "gemini": 1}


def test_a_failing_live_call_is_an_error_and_tried_once(server):
    """With kind and reason; LLM_MAX_RETRIES does not multiply what it costs."""
    server.script("anthropic", faults.bad_key())
    server.script("gemini", faults.status(503))
    found = live(wired(server))

    assert found["claude", "error"] == (
        "auth: API key rejected (check ANTHROPIC_API_KEY)"
    )
    assert found["gemini", "error"].startswith("transient: ")
    assert len(server.attempts()) == 2


def test_a_server_that_takes_two_parameters_less_is_no_error(server):
    """What it refuses is learned, which is free, before it is judged."""
    server.script("openai", faults.rejects("temperature", "max_tokens"))
    found = live(
        {
            "LLM_PRIMARY_PROVIDER": "openai",
            "LLM_FALLBACK_PROVIDERS": "none",
            "LLM_OPENAI_BASE_URL": f"{server.url}/v1",
        }
    )
    assert found["openai", "ok"].startswith("answered")
    assert len(server.attempts()) == 3


def test_a_model_that_only_thinks_is_a_warning(server):
    """It lives: the key is right, and the model is there."""
    server.script("gemini", faults.thought_only)
    found = live(wired(server))

    assert found["gemini", "warning"].startswith("bad_answer: thinking used up")
    assert found["claude", "ok"]


def test_live_leaves_the_apps_own_circuits_alone(server, tmp_path):
    """A provider that rests is asked all the same, and its failure counts nowhere."""
    url = f"sqlite:///{tmp_path}/llm.db"
    server.script("anthropic", faults.bad_key())
    config = wired(server, LLM_STATE_URL=url, LLM_PRIMARY_PROVIDER="claude")

    assert "auth" in live(config)["claude", "error"]
    assert "auth" in live(config)["claude", "error"]
    assert "rest" not in invoke(config, "status").stdout


def test_live_skips_who_cannot_be_asked(server):
    """The chain's own findings say why."""
    found = live(wired(server, GOOGLE_API_KEY=""))

    assert {name for name, _ in found} == {"claude"}


def test_live_refuses_where_nobody_can_answer_its_question(server):
    """A cron job must not spend money by accident."""
    result = invoke(wired(server), "doctor", "--live")

    assert result.exit_code == 2
    assert "--live asks before it costs money: add --yes" in result.stderr
    assert server.attempts() == []


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "calls"), [(b"n\n", 0), (b"y\n", 2)])
def test_live_asks_first_on_a_terminal(flask_process, server, answer, calls):
    """After a "no" the rest of the doctor still runs, and JSON stays JSON."""
    main, terminal = pty.openpty()
    os.write(main, answer)
    try:
        config = {name: str(value) for name, value in wired(server).items()}
        arguments = ("llm", "doctor", "--live", "--json")
        result = flask_process(*arguments, stdin=terminal, **config)
    finally:
        os.close(main)
        os.close(terminal)

    question = "Ask gemini, claude once each? This costs a fraction of a cent."
    assert question in result.stderr
    assert json.loads(result.stdout)["ok"]
    assert len(server.attempts()) == calls
