"""Spans where calls are made: in requests, coroutines, greenlets, beside others."""

import asyncio

import anthropic
import pytest
from faultserver import faults
from needs import needs_gevent
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from traces import parent_of
from wire import PROMPT, python
from wired import loaded, settings

from flask_llm.providers.claude import ClaudeProvider
from flask_llm.testing import FakeProvider

CLAUDE = "chat claude-sonnet-5-5"


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(["claude"]):
        yield


@pytest.fixture
def served(traces, make_app, server):
    """Return the client of an app whose requests have spans."""
    app = make_app("claude", **settings("claude", server.url))
    tracer, wsgi_app = trace.get_tracer("flask"), app.wsgi_app

    def traced(environ, start_response):
        with tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
            return wsgi_app(environ, start_response)

    app.wsgi_app = traced

    @app.get("/plain")
    def plain():
        return app.llm.generate_content(PROMPT).content

    @app.get("/stream")
    def stream():
        return app.llm.stream_response(PROMPT)

    @app.get("/async")
    async def coroutine():
        one = app.llm.generate_content_async(PROMPT)
        two = app.llm.generate_content_async(PROMPT, deadline=5)
        answers = await asyncio.gather(one, two)
        async with await app.llm.stream_content_async(PROMPT) as texts:
            answers += ["".join([each async for each in texts])]
        return str(len(answers))

    @app.get("/forgotten")
    def forgotten():
        app.llm.stream_content(PROMPT)
        return "no text"

    return app.test_client()


def test_in_a_request(traces, served):
    """The call is a child of the request's span, named after the endpoint."""
    served.get("/plain")

    assert traces.tree == [("GET", [("llm plain", [CLAUDE])])]


def test_streamed_response(traces, served):
    """Also if its texts are read when the view has long returned."""
    assert "done" in served.get("/stream").text

    assert traces.tree == [("GET", [("llm stream", [CLAUDE])])]
    assert not traces.open


def test_async_view(traces, served):
    """Calls that threads make for coroutines are children of the request too."""
    assert served.get("/async").text == "3"

    assert traces.tree == [("GET", [("llm coroutine", [CLAUDE])] * 3)]


def test_client_that_leaves(traces, served, server):
    """A response closed by the server ends the spans at once."""
    server.script("anthropic", faults.stall_stream(1))
    response = served.get("/stream", buffered=False)
    next(response.response)
    assert len(traces.open) == 2
    response.close()

    assert not traces.open
    assert traces.spans[-1].attributes["flask_llm.outcome"] == "closed"


def test_coroutine_that_is_cancelled(traces, make_app, server):
    """Its spans end too."""
    server.script("anthropic", faults.stall_stream(1))
    app = make_app("claude", **settings("claude", server.url))

    async def read():
        async with await app.llm.stream_content_async(PROMPT) as texts:
            async for _ in texts:
                pass

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.2)

    asyncio.run(main())
    assert [each.attributes["flask_llm.outcome"] for each in traces.spans] == [
        "closed",
        "closed",
    ]


def test_own_spans_of_anthropic(traces, make_app, server):
    """Without ours the SDK makes its own; with ours there is no second one."""
    config = settings("claude", server.url)
    make_app("claude", **config, LLM_TRACES=False).llm.generate_content(PROMPT)
    assert traces.tree == ["anthropic.messages.create"]
    make_app("claude", **config).llm.generate_content(PROMPT, purpose="p")

    assert traces.tree[1:] == [("llm p", [CLAUDE])]
    clients = [each for each in traces.spans if each.kind is SpanKind.CLIENT]
    assert [each.name for each in clients] == ["anthropic.messages.create", CLAUDE]


@pytest.mark.parametrize("streamed", [False, True])
def test_provider_object_shared_by_two_apps(traces, make_app, server, streamed):
    """An app with spans silences the SDK in its own calls only."""
    shared = ClaudeProvider("sk-ant-made-up", base_url=server.url)
    traced, plain = make_app(shared), make_app(shared, LLM_TRACES=False)
    for app in (traced, plain, traced):
        if streamed:
            "".join(app.llm.stream_content(PROMPT, purpose="p"))
        else:
            app.llm.generate_content(PROMPT, purpose="p")

    ours = ("llm p", [CLAUDE])
    assert traces.tree == [ours, "anthropic.messages.create", ours]


@pytest.mark.parametrize("named", ["", "none_of_that_name"])
def test_the_sdk_makes_no_spans_that_nobody_collects(monkeypatch, server, named):
    """Until the app sets OpenTelemetry up, they would be work for nothing."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    if named:
        monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", named)
    provider = ClaudeProvider("sk-ant-made-up", base_url=server.url)
    assert provider._connected() is provider._spanless.get()
    assert provider.generate_content(PROMPT).success

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    assert provider._connected() is provider._client.get()


def test_what_is_made_ready_ahead_makes_no_spans(
    traces, instrumented, make_app, server
):
    """Neither of ours, nor of the SDK, nor of who watches HTTP: no request is made."""
    app = make_app("claude", **settings("claude", server.url), LLM_TRACES=False)
    app.llm.prepare()

    assert traces.tree == []
    app.llm.generate_content(PROMPT)
    assert traces.tree != []


def test_client_without_spans_is_the_same_otherwise(monkeypatch, traces, server):
    """It has the key, the address and the connections, and nothing of the shell's."""
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Of: the-environment")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "of-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    provider = ClaudeProvider("sk-ant-made-up", base_url=server.url, timeout=7)
    usual, silent = provider._client.get(), provider._spanless.get()

    assert isinstance(silent, anthropic.Anthropic)
    assert silent._client is usual._client
    for name in ("api_key", "auth_token", "base_url", "timeout", "max_retries"):
        assert getattr(silent, name) == getattr(usual, name), name
    names = ("auth_headers", "default_headers", "_custom_headers")
    for name in names:
        assert dict(getattr(silent, name)) == dict(getattr(usual, name)), name
    assert "environment" not in str(dict(silent.default_headers))
    traces_of = silent.open_telemetry["traces"], usual.open_telemetry["traces"]
    assert [each["enabled"] for each in traces_of] == [False, True]


def test_trace_is_not_told_to_providers(traces, make_app, server):
    """No header of ours or of the SDK's takes the app's trace to a stranger."""
    app = make_app("claude", **settings("claude", server.url))
    app.llm.generate_content(PROMPT)

    (received,) = server.attempts()
    assert not {"traceparent", "tracestate", "baggage"} & {
        *map(str.lower, received.headers)
    }


def test_model_in_the_process(traces, make_app):
    """What is no remote service is no client span; a stranger has its own name."""
    from flask_llm.providers.local import LocalProvider

    class Here(FakeProvider, LocalProvider):
        name = "local"

        def __init__(self):
            FakeProvider.__init__(self, "hi", name="local")

    for each in (Here(), FakeProvider("hi", name="acme")):
        make_app(each).llm.generate_content(PROMPT)

    kinds = {
        each.attributes["gen_ai.provider.name"]: each.kind
        for each in traces.spans
        if parent_of(each)
    }
    assert kinds == {"local": SpanKind.INTERNAL, "acme": SpanKind.CLIENT}


def test_endpoint_of_its_own_name(traces, make_app, server):
    """An endpoint of LLM_PROVIDERS is told by its API, and keeps its name as ours."""
    endpoint = {"provider": "openai", "base_url": f"{server.url}/v1", "api_key": "sk-x"}
    make_app("groq:m", LLM_PROVIDERS={"groq": endpoint}).llm.generate_content(PROMPT)

    attempt = traces.spans[1]
    assert attempt.name == "chat m"
    assert attempt.attributes["gen_ai.provider.name"] == "openai"
    assert attempt.attributes["flask_llm.provider"] == "groq:m"


@pytest.mark.slow
@needs_gevent
def test_greenlets():
    """Calls and streams of many greenlets in one thread do not mix their spans."""
    out = python("""if True:
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent, logging, sys
        logging.getLogger("opentelemetry").addHandler(logging.StreamHandler(sys.stdout))
        from flask import Flask
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        sys.path.insert(0, "tests/support")
        from traces import Traces
        from flask_llm import FlaskLLM
        from flask_llm.testing import Delay, FakeProvider

        traces, provider = Traces(), TracerProvider()
        provider.add_span_processor(traces)
        trace.set_tracer_provider(provider)
        app = Flask("x")
        app.config["LLM_TRACES"] = True
        app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider(
            Delay(0.02, ["one ", Delay(0.01, "two")]), name="fake")
        app.config["LLM_FALLBACK_PROVIDERS"] = []
        FlaskLLM(app)
        tracer = trace.get_tracer("app")

        def call(number):
            with tracer.start_as_current_span(f"caller {number}"):
                if number % 3:
                    limit = 5 if number % 2 else None
                    app.llm.generate_content("x", purpose=str(number), deadline=limit)
                else:
                    "".join(app.llm.stream_content("x", purpose=str(number)))

        gevent.joinall([gevent.spawn(call, number) for number in range(30)])
        expected = {(f"caller {n}", f"llm {n}", "chat") for n in range(30)}
        found = {(a, b[0][0], b[0][1][0]) for a, b in traces.tree}
        print(found == expected, len(traces.spans), len(traces.open))
    """)

    assert out == "True 90 0\n"
