"""Testing a provider and closing its circuit, from a page or a program."""

import re
import time

import pytest
from faultserver import FaultServer, faults
from flask import Flask

from flask_llm import FlaskLLM, signals
from flask_llm.errors import QuotaError, TransientError
from flask_llm.resilience.storage.sqlite import SqliteStorage
from flask_llm.testing import FakeProvider

RESTS = QuotaError(retry_after=600, status=429)
PROGRAM = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
CANARY = "sk-canary-0123456789abcdef"
TEST = "/llm/dashboard/providers/gemini/test"
RESET = "/llm/dashboard/providers/gemini/reset"


def make_app(*script, **config):
    """Return an app whose second provider answers, open to all."""
    app = Flask("testapp")
    app.fakes = [FakeProvider(*script, name="gemini"), FakeProvider(name="claude")]
    app.config |= {
        "LLM_PRIMARY_PROVIDER": app.fakes[0],
        "LLM_FALLBACK_PROVIDERS": app.fakes[1:],
        "LLM_MAX_RETRIES": 1,
    } | config
    FlaskLLM(app, authorize=lambda: True)
    return app


def state(app, name="primary"):
    return app.llm.get_provider_status(detail=True)[name]["state"]


# Testing ---------------------------------------------------------------------------


def test_a_test_tells_a_program_how_the_provider_answered():
    """As JSON, in a few words."""
    answer = make_app("fine").test_client().post(TEST, headers=PROGRAM)

    assert answer.status_code == 200
    assert (answer.json["provider"], answer.json["ok"]) == ("gemini", True)
    assert re.fullmatch(r"answered \(.*\d\.\d s\)", answer.json["text"])


def test_a_test_shows_a_browser_a_page_with_the_way_back():
    """Which works without any script, under the same strict policy."""
    page = make_app("fine").test_client().post(TEST, headers=BROWSER)

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "answered (" in page.text
    assert 'href="/llm/dashboard"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"


def test_a_test_asks_one_provider_alone_even_if_it_rests():
    """Its rest and the other provider stay as they are."""
    app = make_app(RESTS, "fine")
    app.llm.generate_content("hello")
    asked = len(app.fakes[1].calls)
    answer = app.test_client().post(TEST, headers=PROGRAM)

    assert answer.json["ok"]
    assert (len(app.fakes[0].calls), len(app.fakes[1].calls)) == (2, asked)
    assert state(app) == "open"
    assert app.llm.get_provider_status()["current"] == "claude"


def test_a_failed_test_makes_nobody_rest_and_is_told():
    """With kind and reason; it stays out of the numbers of the app."""
    app = make_app(RESTS)
    heard = []
    hear = lambda sender, event: heard.append(event)  # noqa: E731
    with (
        signals.generation_finished.connected_to(hear, sender=app),
        signals.attempt_made.connected_to(hear, sender=app),
        signals.circuit_changed.connected_to(hear, sender=app),
    ):
        answer = app.test_client().post(TEST, headers=PROGRAM)

    assert (answer.status_code, answer.json["ok"]) == (200, False)
    assert answer.json["text"] == "quota: quota exceeded"
    assert state(app) == "closed"
    assert heard == []


def test_a_test_asks_a_real_sdk_in_few_tokens_and_shows_no_key():
    """Over HTTP; the server repeats the key in its error."""
    with FaultServer() as server:
        server.script("anthropic", faults.bad_key())
        app = make_app(
            LLM_PRIMARY_PROVIDER="claude:claude-sonnet-5-5",
            LLM_FALLBACK_PROVIDERS=[],
            ANTHROPIC_API_KEY=CANARY,
            LLM_CLAUDE_BASE_URL=server.url,
        )
        path = "/llm/dashboard/providers/claude%3Aclaude-sonnet-5-5/test"
        answer = app.test_client().post(path, headers=PROGRAM)

        assert len(server.attempts()) == 1
    assert answer.json["text"] == "auth: API key rejected (check ANTHROPIC_API_KEY)"
    assert CANARY not in answer.text


def test_words_of_a_provider_stay_text():
    """Whatever an error or a name says, it is no markup."""
    evil = "<script>alert(1)</script>"
    app = make_app(
        LLM_PRIMARY_PROVIDER=FakeProvider(TransientError(evil), name=f"x/{evil}"),
        LLM_FALLBACK_PROVIDERS=[],
    )
    with app.test_request_context():
        path = app.url_for("flask_llm.test_provider", name=f"x/{evil}")
    page = app.test_client().post(path, headers=BROWSER)

    assert page.status_code == 200
    assert evil not in page.text
    assert page.text.count("&lt;script&gt;") >= 2


# Resetting -------------------------------------------------------------------------


def test_a_reset_lets_the_next_call_ask_again():
    """And those who watch circuits are told."""
    app = make_app(RESTS, "back")
    app.llm.generate_content("hello")
    assert state(app) == "open"
    heard = []
    hear = lambda sender, event: heard.append(event)  # noqa: E731
    with signals.circuit_changed.connected_to(hear, sender=app):
        answer = app.test_client().post(RESET, headers=PROGRAM)

    told = "in this process the next call asks it again; others know for themselves"
    assert answer.json == {"provider": "gemini", "ok": True, "text": told}
    assert state(app) == "closed"
    assert [(each.provider, each.until) for each in heard] == [("gemini", None)]
    assert app.llm.generate_content("hello").content == "back"


def test_a_reset_of_a_closed_circuit_is_no_news():
    """It is answered, and nobody hears of a change that was none."""
    app = make_app()
    heard = []
    hear = lambda sender, event: heard.append(event)  # noqa: E731
    with signals.circuit_changed.connected_to(hear, sender=app):
        assert app.test_client().post(RESET, headers=PROGRAM).json["ok"]

    assert heard == []


def test_a_reset_reaches_the_shared_store(tmp_path):
    """Every process that shares it asks the provider again."""
    file = tmp_path / "llm.db"
    app = make_app(RESTS, "back", LLM_STATE_URL=f"sqlite:///{file}")
    app.llm.generate_content("hello")
    (entry, _) = app.llm.entries
    store = SqliteStorage(file)
    until = time.monotonic() + 30.0
    while not store.read([entry.circuit_key])[0].until:  # written by a thread
        assert state(app) == "open"  # has a store tried again that was late
        assert time.monotonic() < until
        time.sleep(0.01)
    answer = app.test_client().post(RESET, headers=PROGRAM)

    assert answer.json["text"] == "the next call asks it again"
    assert not store.read([entry.circuit_key])[0].until
    assert state(app) == "closed"


def test_a_reset_that_does_not_reach_the_store_says_so(tmp_path):
    """It holds in this process, and nobody believes that it holds elsewhere."""
    folder = tmp_path / "gone"
    folder.mkdir()
    app = make_app(RESTS, LLM_STATE_URL=f"sqlite:///{folder}/llm.db")
    folder.rmdir()
    app.llm.generate_content("hello")
    answer = app.test_client().post(RESET, headers=PROGRAM)

    assert answer.json["ok"] is False
    assert answer.json["text"].startswith("LLM_STATE_URL: sqlite does not answer (")
    assert state(app) == "closed"


# Both -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [TEST, RESET])
def test_an_action_is_a_post(path):
    """No link and no image can be one."""
    client = make_app().test_client()
    for method in ("get", "put", "delete"):
        assert getattr(client, method)(path).status_code == 405


@pytest.mark.parametrize(
    "path", ["/llm/dashboard/providers/nobody/test", RESET.replace("gemini", "x/y")]
)
def test_who_is_not_in_the_chain_is_not_found(path):
    """As an error that says so."""
    answer = make_app().test_client().post(path, headers=PROGRAM)

    assert answer.status_code == 404
    assert answer.json == {"error": "No such provider is in the chain."}


def test_without_the_dashboard_there_are_no_actions():
    """LLM_DASHBOARD=off takes its routes away."""
    client = make_app(LLM_DASHBOARD="off").test_client()

    assert client.post(TEST).status_code == 404
    assert client.post(RESET).status_code == 404
    assert client.get("/llm/dashboard").status_code == 404
    assert client.get("/llm/status").status_code == 200
