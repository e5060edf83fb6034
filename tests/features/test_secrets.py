"""A canary key, planted in the configuration, must come out nowhere."""

import base64
import json
import logging
import pickle
import re
import traceback

import pytest
from flask import Flask
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flask_llm import FlaskLLM, LLMResponse, signals
from flask_llm.errors import BY_KIND, ConfigurationError, ProviderError
from flask_llm.testing import FakeProvider

CANARY = "sk-canary-0123456789abcdef"

ANY_PATH = re.compile(".*")

STATUSES = [200, 204, 302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 529]


@pytest.fixture
def heard(caplog):
    """Every log record at DEBUG level, of every library, and every signal's record."""
    caplog.set_level(logging.DEBUG)
    events = []

    def hear(sender, event):
        events.append(repr(event))

    with (
        signals.attempt_made.connected_to(hear),
        signals.retry_scheduled.connected_to(hear),
        signals.provider_switched.connected_to(hear),
        signals.generation_finished.connected_to(hear),
    ):
        yield lambda: "\n".join([*events, caplog.text, *map(str, caplog.records)])


@pytest.fixture(params=["claude", "gemini"])
def name(request):
    return request.param


@pytest.fixture
def make_app(name):
    """Not called `app`: pytest-flask would push a request context for it."""

    def make(base_url):
        app = Flask("testapp")
        app.config |= {
            "LLM_PRIMARY_PROVIDER": name,
            "LLM_FALLBACK_PROVIDERS": [],
            "LLM_MAX_RETRIES": 1,
            "LLM_TIMEOUT": 0.5,
            "ANTHROPIC_API_KEY": CANARY,
            "GOOGLE_API_KEY": CANARY,
            f"LLM_{name.upper()}_BASE_URL": base_url,
        }
        FlaskLLM(app)
        return app

    return make


def echo(status):
    """A server that repeats the request's headers in its answer, key included."""

    def handler(request: Request) -> Response:
        headers = dict(request.headers)
        assert CANARY in str(headers)
        error = {"type": "x", "code": status, "message": f"refused {headers}"}
        return Response(json.dumps({"error": error}), status=status)

    return handler


def assert_clean(text):
    encoded = base64.b64encode(CANARY.encode()).decode()
    assert CANARY not in text
    assert encoded not in text


def assert_nothing_leaked(app, response: LLMResponse, heard):
    """Look at everything that a call leaves behind."""
    assert not response.success
    assert_clean(heard())
    assert_clean(repr(response))
    assert_clean(json.dumps(response.metadata))
    assert_clean(pickle.dumps(response).decode("latin-1"))
    assert_clean(app.test_client().get("/llm/status").text)
    provider = app.llm.current_provider
    assert_clean(f"{app.llm!r} {provider!r} {app.extensions!r} {app.llm.config!r}")
    with pytest.raises(ProviderError) as caught:
        response.unwrap()
    assert_clean("".join(traceback.format_exception(caught.value)))
    assert_clean(pickle.dumps(caught.value).decode("latin-1"))


@pytest.mark.parametrize("status", STATUSES)
def test_a_server_that_echoes_the_key(make_app, heard, httpserver: HTTPServer, status):
    """Whatever the status, the key is taken out of the provider's own words."""
    httpserver.expect_request(ANY_PATH).respond_with_handler(echo(status))
    wired = make_app(httpserver.url_for(""))

    assert_nothing_leaked(wired, wired.llm.generate_content("hello"), heard)


def test_an_unreachable_server(make_app, heard):
    """Transport errors carry the request, with its headers."""
    wired = make_app("http://127.0.0.1:9")

    assert_nothing_leaked(wired, wired.llm.generate_content("hello"), heard)


def test_an_sdk_exception_is_not_reachable_from_ours(make_app, httpserver: HTTPServer):
    """Error trackers walk __cause__ and __context__; there is nothing to find."""
    httpserver.expect_request(ANY_PATH).respond_with_handler(echo(401))
    wired = make_app(httpserver.url_for(""))

    with pytest.raises(ProviderError) as caught:
        wired.llm.current_provider.generate_content("hello")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert_clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("kind", [*BY_KIND, "unknown"])
def test_every_kind_of_failure_is_redacted(heard, kind):
    """A stranger's provider that repeats the key, raised and returned."""
    error = BY_KIND.get(kind, ProviderError)(f"key {CANARY}", reason=f"bad {CANARY}")
    returned = LLMResponse(False, "", "x", f"key {CANARY}", {"error_kind": kind})
    for step in (error, RuntimeError(f"key {CANARY}"), returned):
        fake = FakeProvider(step)
        app = Flask("testapp")
        app.config |= {
            "LLM_PRIMARY_PROVIDER": fake,
            "LLM_FALLBACK_PROVIDERS": "claude",
            "LLM_MAX_RETRIES": 1,
            "ANTHROPIC_API_KEY": CANARY,
            "LLM_CLAUDE_BASE_URL": "http://127.0.0.1:9",
        }
        FlaskLLM(app)

        assert_nothing_leaked(app, app.llm.generate_content("hello"), heard)


@pytest.mark.parametrize("key", [f"{CANARY} x", f"{CANARY}\nx", f"{CANARY}é"])
def test_a_malformed_key_is_told_without_itself(key, heard):
    """The fault at start names the setting only."""
    app = Flask("testapp")
    app.config["ANTHROPIC_API_KEY"] = key

    with pytest.raises(ConfigurationError) as caught:
        FlaskLLM(app)
    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert_clean("".join(traceback.format_exception(caught.value)) + heard())
