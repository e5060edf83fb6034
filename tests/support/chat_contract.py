"""What providers of the form that OpenAI's API began owe for conversations and streams.

Each test drives the provider itself, over its real SDK, at the fault server.
"""

import threading
import time
import traceback
from collections.abc import Mapping
from types import MappingProxyType

import pytest
import wire
from faultserver import FaultServer, faults
from real_time import AT_ONCE_S

from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
)
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

PNG = b"\x89PNG\r\n\x1a\n0123"
PNG_URL = "data:image/png;base64,iVBORw0KGgowMTIz"

TALK = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "It scatters."},
    {"role": "user", "content": "What does?"},
)

INVOICE = {
    "title": "Invoice",
    "type": "object",
    "properties": {
        "number": {"type": "string", "maxLength": 12},
        "paid": {"type": "boolean"},
        "note": {"type": "string"},
    },
    "required": ["number", "paid"],
}

# Where a stream may fail: the step, the error, its reason, and how many texts come.
STREAM_FAULTS = [
    (faults.rate_limited(17), QuotaError, "quota exceeded", 0),
    (faults.status(503), TransientError, "server error 503", 0),
    (faults.bad_key(), AuthError, "API key rejected", 0),
    (faults.html(200), TransientError, "malformed answer", 0),
    (faults.json_instead_of_sse, TransientError, "malformed answer", 0),
    (faults.reset_before_headers, TransientError, "connection error", 0),
    (faults.error_event(429, after=0), QuotaError, "quota exceeded", 0),
    (faults.error_event(429), QuotaError, "quota exceeded", 1),
    (faults.cut_stream(1), TransientError, "connection error", 1),
    (faults.cut_stream(1, "reset"), TransientError, "connection error", 1),
    (faults.cut_stream(1, "clean"), BadAnswerError, "stream without an end", 1),
    (faults.missing_terminator, BadAnswerError, "stream without an end", 2),
    (faults.broken_chunk(0), TransientError, "malformed answer", 0),
    (faults.broken_chunk(1), TransientError, "malformed answer", 1),
]


def followed(stream):
    """Return the texts of a stream, and its response or its error."""
    texts = []
    try:
        while True:
            texts.append(next(stream))
    except StopIteration as end:
        return texts, end.value
    except ProviderError as error:
        return texts, error


def events(*data, kind=None):
    """Return a server's answer: a stream of these events."""
    head = f"event: {kind}\n" if kind else ""
    body = "".join(f"{head}data: {wire.encoded(each).decode()}\n\n" for each in data)
    return wire.reply(body, headers={"Content-Type": "text/event-stream"})


class ChatContract:
    """The tests; a subclass states its facts.

    Attributes:
        provider_class: The provider.
        api: What the fault server calls its API.
        suffix: What an address ends with.
        key: A key of the provider's kind.
        known: What the metadata of a stream must say.
        counted_too: What its usage tells besides.
        remedy: The setting that keeps a model from thinking.
        stop: Name of the parameter that holds where to stop.
        most_stops: How many of them the API takes.
    """

    provider_class: type
    api: str
    suffix = ""
    key: str
    known: dict
    counted_too: Mapping[str, int] = MappingProxyType({})
    remedy: str
    stop: str
    most_stops: int

    @pytest.fixture
    def server(self):
        with FaultServer() as server:
            yield server

    @pytest.fixture
    def provider(self, server):
        return self.at(server.url)

    def at(self, url, **settings):
        return self.provider_class(self.key, base_url=f"{url}{self.suffix}", **settings)

    def sent(self, server):
        return [each.json for each in server.attempts(self.api)]

    # Conversations ----------------------------------------------------------------

    @pytest.mark.parametrize("way", ["answer", "stream"])
    def test_conversation(self, server, provider, way):
        """The system speaks first, then each turn in its order."""
        asked = getattr(provider, way)(Request(TALK))
        if way == "stream":
            followed(asked)
        (body,) = self.sent(server)
        assert body["messages"] == list(TALK)
        assert body.get("stream", False) is (way == "stream")

    def test_pictures(self, server, provider):
        """Bytes go as a data address, an address goes as it is, in their order."""
        parts = ["Compare", Image(PNG), Image(url="https://example.com/a.jpg")]
        provider.answer(Request([{"role": "user", "content": parts}]))
        (body,) = self.sent(server)
        assert body["messages"][0]["content"] == [
            {"type": "text", "text": "Compare"},
            {"type": "image_url", "image_url": {"url": PNG_URL}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        ]

    def test_stop(self, server, provider):
        """As many places to stop are sent as the API takes; none if there are none."""
        provider.answer(Request("hi", stop=tuple("abcdefg")))
        provider.answer(Request("hi"))
        first, second = self.sent(server)
        assert first[self.stop] == list("abcdefg")[: self.most_stops]
        assert self.stop not in second

    def test_stop_is_learned(self, server, provider):
        """A model that knows no place to stop is asked without from then on."""
        server.script(self.api, faults.rejects(self.stop))
        request = Request("hi", stop=("END",))
        with pytest.raises(ProviderError, match=f"{self.stop} refused, left out"):
            provider.answer(request)
        response = provider.answer(request)
        assert response.content == wire.ANSWER
        (warning,) = response.metadata["warnings"]
        assert warning.startswith(f"{self.stop} is not sent to")

    def test_unsayable_schema(self, server, provider):
        """A schema that the API cannot be told is told in words."""
        schema = Schema({"type": "array", "items": {"type": "string"}})
        provider.answer(Request("Name colors.", schema=schema))
        (body,) = self.sent(server)
        assert "response_format" not in body
        assert body["messages"][0] == {"role": "system", "content": schema.instruction}

    def test_schema_is_learned(self, server, provider):
        """A model that takes no schema is told in words from then on."""
        server.script(self.api, faults.rejects("response_format"))
        schema = Schema(INVOICE)
        request = Request("Read it.", schema=schema)
        with pytest.raises(ProviderError, match="response_format"):
            provider.answer(request)
        assert provider.answer(request).success
        first, second = self.sent(server)
        assert "response_format" in first
        assert "response_format" not in second
        assert schema.instruction in second["messages"][0]["content"]

    # Streams ----------------------------------------------------------------------

    def test_stream(self, server, provider):
        """The texts come piece by piece, and what is known of the answer at the end."""
        texts, response = followed(provider.stream(Request(wire.PROMPT)))
        assert texts == ["Rayleigh", " scattering."]
        assert (response.success, response.content) == (True, "")
        assert response.provider_name == provider.name
        assert response.metadata == self.known | {
            "usage": {
                "input_tokens": 12,
                "output_tokens": 7,
                "total_tokens": 19,
                **self.counted_too,
            },
            "finish_reason": "stop",
            "warnings": [],
        }

    def test_same_request(self, server, provider):
        """A stream asks for the same as an answer in one piece."""
        request = Request(TALK, 0.5, 77, stop=("END",), schema=Schema(INVOICE))
        provider.answer(request)
        followed(provider.stream(request))
        unary, streamed = self.sent(server)
        del streamed["stream"]
        unary.pop("stream", None)
        for name in provider.of_streams:
            del streamed[name]
        assert streamed == unary

    @pytest.mark.parametrize(
        ("step", "cls", "reason", "count"),
        STREAM_FAULTS,
        ids=[repr(each[0]) for each in STREAM_FAULTS],
    )
    def test_fault(self, server, provider, step, cls, reason, count):
        """Each fault is an error of the right kind, and never a shorter answer."""
        server.script(self.api, step)
        texts, error = followed(provider.stream(Request(wire.PROMPT)))
        assert (type(error), error.reason) == (cls, reason)
        assert texts == ["Rayleigh", " scattering."][:count]
        assert error.provider == provider.name
        server.script(self.api, faults.OK)
        assert provider.answer(Request(wire.PROMPT)).content == wire.ANSWER

    def test_retry_after(self, server, provider):
        """How long to wait is told at the opening too."""
        server.script(self.api, faults.rate_limited(17))
        _, error = followed(provider.stream(Request(wire.PROMPT)))
        assert (error.status, error.retry_after) == (429, 17.0)

    @pytest.mark.parametrize(
        ("step", "count"), [(faults.stall_stream(1), 1), (faults.hang, 0)]
    )
    def test_silence(self, server, provider, sockets, step, count):
        """A server that falls silent is left when the attempt's time is up."""
        server.script(self.api, step)
        provider.warm_up(full=True)
        stream = provider.stream(Request(wire.PROMPT, timeout=60))
        assert [next(stream) for _ in range(count)] == ["Rayleigh"][:count]
        sockets.hurry()
        _, error = followed(stream)
        assert (type(error), error.reason) == (TimedOutError, "timeout")
        assert sockets.last() == 60

    def test_slow_but_steady(self, server, provider, sockets, later):
        """A stream may take longer than its silences may."""
        server.script(self.api, faults.slow_stream(0.01))
        stream = provider.stream(Request(wire.PROMPT, timeout=60))
        texts = [next(stream)]
        later(59)
        texts.append(next(stream))
        later(59)
        rest, response = followed(stream)
        assert "".join(texts + rest) == wire.ANSWER
        assert response.success
        assert sockets.last() == 60

    def test_own_timeout(self, server, sockets):
        """How long the chain lets a stream be silent wins over the provider's own."""
        provider = self.at(server.url, timeout=20)
        texts, _ = followed(provider.stream(Request(wire.PROMPT, timeout=60)))
        assert "".join(texts) == wire.ANSWER
        assert sockets.last() == 60

    def test_length(self, server, provider):
        """An answer cut by max_tokens says so."""
        server.script(self.api, faults.OK(finish="length"))
        texts, response = followed(provider.stream(Request(wire.PROMPT)))
        assert "".join(texts) == wire.ANSWER
        assert response.metadata["finish_reason"] == "length"

    def test_used_up(self, server, provider):
        """Thinking that leaves no room for a text is told with its remedy."""
        server.script(self.api, faults.thought_only)
        texts, error = followed(provider.stream(Request(wire.PROMPT)))
        assert texts == []
        assert error.reason == "thinking used up max_tokens before any text"
        assert error.advice == f"raise max_tokens or set {self.remedy}=off"

    def test_thinking_is_no_text(self, server, provider):
        """What a model thinks is not handed out."""
        server.script(self.api, faults.OK(thought="Hm, the sky."))
        texts, _ = followed(provider.stream(Request(wire.PROMPT)))
        assert "".join(texts) == wire.ANSWER

    def test_no_usage(self, server, provider):
        """Tokens that were not counted are not made up."""
        server.script(self.api, faults.OK(usage=None))
        _, response = followed(provider.stream(Request(wire.PROMPT)))
        assert response.metadata["usage"] is None

    def test_closing(self, server, provider):
        """Closing hangs up at once, and the provider goes on working."""
        server.script(self.api, faults.stall_stream(1), faults.OK)
        stream = provider.stream(Request(wire.PROMPT))
        assert next(stream) == "Rayleigh"
        stream.close()
        (attempt,) = server.attempts(self.api)
        assert attempt.wait()
        assert attempt.abandoned
        texts, response = followed(provider.stream(Request(wire.PROMPT)))
        assert "".join(texts) == wire.ANSWER
        assert response.success

    def test_never_begun(self, server, provider):
        """Closing a stream that nobody began to read asks for nothing."""
        provider.stream(Request(wire.PROMPT)).close()
        assert server.attempts(self.api) == []

    @pytest.mark.parametrize("step", [faults.stall_stream(1), faults.hang])
    def test_cut_from_outside(self, server, provider, step):
        """Another thread can end the wait for the next byte, at once."""
        server.script(self.api, step)
        provider.warm_up(full=True)
        cancellation, ends = Cancellation(), []

        def read():
            current_cancellation.set(cancellation)
            stream = provider.stream(Request(wire.PROMPT, timeout=60))
            ends.append(followed(stream)[1])

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert server.arrived(1, self.api)
        time.sleep(0.05)  # until it waits
        cancellation.cancel()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert isinstance(ends[0], TransientError)
        assert server.attempts(self.api)[0].wait()

    @pytest.mark.parametrize("where", ["opening", "event"])
    def test_key_in_an_error(self, server, provider, where):
        """A key in the server's words leaves its mark, and nothing leads to it."""
        fail = faults.status if where == "opening" else faults.error_event
        server.script(self.api, fail(503, f"{self.key}: overloaded"))
        _, error = followed(provider.stream(Request(wire.PROMPT)))
        assert "[redacted]: overloaded" in error.detail
        assert error.__cause__ is None
        assert error.__context__ is None
        assert self.key not in "".join(traceback.format_exception(error))

    def test_blocked(self, server, provider):
        """What a filter cuts is blocked, whatever was handed out before."""
        with wire.Stub(self.blocked()) as stub:
            texts, error = followed(self.at(stub.url).stream(Request(wire.PROMPT)))
        assert texts == ["Rayleigh"]
        assert type(error) is ContentBlockedError

    def blocked(self):
        """Return a server's answer: a stream that a filter ends after one word."""
        raise NotImplementedError
