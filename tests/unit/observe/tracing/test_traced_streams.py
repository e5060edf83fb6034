"""The spans of streams, whichever thread reads them and however they end."""

import gc
import threading
import time

import pytest
from faultserver import faults
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from traces import events, outcome
from wire import PROMPT
from wired import WIRES, loaded, settings

from flask_llm import Restart, StreamInterrupted
from flask_llm.errors import TransientError
from flask_llm.filters import on_text
from flask_llm.testing import Delay, FakeProvider

EACH = pytest.mark.parametrize("name", WIRES)
TEXT = faults.OK(text="Short waves scatter most.")


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


@EACH
def test_whole_stream(traces, make_app, server, instrumented, name):
    """The attempt lasts until the last text, and HTTP's span is in it."""
    app = make_app(name, **settings(name, server.url))
    with app.llm.stream_content(PROMPT, purpose="p") as stream:
        next(stream)
        opened = time.time_ns()
        "".join(stream)

    call, attempt, _ = traces.spans
    assert traces.tree == [("llm p", [(attempt.name, ["POST"])])]
    assert attempt.kind is SpanKind.CLIENT
    assert outcome(call) == outcome(attempt) == ("UNSET", None, None)
    assert opened < attempt.end_time <= call.end_time
    usage = stream.response.metadata["usage"]
    told = attempt.attributes
    assert told["gen_ai.request.stream"] is True
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert told["gen_ai.usage.input_tokens"] == usage["input_tokens"]
    assert told["gen_ai.usage.output_tokens"] == usage["output_tokens"]
    first = stream.response.metadata["first_token_s"]
    assert 0 < told["gen_ai.response.time_to_first_chunk"] < first
    assert call.attributes["flask_llm.first_token_s"] == first
    assert call.attributes["flask_llm.streamed"] is True
    assert trace.get_current_span() is trace.INVALID_SPAN


@EACH
def test_broken_stream(traces, make_app, server, name):
    """An answer that breaks off is a failed attempt of a failed call."""
    server.script(WIRES[name], faults.cut_stream(1, step=TEXT))
    app = make_app(name, **settings(name, server.url))
    with pytest.raises(StreamInterrupted):
        "".join(app.llm.stream_content(PROMPT))

    call, attempt = traces.spans
    told = "ERROR", "transient"
    assert (outcome(call)[:2], outcome(attempt)[:2]) == (told, told)


def test_first_provider_fails_before_any_text(traces, make_app, server):
    """The time to the first text is that of the attempt which has brought it."""
    server.script("anthropic", faults.slow_first_byte(0.1, faults.status(429)))
    config = settings("claude", server.url) | settings("openai", server.url)
    app = make_app("claude", "openai", **config)
    with app.llm.stream_content(PROMPT) as stream:
        "".join(stream)

    call, failed, answered = traces.spans
    assert outcome(failed) == ("ERROR", "quota", "quota exceeded")
    assert failed.attributes["gen_ai.request.stream"] is True
    first = call.attributes["flask_llm.first_token_s"]
    assert first > 0.1
    assert answered.attributes["gen_ai.response.time_to_first_chunk"] < first - 0.1


def test_restart(traces, make_app, server):
    """A stream that begins anew has two attempts, the first of them failed."""
    server.script("anthropic", faults.cut_stream(1, step=TEXT))
    config = settings("claude", server.url) | settings("openai", server.url)
    app = make_app("claude", "openai", **config)
    with app.llm.stream_content(PROMPT, on_interrupt="restart") as stream:
        pieces = list(stream)

    assert any(isinstance(each, Restart) for each in pieces)
    call, broken, answered = traces.spans
    assert traces.children(call) == [broken, answered]
    assert outcome(broken) == ("ERROR", "transient", "connection error")
    assert outcome(answered) == outcome(call) == ("UNSET", None, None)
    assert broken.end_time <= answered.start_time
    assert "gen_ai.response.time_to_first_chunk" not in answered.attributes
    assert [name for name, *_ in events(call)] == ["flask_llm.switch"]


@EACH
def test_closed_stream(traces, make_app, server, name):
    """One that its reader closes is no error, and ends then and there."""
    server.script(WIRES[name], faults.stall_stream(1, TEXT))
    app = make_app(name, **settings(name, server.url))
    with app.llm.stream_content(PROMPT) as stream:
        next(stream)
        assert len(traces.open) == 2

    assert not traces.open
    call, attempt = traces.spans
    assert outcome(call) == outcome(attempt) == ("UNSET", None, None)
    assert call.attributes["flask_llm.outcome"] == "closed"
    assert attempt.attributes["flask_llm.outcome"] == "closed"


@EACH
@pytest.mark.parametrize("read", [0, 1])
def test_forgotten_stream(traces, make_app, server, name, read):
    """One that is neither read nor closed ends with its object, by the next request."""
    server.script(WIRES[name], faults.stall_stream(2, TEXT))
    app = make_app(name, **settings(name, server.url))
    with app.app_context():
        stream = app.llm.stream_content(PROMPT)
        for _ in range(read):
            next(stream)
        before = time.time_ns()
        del stream
    forgotten = app.extensions["llm.tracing"]._forgotten
    stop = time.monotonic() + 30
    while not forgotten and time.monotonic() < stop:
        time.sleep(0.01)
        gc.collect()
    after = time.time_ns()
    with app.app_context():
        pass

    assert not traces.open
    call, attempt = traces.spans
    assert call.attributes["flask_llm.outcome"] == "forgotten"
    assert attempt.attributes["flask_llm.outcome"] == "forgotten"
    assert outcome(call) == outcome(attempt) == ("UNSET", None, None)
    assert before <= attempt.end_time == call.end_time <= after
    assert not app.extensions["llm.tracing"]._calls


def test_forgotten_stream_is_ended_by_the_next_call(traces, make_app, server):
    """Also where there are no requests and no contexts, as in a worker of a queue."""
    app = make_app("claude", **settings("claude", server.url))
    app.llm.stream_content(PROMPT)
    forgotten = app.extensions["llm.tracing"]._forgotten
    stop = time.monotonic() + 30
    while not forgotten and time.monotonic() < stop:
        time.sleep(0.01)
        gc.collect()
    app.llm.generate_content(PROMPT, purpose="next")

    assert traces.spans[0].attributes["flask_llm.outcome"] == "forgotten"


def test_stream_read_in_another_thread(traces, make_app, server):
    """The spans are the opener's, and end where the reader is."""
    app = make_app("claude", **settings("claude", server.url))
    tracer = trace.get_tracer("app")
    current = []

    def read():
        with tracer.start_as_current_span("reader") as span:
            "".join(stream)
            current.append(trace.get_current_span() is span)

    with tracer.start_as_current_span("opener"):
        stream = app.llm.stream_content(PROMPT, purpose="p")
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()

    attempt = traces.named("llm p")
    assert current == [True]
    assert traces.tree == [
        ("opener", [("llm p", ["chat claude-sonnet-5-5"])]),
        "reader",
    ]
    assert attempt


def test_streams_side_by_side(traces, make_app):
    """Two streams read in turns by one thread keep their own spans."""
    pieces = ["one ", Delay(0.01, "two "), "three"]
    app = make_app(FakeProvider(pieces, [*pieces, TransientError()]))
    first = app.llm.stream_content(PROMPT, purpose="first")
    second = app.llm.stream_content(PROMPT, purpose="second")
    for _ in range(3):
        next(first)
        next(second)
    with pytest.raises(StreamInterrupted):
        next(second)
    assert list(first) == []

    (one,), (two,) = traces.named("llm first"), traces.named("llm second")
    assert outcome(one)[0] == "UNSET"
    assert outcome(two)[0] == "ERROR"
    for each in (one, two):
        (attempt,) = traces.children(each)
        assert attempt.status.status_code is each.status.status_code


def test_stream_after_an_output_filter(traces, make_app):
    """Its provider is asked for one piece, which is the first text of the call."""
    app = make_app(FakeProvider("an answer"))
    app.llm.output_filter(on_text(str.upper))
    assert "".join(app.llm.stream_content(PROMPT)) == "AN ANSWER"

    call, attempt = traces.spans
    assert "gen_ai.request.stream" not in attempt.attributes
    assert call.attributes["flask_llm.streamed"] is True
    assert call.attributes["flask_llm.first_token_s"] > 0
