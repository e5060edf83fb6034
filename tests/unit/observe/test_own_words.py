"""A prompt that a provider or a filter quotes is the caller's, and nobody else's."""

import json
import logging
from contextlib import suppress

import pytest
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text

from flask_llm import FlaskLLM, LLMResponse, StreamInterrupted
from flask_llm.errors import InvalidRequestError, TransientError
from flask_llm.filters import Rejected
from flask_llm.testing import FakeProvider

CANARY = "CANARY-of-a-prompt"
PROMPT = f"a question with {CANARY}"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture
def spans(monkeypatch):
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield lambda: "".join(each.to_json() for each in kept.get_finished_spans())
    provider.shutdown()


@pytest.fixture
def app_of(tmp_path):
    """Return what makes an app with everything that watches."""
    made = []

    def make(script, **config):
        app = Flask("watched", instance_path=str(tmp_path / "instance"))
        app.config |= {
            "LLM_PRIMARY_PROVIDER": FakeProvider(*script, name="first"),
            "LLM_FALLBACK_PROVIDERS": [],
            "LLM_MAX_RETRIES": 1,
            "LLM_USAGE_URL": f"sqlite:///{tmp_path}/usage.db",
            "LLM_METRICS": True,
            "LLM_TRACES": True,
            **config,
        }
        FlaskLLM(app, authorize=lambda: True)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["llm.usage"]._writer.made().end(0.0)


def rows(path):
    engine = create_engine(f"sqlite:///{path}/usage.db")
    with engine.connect() as one:
        tables = [
            each
            for (each,) in one.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'table'")
            )
        ]
        told = {name: one.execute(text(f"SELECT * FROM {name}")) for name in tables}
        found = {name: [tuple(each) for each in table] for name, table in told.items()}
    engine.dispose()
    assert found["flask_llm_calls"]
    return str(found)


def pages(app):
    """All that the app shows of a call."""
    client = app.test_client()
    data = client.get("/llm/dashboard/data")
    call = f"/llm/dashboard/calls/{data.json['recent'][0]['call_id']}"
    html = {"Accept": "text/html"}
    shown = [
        data,
        client.get("/llm/dashboard", headers=html),
        client.get(call, headers=html),
        client.get(f"{call}?format=json"),
        client.get("/llm/status?detail=1"),
        client.get("/llm/metrics"),
    ]
    assert {each.status_code for each in shown} == {200}
    return "".join(each.text for each in shown)


def refuse_prompt(app):
    @app.llm.prompt_filter
    def guard(request):
        raise Rejected(f"it says {request.text}")


def refuse_answer(app):
    @app.llm.output_filter
    def guard(response):
        raise Rejected(f"it says {response.content}")


def no_filter(app):
    pass


def whole(app, **more):
    return app.llm.generate_content(PROMPT, purpose="p", **more)


def checked(app):
    return whole(app, schema=SCHEMA)


def streamed(app):
    stream = app.llm.stream_content(PROMPT, purpose="p")
    with stream, suppress(StreamInterrupted):
        list(stream)
    return stream.response


QUOTED = f"you have said {PROMPT}"
RETURNED = LLMResponse(False, "", "first", error=QUOTED)
BROKEN_OFF = ["one ", TransientError(QUOTED)]
REFUSED = "No provider was asked: prompt refused by guard"


def more(*values):
    """Return a row that tells less, once the others hold."""
    return pytest.param(*values, marks=pytest.mark.matrix)


@pytest.mark.parametrize(
    ("filtered", "script", "call", "told"),
    [
        more(refuse_prompt, ["x"], whole, REFUSED),
        (refuse_prompt, ["x"], streamed, REFUSED),
        (refuse_answer, [QUOTED], whole, "first: answer rejected by guard"),
        more(refuse_answer, [QUOTED], streamed, "first: answer rejected by guard"),
        (no_filter, [InvalidRequestError(QUOTED)], whole, "first: request rejected"),
        more(
            no_filter,
            [InvalidRequestError(QUOTED)],
            streamed,
            "first: request rejected",
        ),
        (no_filter, [RuntimeError(QUOTED)], whole, "first: failed (RuntimeError)"),
        (no_filter, [RETURNED], whole, "first: failed"),
        (no_filter, [BROKEN_OFF], streamed, "first: temporary failure"),
        (
            no_filter,
            [f'{{"n": "{CANARY}"}}'] * 2,
            checked,
            "first: answer does not match the schema",
        ),
    ],
)
def test_words_that_quote_a_prompt_are_the_callers_only(  # noqa: PLR0917  # all that watches
    app_of, spans, tmp_path, caplog, filtered, script, call, told
):
    """Rows, pages, metrics, spans and the log tell why, in our own words."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    app = app_of(script)
    filtered(app)
    response = call(app)
    assert app.extensions["llm.usage"].flush()

    logged = "".join(map(str, (vars(each) for each in caplog.records)))
    seen = (rows(tmp_path), pages(app), spans(), logged)
    assert not response.success
    assert all(told in each for each in seen[:3])
    assert all(CANARY not in each for each in seen)
    assert CANARY not in json.dumps(response.metadata)
