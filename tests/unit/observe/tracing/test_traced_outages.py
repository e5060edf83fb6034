"""What collects the spans may fail or take long: the calls go on."""

import gc
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from wire import PROMPT

from flask_llm import signals
from flask_llm.errors import TransientError
from flask_llm.testing import FakeProvider


class Processor(SpanProcessor):
    """One that does something at the end of each span of a name."""

    def __init__(self, name, act):
        self._name = name
        self._act = act

    def on_end(self, span):
        if span.name == self._name:
            self._act()


@pytest.fixture
def processed(traces, monkeypatch):
    """Return what adds a processor after the one that keeps the spans."""

    def add(name, act):
        trace.get_tracer_provider().add_span_processor(Processor(name, act))

    return add


def broken():
    raise RuntimeError("no collector")


def outcome_of(span):
    return span.attributes["flask_llm.outcome"]


def slow():
    time.sleep(0.02)


def test_a_broken_processor_raises_into_no_request(traces, make_app, processed, caplog):
    """Nor does it keep other forgotten calls from their end."""
    fake = FakeProvider("one two")
    app = make_app(fake)
    processed("llm lost", broken)
    streams = [app.llm.stream_content(PROMPT, purpose=p) for p in ("lost", "found")]
    fake.calls.clear()
    forgotten = app.extensions["llm.tracing"]._forgotten
    del streams
    stop = time.monotonic() + 30
    while len(forgotten) < 2 and time.monotonic() < stop:
        time.sleep(0.01)
        gc.collect()
    assert len(forgotten) == 2

    with app.app_context():
        pass

    assert not traces.open
    assert caplog.text.count("The spans of a forgotten call cannot be ended") == 1
    assert {outcome_of(each) for each in traces.spans} == {"forgotten"}


@pytest.mark.parametrize("name", ["chat", "llm p"])
def test_a_slow_processor_makes_no_hole_in_a_trace(traces, make_app, processed, name):
    """Whichever end it is slow at, each call has all of its spans, and they end."""
    app = make_app(FakeProvider(TransientError(), "one two"), LLM_MAX_RETRIES=2)
    processed(name, slow)
    for _ in range(3):
        app.llm.generate_content(PROMPT, purpose="p")

    assert not traces.open
    calls = traces.named("llm p")
    assert len(calls) == 3
    assert [len(traces.children(each)) for each in calls] == [2, 1, 1]
    assert not app.extensions["llm.tracing"]._calls


def test_an_attempt_whose_end_is_not_told_ends_with_the_next(traces, make_app):
    """A span that nobody ends is never shown."""
    app = make_app(FakeProvider("one two"))
    tracing = app.extensions["llm.tracing"]
    begin = tracing.attempt

    def twice(sender, event):
        begin(sender, event)

    with signals.attempt_started.connected_to(twice, app):
        app.llm.generate_content(PROMPT, purpose="p")

    assert not traces.open
    (call,) = traces.named("llm p")
    assert len(traces.children(call)) == 2
