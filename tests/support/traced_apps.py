"""Fixtures for the tests of spans: a real SDK that keeps them, apps that make them."""

import pytest
from faultserver import FaultServer
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from traces import Traces

from flask_llm import FlaskLLM


@pytest.fixture
def traces(monkeypatch, caplog):
    """The spans of a test, all of which must be ended, without a word in the log."""
    traces = Traces()
    provider = TracerProvider()
    provider.add_span_processor(traces)
    # The public door opens only once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield traces
    provider.shutdown()
    assert not traces.open, [each.name for each in traces.open.values()]
    told = [each for each in caplog.get_records("call") if "telemetry" in each.name]
    assert not told


@pytest.fixture
def make_app(traces):
    """Not called `app`: pytest-flask would push a request context for it."""

    def make(*chain, **config):
        app = Flask("traced")
        app.config |= {
            "LLM_TRACES": True,
            "LLM_DASHBOARD": False,
            "LLM_PRIMARY_PROVIDER": chain[0],
            "LLM_FALLBACK_PROVIDERS": list(chain[1:]),
            "LLM_RETRY_DELAY": 0.001,
            "LLM_WARM_UP": "off",
            **config,
        }
        FlaskLLM(app)
        return app

    return make


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def instrumented(monkeypatch):
    """Make a span of each HTTP request where OpenTelemetry's instrumentations do."""
    import httpx
    import httpx2
    import requests

    tracer = trace.get_tracer("http")

    def wrap(cls, name):
        send = getattr(cls, name)

        def traced(self, request, *args, **kwargs):
            with tracer.start_as_current_span(request.method, kind=SpanKind.CLIENT):
                return send(self, request, *args, **kwargs)

        monkeypatch.setattr(cls, name, traced)

    wrap(httpx.HTTPTransport, "handle_request")
    wrap(httpx2.HTTPTransport, "handle_request")
    wrap(requests.Session, "send")
