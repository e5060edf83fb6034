"""What observers cost: calls that are watched, beside calls that nobody watches."""

import itertools
from typing import Any

from flask import Flask

from flask_llm import FlaskLLM, LLMFactory, LLMResponse
from flask_llm.testing import FakeProvider

from .measure import Call
from .upstream import Upstream

OFF = {"LLM_DASHBOARD": False}
METRICS = OFF | {"LLM_METRICS": True}

_PROMPT = "Classify this email in one word: please refund my second payment."
_NUMBERS = itertools.count()

ANSWER = LLMResponse(
    success=True,
    content="payment",
    provider_name="fake",
    metadata={
        "model": "m-known",
        "usage": {"input_tokens": 120, "output_tokens": 7, "total_tokens": 127},
        "finish_reason": "stop",
    },
)
"""An answer with all that observers count; each call gets a copy of it."""


def everything(to: Upstream) -> dict[str, Any]:
    """Return the settings that switch all observers on, with SQLite."""
    return {
        "LLM_USAGE_URL": f"sqlite:///{to.folder}/usage-{next(_NUMBERS)}.sqlite3",
        "LLM_METRICS": True,
        "LLM_TRACES": True,
        "LLM_PRICES": {"m-known": {"input": 3.0, "output": 15.0}},
    }


def watched(**settings: Any) -> Call:
    """Return a call in a request of an app with these settings."""
    app = Flask("benchmark")
    fake = FakeProvider(ANSWER)
    app.config |= {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    app.config |= settings
    FlaskLLM(app, authorize=lambda: True)
    context = app.test_request_context("/")
    llm: LLMFactory = app.extensions["llm"]

    def call() -> None:
        fake.calls.clear()
        with context:
            _ask(llm)

    return call


def plain() -> Call:
    """Return the same call of a factory alone, in the same request."""
    app = Flask("benchmark")
    fake = FakeProvider(ANSWER)
    llm = LLMFactory(fake, [], config={})
    context = app.test_request_context("/")

    def call() -> None:
        fake.calls.clear()
        with context:
            _ask(llm)

    return call


def _ask(llm: LLMFactory) -> None:
    response = llm.generate_content(_PROMPT, purpose="classify_email")
    if not response.success:
        raise AssertionError(response.error)
