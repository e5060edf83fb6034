import socket

import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider
from flask_llm.web import api_bp


def make_app(**config):
    app = Flask("testapp")
    app.config |= config
    FlaskLLM(app)
    return app


def test_status_is_the_documented_json():
    """No key more, no key less, with status 200, after a switch to the fallback."""
    app = make_app(
        LLM_PRIMARY_PROVIDER=FakeProvider(QuotaError(), name="gemini"),
        LLM_FALLBACK_PROVIDERS=[FakeProvider(name="claude")],
    )
    app.llm.generate_content("hello")
    answer = app.test_client().get("/llm/status")

    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    assert answer.json == {
        "primary": {"name": "gemini", "available": True},
        "fallbacks": [{"name": "claude", "available": True}],
        "current": "claude",
    }


def test_status_makes_no_network_call(monkeypatch):
    """A health check may ask every second, with real providers and keys set."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    app = make_app(
        GOOGLE_API_KEY="k-12345678",
        ANTHROPIC_API_KEY="k-12345678",
        LLM_FALLBACK_PROVIDERS="claude,local",
    )
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    found = app.test_client().get("/llm/status").json
    assert found["primary"] == {"name": "gemini", "available": True}
    assert found["fallbacks"][0] == {"name": "claude", "available": True}


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_status_is_for_reading_only(method):
    """Nothing can be changed there."""
    assert getattr(make_app().test_client(), method)("/llm/status").status_code == 405


def test_the_prefix_can_be_chosen():
    """LLM_URL_PREFIX moves the blueprint."""
    client = make_app(LLM_URL_PREFIX="/internal/models").test_client()

    assert client.get("/internal/models/status").status_code == 200
    assert client.get("/llm/status").status_code == 404


def test_one_blueprint_serves_many_apps():
    """`api_bp` is a module's object, and each app has its own status."""
    one = make_app(LLM_PRIMARY_PROVIDER="claude")
    two = make_app(LLM_PRIMARY_PROVIDER="local", LLM_URL_PREFIX="/two")

    assert one.blueprints["flask_llm"] is two.blueprints["flask_llm"] is api_bp
    assert one.test_client().get("/llm/status").json["current"] == "claude"
    assert two.test_client().get("/two/status").json["current"] == "local"
