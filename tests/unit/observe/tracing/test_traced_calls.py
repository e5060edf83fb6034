"""The spans of calls that wait for the whole answer."""

import gc
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from faultserver import faults
from flask import Flask
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind
from traces import events, outcome
from wire import PROMPT
from wired import WIRES, loaded, settings

from flask_llm import FlaskLLM, LLMProvider, signals
from flask_llm.errors import ConfigurationError, QuotaError, TransientError
from flask_llm.observe import tracing
from flask_llm.testing import FakeProvider

EACH = pytest.mark.parametrize("name", WIRES)

PROVIDERS = {
    "claude": ("anthropic", "chat claude-sonnet-5-5"),
    "gemini": ("gcp.gemini", "generate_content gemini-3.8-flash"),
    "genai": ("gcp.gemini", "generate_content gemini-3.8-flash"),
    "vertex": ("gcp.vertex_ai", "generate_content gemini-3.8-flash"),
    "openai": ("openai", None),
    "cohere": ("cohere", None),
    "ollama": ("ollama", "chat llama3.2"),
}


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


@EACH
def test_an_answer(traces, make_app, server, name):
    """One span for the call, and in it one of the provider, with its tokens once."""
    app = make_app(name, **settings(name, server.url))
    response = app.llm.generate_content(
        PROMPT, temperature=0.5, max_tokens=99, stop="END", purpose="test"
    )

    provider, span_name = PROVIDERS[name]
    call, attempt = traces.spans
    model = attempt.attributes["gen_ai.request.model"]
    assert attempt.name == (span_name or f"chat {model}")
    assert traces.tree == [("llm test", [attempt.name])]
    assert (call.kind, attempt.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert outcome(call) == outcome(attempt) == ("UNSET", None, None)
    assert attempt.attributes["gen_ai.provider.name"] == provider
    usage, note = response.usage, response.metadata["cost_note"]
    free = name == "ollama"
    assert dict(attempt.attributes) == {
        "flask_llm.call_id": response.metadata["call_id"],
        "flask_llm.purpose": "test",
        "flask_llm.provider": name,
        "flask_llm.attempt": 1,
        "flask_llm.outcome": "success",
        "gen_ai.operation.name": attempt.name.partition(" ")[0],
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **({"gen_ai.usage.reasoning.output_tokens": 0} if name == "openai" else {}),
    } | ({"flask_llm.cost_usd": 0.0} if free else {"flask_llm.cost_note": note})
    assert dict(call.attributes) == {
        "flask_llm.call_id": response.metadata["call_id"],
        "flask_llm.purpose": "test",
        "flask_llm.outcome": "success",
        "flask_llm.provider": name,
        "flask_llm.model": response.model,
        "flask_llm.fallback": False,
        "flask_llm.streamed": False,
        "flask_llm.attempts": 1,
        "flask_llm.total.input_tokens": usage.input_tokens,
        "flask_llm.total.output_tokens": usage.output_tokens,
    } | (
        {"flask_llm.total.cost_usd": 0.0}
        if free
        else {"flask_llm.total.unpriced": True}
    )


@EACH
@pytest.mark.parametrize("deadline", [None, 5], ids=["its thread", "a worker"])
def test_http_spans_nest(traces, make_app, server, instrumented, name, deadline):
    """What an instrumentation of the HTTP client makes belongs to the attempt."""
    app = make_app(name, **settings(name, server.url))
    assert app.llm.generate_content(PROMPT, deadline=deadline, purpose="p").success

    attempt = traces.spans[1]
    assert traces.tree == [("llm p", [(attempt.name, ["POST"])])]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_retry(traces, make_app, server):
    """Each try has a span, the failed one says why; the wait is told by the call's."""
    server.script("anthropic", faults.status(529), faults.OK)
    app = make_app("claude", **settings("claude", server.url))
    assert app.llm.generate_content(PROMPT).success

    call, first, second = traces.spans
    assert traces.children(call) == [first, second]
    assert outcome(first) == ("ERROR", "transient", "server error 529")
    assert first.attributes["http.response.status_code"] == 529
    assert first.attributes["flask_llm.outcome"] == "transient"
    assert "gen_ai.response.model" not in first.attributes
    assert outcome(second) == outcome(call) == ("UNSET", None, None)
    assert second.attributes["flask_llm.attempt"] == 2
    why = {"error.type": "transient", "flask_llm.reason": "server error 529"}
    told = {"flask_llm.failures": 1, "flask_llm.wait_s": 0.001}
    assert events(call) == [("flask_llm.retry", "claude", why | told)]
    assert first.end_time <= call.events[0].timestamp <= second.start_time


def test_fallback(traces, make_app, server):
    """A call that another provider has answered is no error, and tells the way."""
    server.script("anthropic", faults.rate_limited(17))
    config = settings("claude", server.url) | settings("openai", server.url)
    app = make_app("claude", "gemini", "openai", **config | {"GOOGLE_API_KEY": ""})
    response = app.llm.generate_content(PROMPT)

    call, failed, answered = traces.spans
    assert outcome(failed) == ("ERROR", "quota", "quota exceeded")
    assert failed.attributes["flask_llm.retry_after_s"] == 17
    assert outcome(answered) == outcome(call) == ("UNSET", None, None)
    assert call.attributes["flask_llm.fallback"] is True
    assert call.attributes["flask_llm.provider"] == response.provider_name == "openai"
    no_key = {
        "error.type": "unavailable",
        "flask_llm.reason": "no API key (set GOOGLE_API_KEY)",
    }
    switch = {
        "error.type": "quota",
        "flask_llm.reason": "quota exceeded",
        "flask_llm.next_provider": "openai",
    }
    assert events(call) == [
        ("flask_llm.skip", "gemini", no_key),
        ("flask_llm.switch", "claude", switch),
    ]
    times = [each.timestamp for each in call.events]
    assert call.start_time < times[0] < times[1] < call.end_time


def test_all_fail(traces, make_app):
    """The call's span says of each provider how it failed last, in our words."""
    first = FakeProvider(TransientError("secret words"), name="first")
    second = FakeProvider(QuotaError("other words"), name="second")
    make_app(first, second, LLM_MAX_RETRIES=2).llm.generate_content(PROMPT)

    call, *attempts = traces.spans
    reason = "first: temporary failure, second: quota exceeded"
    assert outcome(call) == ("ERROR", "quota", reason)
    assert [outcome(each)[1] for each in attempts] == ["transient"] * 2 + ["quota"]
    assert "words" not in traces.text


def test_nobody_is_asked(traces, make_app):
    """A prompt that is refused here has a span without attempts, and without it."""
    make_app(FakeProvider()).llm.generate_content(" ")

    (call,) = traces.spans
    told = ("ERROR", "invalid_request", "No provider was asked: request rejected")
    assert outcome(call) == told


def test_answer_asked_for_again(traces, make_app, server):
    """A model that is told what is wrong is asked in a span of its own; both count."""
    server.script("openai", faults.OK(text="no JSON"), faults.OK(text='{"n": 1}'))
    app = make_app("openai", **settings("openai", server.url))
    response = app.llm.generate_content(PROMPT, schema={"type": "object"})

    call, first, second = traces.spans
    assert response.parsed == {"n": 1}
    assert outcome(first) == ("ERROR", "bad_answer", "answer is no JSON")
    assert outcome(second) == outcome(call) == ("UNSET", None, None)
    assert second.attributes["gen_ai.output.type"] == "json"
    each = [span.attributes["gen_ai.usage.input_tokens"] for span in (first, second)]
    assert call.attributes["flask_llm.total.input_tokens"] == sum(each)


def test_tokens_and_cost_of_all_spans_are_those_of_the_usage(traces, make_app, server):
    """Whoever adds the conventions' attributes up counts each token once."""
    server.script("openai", faults.OK(text="no JSON"), faults.OK(text='{"n": 1}'))
    prices = {"openai": {"input": 1, "output": 5}}
    app = make_app("openai", LLM_PRICES=prices, **settings("openai", server.url))
    response = app.llm.generate_content(PROMPT, schema={"type": "object"})

    costs = [each.attributes.get("flask_llm.cost_usd", 0.0) for each in traces.spans]
    assert sum(costs) == response.metadata["cost_usd"] > 0
    total = traces.spans[0].attributes["flask_llm.total.cost_usd"]
    assert total == response.metadata["cost_usd"]
    for name in ("input_tokens", "output_tokens"):
        told = [each.attributes.get(f"gen_ai.usage.{name}", 0) for each in traces.spans]
        assert sum(told) == response.metadata["usage"][name]


def test_threads_do_not_mix(traces, make_app):
    """Each of many calls at once has its own attempts, and is its caller's child."""
    app = make_app(FakeProvider(TransientError(), lambda prompt: prompt))
    tracer = trace.get_tracer("app")

    def call(number):
        with tracer.start_as_current_span(f"caller {number}"):
            app.llm.generate_content(
                str(number), purpose=str(number), deadline=5 if number % 2 else None
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(40)))

    for number in range(40):
        (caller,) = traces.named(f"caller {number}")
        (span,) = traces.children(caller)
        assert span.name == f"llm {number}"
        attempts = traces.children(span)
        assert attempts
        ids = {each.attributes["flask_llm.call_id"] for each in [span, *attempts]}
        assert len(ids) == 1


def test_context_of_the_app_reaches_the_provider(traces, make_app):
    """Baggage and the like are there in an attempt, and unchanged after it."""
    seen = []
    provider = FakeProvider(lambda _: str(seen.append(baggage.get_all())))
    app = make_app(provider)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    app.llm.generate_content(PROMPT)
    before = dict(context.get_current())
    app.llm.generate_content(PROMPT, deadline=5)
    after = dict(context.get_current())
    context.detach(token)

    assert seen == [{"tenant": "acme"}] * 2
    assert before == after


def test_receivers_of_the_app_are_in_the_attempt(traces, make_app):
    """What is logged while an attempt is made and noted belongs to its span."""
    current = []

    def hear(sender, event):
        current.append(trace.get_current_span().get_span_context().span_id)

    app = make_app(FakeProvider(QuotaError(), "hi"))
    with signals.attempt_made.connected_to(hear, app):
        app.llm.generate_content(PROMPT)

    assert current == [traces.spans[1].context.span_id]


def test_call_in_which_nobody_was_asked(traces, make_app):
    """It names no provider and no model: only who was skipped."""
    app = make_app(FakeProvider(name="a", available=False))
    app.llm.generate_content(PROMPT)

    (call,) = traces.spans
    assert call.attributes["flask_llm.outcome"] == "unavailable"
    assert not {"flask_llm.provider", "flask_llm.model"} & call.attributes.keys()
    assert [provider for _, provider, _ in events(call)] == ["a"]


def test_two_apps(traces, make_app):
    """Only the app that has them switched on makes spans, each its own."""
    first = make_app(FakeProvider(name="a"))
    second = make_app(FakeProvider(name="b"), LLM_TRACES=False)
    third = make_app(FakeProvider(name="c"))
    for each in (first, second, third, first):
        each.llm.generate_content(PROMPT)

    told = [each.attributes["flask_llm.provider"] for each in traces.spans]
    assert told == ["a", "a", "c", "c", "a", "a"]
    assert tracing.NAME not in second.extensions


def test_caller_that_is_stopped(traces, make_app):
    """Whoever ends a caller in the midst of a call leaves no span open for ever."""
    app = make_app(Stopper())
    with pytest.raises(SystemExit), app.app_context():
        app.llm.generate_content(PROMPT)
    gc.collect()  # the exception's traceback holds the call
    assert traces.open
    with app.app_context():
        pass

    call, attempt = traces.spans
    assert call.attributes["flask_llm.outcome"] == "forgotten"
    assert outcome(call) == outcome(attempt) == ("UNSET", None, None)


class Stopper(LLMProvider):
    """Ends its caller; keeps nothing of a request, as a `FakeProvider` does."""

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        sys.exit(3)

    def get_provider_name(self):
        return "stopper"

    def is_available(self):
        return True


@EACH
@pytest.mark.parametrize("step", [faults.OK, faults.bad_key(), faults.rate_limited()])
def test_no_key_and_no_prompt_in_any_span(traces, make_app, server, name, step, caplog):
    """Not what was asked, not what was answered, and no key, however it ends."""
    caplog.set_level(logging.DEBUG)
    canary = "sk-canary-0123456789abcdef"
    keys = ("ANTHROPIC", "GOOGLE", "OPENAI", "COHERE")
    found = settings(name, server.url) | {f"{each}_API_KEY": canary for each in keys}
    server.script(WIRES[name], step)
    app = make_app(name, **found)
    response = app.llm.generate_content(
        "prompt-canary", system="system-canary", schema={"title": "schema-canary"}
    )
    with app.llm.stream_content("prompt-canary") as stream:
        "".join(stream)

    assert traces.spans
    assert "canary" not in traces.text
    for text in (response.content, stream.text):
        assert not text or text not in traces.text


@pytest.mark.slow
def test_without_the_package():
    """Where opentelemetry-api is missing the configuration error tells what to do."""
    code = """if True:
        import sys
        sys.modules["opentelemetry"] = None
        from flask import Flask
        from flask_llm import FlaskLLM
        from flask_llm.errors import ConfigurationError
        app = Flask("x")
        app.config["LLM_TRACES"] = True
        try:
            FlaskLLM(app)
        except ConfigurationError as error:
            print(error.faults)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert 'pip install "Flask-LLM[traces]"' in done.stdout


def test_without_an_sdk(make_app, monkeypatch):
    """The API alone makes no spans, and nothing is kept of a call."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    app = make_app(FakeProvider())
    with app.llm.stream_content(PROMPT):
        assert not app.extensions[tracing.NAME]._calls


def test_switched_off_nothing_is_imported_or_connected(make_app):
    """An app without spans is an app as before."""
    code = """if True:
        import sys
        from flask import Flask
        from flask_llm import FlaskLLM, LLMProvider, signals
        FlaskLLM(Flask("x"))
        assert not any(each.startswith("opentelemetry") for each in sys.modules)
        assert not signals.attempt_started.receivers
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_setting(make_app):
    """The key is on or off."""
    with pytest.raises(ConfigurationError, match="LLM_TRACES"):
        FlaskLLM(_app(LLM_TRACES="sometimes"))


def _app(**config):
    app = Flask("x")
    app.config |= config
    return app
