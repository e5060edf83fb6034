"""What a load balancer asks for."""

import socket

import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

RESTS = QuotaError(retry_after=600, status=429)


def client_of(*fakes):
    app = Flask("testapp")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": fakes[0],
        "LLM_FALLBACK_PROVIDERS": [*fakes[1:]],
        "LLM_MAX_RETRIES": 1,
    }
    FlaskLLM(app)
    client = app.test_client()
    client.ask = lambda: app.llm.generate_content("hello")
    return client


def test_a_process_is_alive_whatever_its_providers_do():
    """Restarting it would bring no provider back."""
    client = client_of(FakeProvider(RESTS))
    client.ask()
    answer = client.get("/llm/health/live")

    assert (answer.status_code, answer.json) == (200, {"live": True})
    assert answer.headers["Cache-Control"] == "no-store"


def test_ready_as_long_as_one_provider_can_answer():
    """503 as soon as each rests; the load balancer sends requests elsewhere."""
    first = FakeProvider(RESTS, name="first")
    second = FakeProvider("hi", RESTS, name="second")
    client = client_of(first, second)
    seen = []
    for _ in range(3):
        answer = client.get("/llm/health/ready")
        seen.append((answer.status_code, answer.json))
        client.ask()

    assert seen == [
        (200, {"ready": True}),
        (200, {"ready": True}),
        (503, {"ready": False}),
    ]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_chain_without_any_key_is_not_ready():
    """It cannot answer a single prompt."""
    app = Flask("testapp")
    FlaskLLM(app)

    assert app.test_client().get("/llm/health/ready").status_code == 503


def test_a_provider_that_is_not_set_up_does_not_count():
    """Only the other one, which rests."""
    client = client_of(FakeProvider(available=False, name="a"), FakeProvider(RESTS))
    assert client.get("/llm/health/ready").status_code == 200
    client.ask()

    assert client.get("/llm/health/ready").status_code == 503


@pytest.mark.parametrize("path", ["live", "ready"])
def test_health_makes_no_network_call(path, monkeypatch):
    """It may be asked every second by ten load balancers."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    app = Flask("testapp")
    app.config |= {"GOOGLE_API_KEY": "k-12345678", "ANTHROPIC_API_KEY": "k-12345678"}
    FlaskLLM(app)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert app.test_client().get(f"/llm/health/{path}").status_code == 200
