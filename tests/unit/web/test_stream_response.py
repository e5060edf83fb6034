"""A streamed answer over HTTP: real SDKs, a real server, and clients that go away."""

import json
import logging
import re
import socket
import threading
import time
from importlib.metadata import version

import pytest
from faultserver import FaultServer, faults
from flask import Flask, current_app, g, request, session
from real_time import AT_ONCE_S
from serving import served
from wired import settings

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.errors import AuthError, ContentBlockedError, QuotaError
from flask_llm.filters import Rejected
from flask_llm.signals import generation_finished
from flask_llm.testing import FakeProvider
from flask_llm.web import event_stream
from flask_llm.web import sse as streaming

WORDS = ["one", " two", " three", " four"]
ANSWER = faults.OK(text="".join(WORDS))
BLOCK = re.compile(r"(?:id: (.+)\n)?event: (\w+)\ndata: (.+)")


@pytest.fixture
def server():
    with FaultServer(ANSWER) as server:
        yield server


def make_app(*providers, **config):
    """Return an app with a streaming route, as its readers would write one."""
    app = Flask("testapp")
    primary, *fallbacks = providers
    app.config |= {
        "SECRET_KEY": "made-up",
        "LLM_PRIMARY_PROVIDER": primary,
        "LLM_FALLBACK_PROVIDERS": fallbacks,
        "LLM_MAX_RETRIES": 1,
    } | config
    FlaskLLM(app)

    @app.route("/stream", methods=["GET", "POST"])
    def stream():
        return current_app.llm.stream_response("hello", **request.args)

    return app


def wired(server, *fallbacks, **config):
    """Return an app whose primary is the real anthropic SDK at the fault server."""
    return make_app(
        "claude", *fallbacks, **settings("claude", server.url, 30), **config
    )


def told(text):
    """Return the events of a body: their names with their data."""
    blocks = [block for block in text.split("\n\n") if block and block != ":"]
    found = [BLOCK.fullmatch(block) for block in blocks]
    return [(each[2], json.loads(each[3])) for each in found]


def names(text):
    return [name for name, _ in told(text)]


def open_stream(address):
    """Ask for the stream as a client would; return its connection."""
    client = socket.create_connection(address, timeout=60)
    client.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def read_until(client, mark):
    """Read from a connection until something has come."""
    seen = b""
    while mark not in seen:
        seen += (piece := client.recv(4096))
        assert piece, seen
    return seen


def test_an_answer_in_events(server):
    """First who answers, then each piece as it came, last what is known of it all."""
    answer = wired(server).test_client().get("/stream")
    events = told(answer.text)

    assert answer.status_code == 200
    assert events[0] == ("start", {"provider": "claude", "failed": []})
    assert [data["text"] for name, data in events if name == "delta"] == WORDS
    name, data = events[-1]
    assert name == "done"
    assert data.pop("latency_s") >= data.pop("first_token_s") > 0
    assert data.pop("model").startswith("claude")
    assert data == {
        "provider": "claude",
        "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
        "finish_reason": "stop",
        "failed": [],
    }


def test_what_proxies_and_browsers_are_told():
    """Nothing on the way may keep, change or hold back the events."""
    headers = make_app(FakeProvider("hi")).test_client().get("/stream").headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache, no-store, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


def test_a_fallback_before_the_first_text(server):
    """The answer is the fallback's alone, and who has failed is told."""
    server.script(faults.rate_limited())
    app = wired(server, FakeProvider("hi", name="second"))
    events = told(app.test_client().get("/stream").text)

    failed = [{"provider": "claude", "kind": "quota", "reason": "quota exceeded"}]
    assert events[0] == ("start", {"provider": "second", "failed": failed})
    assert events[1] == ("delta", {"text": "hi"})
    assert (events[2][0], events[2][1]["failed"]) == ("done", failed)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.cut_stream(2), "transient"),
        (faults.cut_stream(2, "clean"), "bad_answer"),
        (faults.error_event(429, after=2), "quota"),
        (faults.broken_chunk(2), "transient"),
    ],
    ids=str,
)
def test_an_answer_that_breaks_off(server, fault, kind):
    """The last event is an error, never `done`."""
    server.script(fault)
    events = told(wired(server).test_client().get("/stream").text)

    assert [name for name, _ in events] == ["start", "delta", "delta", "error"]
    reason = events[-1][1].pop("failed")[0].pop("reason")
    assert reason
    assert events[-1][1] == {
        "kind": kind,
        "message": "The answer broke off.",
        "partial": True,
    }


def test_a_restart_says_who_begins_anew(server):
    """With "restart" the page learns that what it has is void, and who goes on."""
    server.script(faults.error_event(429, after=2))
    app = wired(server, FakeProvider("anew", name="second"))
    answer = app.test_client().get("/stream?on_interrupt=restart")
    events = told(answer.text)

    failed = [{"provider": "claude", "kind": "quota", "reason": "quota exceeded"}]
    restart = {"provider": "second", "reason": "quota exceeded", "failed": failed}
    assert [name for name, _ in events[:3]] == ["start", "delta", "delta"]
    assert events[3:5] == [("restart", restart), ("delta", {"text": "anew"})]
    assert events[5][0] == "done"


def test_a_restart_that_fails_too(server):
    """One error ends it, and tells of both."""
    server.script(faults.error_event(429, after=2))
    app = wired(server, FakeProvider(AuthError(), name="second"))
    events = told(app.test_client().get("/stream?on_interrupt=restart").text)

    assert [name for name, _ in events] == ["start", "delta", "delta", "error"]
    kinds = [each["kind"] for each in events[-1][1]["failed"]]
    assert kinds == ["quota", "auth"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (QuotaError("key sk-1 has had enough"), 503, "No model can answer now."),
        (RuntimeError("sk-1"), 503, "No model can answer now."),
        (ContentBlockedError("you said x"), 422, "The model declined to answer this."),
    ],
    ids=str,
)
def test_no_answer_at_all(error, status, message):
    """A status that browsers and logs see, and one event that people may read."""
    answer = make_app(FakeProvider(error)).test_client().get("/stream")
    ((name, data),) = told(answer.text)

    assert (answer.status_code, name, data["message"]) == (status, "error", message)
    assert answer.mimetype == "text/event-stream"
    assert data["partial"] is False
    assert "sk-1" not in answer.text


def test_a_refused_prompt_is_the_client_s_fault():
    """A prompt filter's refusal is no outage, and its reason is the developer's."""
    fake = FakeProvider()
    app = make_app(fake)

    @app.llm.prompt_filter
    def refuse(asked):
        raise Rejected("mentions project X")

    answer = app.test_client().get("/stream")
    assert answer.status_code == 422
    assert told(answer.text)[0][1]["kind"] == "invalid_request"
    assert "project X" not in answer.text
    assert fake.calls == []


def test_filters_and_receivers_see_the_request():
    """Session and `g` are there before the first event, and at the last."""
    seen = []
    app = make_app(FakeProvider("hi"))

    @app.before_request
    def sign_in():
        session["user"] = g.user = "ada"

    @app.llm.prompt_filter
    def who_asks(asked):
        seen.append((session["user"], g.user))
        return asked

    @generation_finished.connect_via(app)
    def who_asked(sender, **more):
        seen.append((session["user"], g.user, request.path))

    app.test_client().get("/stream")
    assert seen == [("ada", "ada"), ("ada", "ada", "/stream")]


@pytest.mark.skipif(
    version("flask") < "3.1.2", reason="Flask's own stream_with_context fails there"
)
def test_an_async_view_may_return_it(server):
    """The events and their context are the same."""
    pytest.importorskip("asgiref")
    app = wired(server)
    seen = []

    @app.get("/async")
    async def asynchronous():
        return current_app.llm.stream_response("hello")

    @generation_finished.connect_via(app)
    def where(sender, **more):
        seen.append(request.path)

    answer = app.test_client().get("/async")
    assert names(answer.text) == ["start", *["delta"] * 4, "done"]
    assert seen == ["/async"]


def test_an_output_filter_makes_it_one_piece(server):
    """What has to be seen as a whole is sent as a whole."""
    app = wired(server)
    app.llm.output_filter(lambda answer: answer)
    assert names(app.test_client().get("/stream").text) == ["start", "delta", "done"]


def test_whatever_happens_there_is_an_end(monkeypatch, caplog):
    """A fault of ours is logged, and the browser is not left waiting."""
    app = make_app(FakeProvider("hi"))
    monkeypatch.setattr("flask_llm.web.sse.done", lambda response: 1 / 0)
    events = told(app.test_client().get("/stream").text)

    assert [name for name, _ in events] == ["start", "delta", "error"]
    assert events[-1][1]["kind"] == "unknown"
    assert "ZeroDivisionError" in caplog.text
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(record.llm_call_id) == 24
    assert record.llm_purpose == "stream"


def test_metadata_of_any_kind_can_be_sent():
    """What a plug-in puts there does not break the answer's end."""
    odd = LLMResponse(True, "hi", "fake", None, {"model": object(), "usage": {1: 2}})
    events = told(make_app(FakeProvider(odd)).test_client().get("/stream").text)
    assert events[-1][0] == "done"
    assert events[-1][1]["usage"] is None


def test_looking_at_the_headers_asks_no_model():
    """HEAD, which Flask answers by the view for GET, costs nothing."""
    fake = FakeProvider()
    answer = make_app(fake).test_client().head("/stream")
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert "Content-Length" not in answer.headers
    assert fake.calls == []


def test_a_browser_that_connects_again_by_itself_asks_no_model(server):
    """The id of the first event comes back, and 204 ends an EventSource, uncached."""
    app = wired(server)
    with app.test_client() as client:
        seen = BLOCK.match(client.get("/stream").text)[1]
        answer = client.get("/stream", headers={"Last-Event-ID": seen})
    assert (answer.status_code, answer.data) == (204, b"")
    assert "no-store" in answer.headers["Cache-Control"]
    assert len(server.attempts()) == 1


def test_silence_has_a_heartbeat():
    """A comment keeps proxies from closing a connection on which nothing comes."""
    heard = threading.Event()

    class Silent(FakeProvider):
        def stream(self, request):
            yield "one "
            assert heard.wait(60)
            return (yield from super().stream(request))

    client = make_app(Silent("two"), LLM_HEARTBEAT=0.03).test_client()
    text = ""
    for piece in client.get("/stream", buffered=False).iter_encoded():
        text += piece.decode()
        if text.count("\n\n:\n\n") > 2:
            heard.set()

    assert heard.is_set()
    assert names(text)[-1] == "done"


def test_no_heartbeat_while_text_comes(server):
    """Each text is a sign of life."""
    app = wired(server, LLM_HEARTBEAT=5)
    assert "\n\n:" not in app.test_client().get("/stream").text


def test_each_event_is_sent_as_it_comes(server):
    """The first text is at the client while the provider is silent."""
    server.script(faults.stall_stream(1, ANSWER))
    with served(wired(server)) as address:
        with open_stream(address) as client:
            assert b"event: start" in read_until(client, b'{"text": "one"}')
            (attempt,) = server.attempts()
            assert attempt.ended is None
        assert attempt.wait(AT_ONCE_S)


def test_a_client_that_leaves_during_silence_is_noticed(server, caplog):
    """The provider's connection is closed within a second, without any heartbeat."""
    assert streaming._LOOK_S <= 0.5
    caplog.set_level(logging.INFO, "flask_llm")
    server.script(faults.stall_stream(1, ANSWER))
    with served(wired(server)) as address:
        caplog.clear()  # of the start
        with open_stream(address) as client:
            read_until(client, b'{"text": "one"}')
        left = time.monotonic()
        (attempt,) = server.attempts()
        assert attempt.wait(AT_ONCE_S)
        assert attempt.abandoned
        assert attempt.ended - left < AT_ONCE_S

    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert ("INFO", "claude closed by the caller") in lines
    assert not [line for line in lines if line[0] in {"WARNING", "ERROR"}]


def test_a_client_that_leaves_before_the_first_text_is_noticed(server, caplog):
    """As early: nothing has been sent yet, and nobody else is asked."""
    caplog.set_level(logging.INFO, "flask_llm")
    server.script(faults.stall_stream(0, ANSWER))
    second = FakeProvider(name="second")
    with served(wired(server, second)) as address:
        caplog.clear()  # of the start
        with open_stream(address):
            assert server.arrived(1)
        left = time.monotonic()
        (attempt,) = server.attempts()
        assert attempt.wait(AT_ONCE_S)
        assert attempt.abandoned
        assert attempt.ended - left < AT_ONCE_S

    assert second.calls == []
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


def test_a_client_that_leaves_opens_no_circuit(server, monkeypatch):
    """Nobody is to blame, and the next client is answered."""
    monkeypatch.setattr(streaming, "_LOOK_S", 0.02)
    server.script(*[faults.stall_stream(1, ANSWER)] * 6, ANSWER)
    app = wired(server)
    with served(app) as address:
        for number in range(6):
            with open_stream(address) as client:
                read_until(client, b'{"text": "one"}')
            assert server.attempts()[number].wait(AT_ONCE_S)
    assert names(app.test_client().get("/stream").text)[-1] == "done"


def test_a_response_that_is_never_read(server):
    """Closing it, as servers do, stops the provider although nothing was sent."""
    server.script(faults.stall_stream(1, ANSWER))
    app = wired(server)
    with app.test_request_context("/stream"):
        response = app.full_dispatch_request()
        response.close()
    (attempt,) = server.attempts()
    assert attempt.wait(AT_ONCE_S)
    assert attempt.abandoned


def test_a_stream_that_a_service_has_opened(server):
    """`event_stream` makes the same response of a stream that is there."""
    app = wired(server)

    @app.post("/draft")
    def draft():
        return event_stream(app.llm.stream_content("hello", system="Be brief."))

    answer = app.test_client().post("/draft")
    assert names(answer.text) == ["start", *["delta"] * 4, "done"]
    assert server.attempts()[0].fields["system"] == "Be brief."


def test_the_arguments_are_those_of_stream_content():
    """Each reaches the provider, or is refused as there."""
    fake = FakeProvider("hi")
    app = make_app(fake)
    with app.test_request_context("/stream"):
        app.llm.stream_response([{"role": "user", "content": "hello"}], 0.5, 99)
        with pytest.raises(ValueError, match="on_interrupt must be"):
            app.llm.stream_response("hello", on_interrupt="go on")
    assert (fake.calls[0].temperature, fake.calls[0].max_tokens) == (0.5, 99)
    stream = {**app.llm.stream_content.__annotations__}
    response = {**app.llm.stream_response.__annotations__}
    del stream["return"], stream["is_gone"], response["return"]
    assert stream == response
