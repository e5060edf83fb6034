"""Ollama's conversations, structured answers and streams, over its real SDK."""

import json
import pickle
import threading
import time
import traceback
from base64 import b64decode

import pytest
import wire
from faultserver import FaultServer, faults
from pydantic import BaseModel
from real_time import AT_ONCE_S
from wire import ANSWER, PROMPT

from flask_llm.errors import (
    BadAnswerError,
    InvalidRequestError,
    ModelNotFoundError,
    ParameterError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UnavailableError,
    UsedUpError,
)
from flask_llm.providers.ollama import OllamaProvider
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

KEY = "ollama-made-up-key-0123456789"
PNG = b"\x89PNG\r\n\x1a\n and some more bytes"
ASKED = Request(PROMPT)
WHOLE = {
    "model": "llama3.2",
    "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
    "finish_reason": "stop",
    "warnings": [],
}


class Invoice(BaseModel):
    number: str
    total: float


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def provider(server):
    return made(server)


def made(server, key=KEY, **settings):
    usual = {"model": "llama3.2", "timeout": 60, "load_timeout": 60}
    return OllamaProvider(key, base_url=server.url, **usual | settings)


def streamed(provider, request=ASKED):
    """Return the texts of a stream, and the response at its end."""
    texts, stream = [], provider.stream(request)
    while True:
        try:
            texts.append(next(stream))
        except StopIteration as end:
            return texts, end.value


def broken(provider, request=ASKED):
    """Return the texts of a stream, and the error at its end."""
    texts = []
    with pytest.raises(ProviderError) as caught:
        texts.extend(provider.stream(request))  # keeps what came before the error
    return texts, caught.value


def sent(server):
    """Return the body of the only request."""
    (attempt,) = server.attempts("ollama")
    return attempt.json


ASKS = [
    pytest.param(lambda provider, request: provider.answer(request), id="answer"),
    pytest.param(streamed, id="stream"),
]


@pytest.mark.parametrize("ask", ASKS)
class TestRequest:
    """What the server is sent is the same for an answer at once and for a stream."""

    def test_conversation(self, server, provider, ask):
        """The system's words come first, then the turns in order."""
        conversation = [
            {"role": "user", "content": "I am Ada."},
            {"role": "assistant", "content": "Hello, Ada."},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who am I?"},
        ]
        ask(provider, Request(conversation, system="Be kind."))
        assert sent(server)["messages"] == [
            {"role": "system", "content": "Be kind.\n\nBe brief."},
            {"role": "user", "content": "I am Ada."},
            {"role": "assistant", "content": "Hello, Ada."},
            {"role": "user", "content": "Who am I?"},
        ]

    def test_options(self, server, ask):
        """Stop texts stand among the options, beside size and temperature."""
        provider = made(server, context=8192)
        ask(provider, Request(PROMPT, 0.25, 300, stop=("END", "\n\n")))
        assert sent(server)["options"] == {
            "num_predict": 300,
            "temperature": 0.25,
            "stop": ["END", "\n\n"],
            "num_ctx": 8192,
        }

    def test_schema(self, server, provider, ask):
        """A schema is the `format`, and nothing of it is told in words."""
        ask(provider, Request(PROMPT, schema=Schema(Invoice)))
        body = sent(server)
        assert body["format"]["required"] == ["number", "total"]
        assert body["format"]["properties"]["total"]["type"] == "number"
        assert body["messages"] == [{"role": "user", "content": PROMPT}]

    def test_nothing_unasked(self, server, provider, ask):
        """Without schema, stop texts and thinking none of them is sent."""
        ask(provider, ASKED)
        body = sent(server)
        assert not {"format", "think"} & set(body)
        assert body["options"] == {"num_predict": 1024, "temperature": 0.0}

    def test_pictures(self, server, provider, ask):
        """Pictures go beside the text of their own message."""
        look = ["What is", Image(PNG), "this?"]
        again = [{"role": "user", "content": look}, {"role": "user", "content": "Hm?"}]
        ask(provider, Request(again))
        first, second = sent(server)["messages"]
        assert first["content"] == "What is\nthis?"
        assert [b64decode(each) for each in first["images"]] == [PNG]
        assert second == {"role": "user", "content": "Hm?"}

    def test_address_of_a_picture(self, server, provider, ask):
        """A picture that the server would have to fetch is refused before a request."""
        picture = [Image(url="http://127.0.0.1/cat.png")]
        with pytest.raises(InvalidRequestError) as caught:
            ask(provider, Request([{"role": "user", "content": picture}]))
        assert caught.value.reason == "takes images as data only"
        assert server.attempts() == []

    @pytest.mark.parametrize(
        "refusal",
        [
            faults.unsupported("format"),
            faults.status(
                400,
                "json: cannot unmarshal object into Go struct field"
                " ChatRequest.format of type string",
            ),
        ],
    )
    def test_refused_schema(self, server, provider, ask, refusal):
        """A server that knows no schemas is told in words from then on."""
        server.script("ollama", refusal, faults.OK)
        request = Request(PROMPT, schema=Schema(Invoice))
        with pytest.raises(ParameterError):
            ask(provider, request)
        ask(provider, request)
        first, second = (each.json for each in server.attempts("ollama"))
        assert "format" in first
        assert "format" not in second
        assert "JSON schema" in second["messages"][0]["content"]


class TestStream:
    def test_pieces(self, server, provider):
        """The text comes in pieces, and the end tells what is known of it."""
        texts, response = streamed(provider)
        assert texts == ["Rayleigh", " scattering."]
        assert response.success
        assert response.metadata == WHOLE
        assert sent(server)["stream"] is True

    def test_lazy(self, server, provider):
        """Nobody is asked before somebody reads."""
        stream = provider.stream(ASKED)
        stream.close()
        assert server.attempts() == []

    def test_cut_by_max_tokens(self, server, provider):
        """An answer that is cut says so."""
        server.script("ollama", faults.OK(text="So it", finish="length"))
        texts, response = streamed(provider)
        assert texts == ["So", " it"]
        assert response.metadata["finish_reason"] == "length"

    def test_thinking_is_no_text(self, server, provider):
        """What a model thinks is not handed out."""
        server.script("ollama", faults.OK(thought="Hm, the sky."))
        texts, _ = streamed(provider)
        assert "".join(texts) == ANSWER

    def test_uncounted(self, server, provider):
        """A server that does not count leaves usage unknown."""
        server.script("ollama", faults.OK(usage=None))
        _, response = streamed(provider)
        assert response.metadata["usage"] is None

    def test_whole_answer_in_one_line(self, server, provider):
        """A server that does not stream gives its answer in one piece."""
        server.script("ollama", faults.json_instead_of_sse)
        texts, response = streamed(provider)
        assert texts == [ANSWER]
        assert response.metadata == WHOLE

    def test_slow_pieces(self, server, provider, sockets, later):
        """The time limits each silence, not the whole."""
        text = "one two three four five six"
        server.script("ollama", faults.slow_stream(0.01, faults.OK(text=text)))
        texts = []
        for each in provider.stream(Request(PROMPT, timeout=20)):
            texts.append(each)
            later(19)
        assert "".join(texts) == text
        assert sockets.last() == 20

    def test_two_streams_in_turn(self, server, provider):
        """Streams read in turn by one thread keep their times and their texts."""
        server.script("ollama", faults.ECHO)
        first = provider.stream(Request("one two", timeout=5))
        second = provider.stream(Request("three four", timeout=4))
        read = [next(each) for _ in "123" for each in (first, second)]
        assert "".join(read[::2]) == "echo: one two"
        assert "".join(read[1::2]) == "echo: three four"
        for each in (first, second):
            assert list(each) == []


REFUSED = {
    "429": (faults.rate_limited(17), QuotaError, "quota exceeded", 429),
    "weekly": (faults.day_quota(), UsedUpError, "quota exceeded", 429),
    "503": (faults.status(503), TransientError, "server error 503", 503),
    "404": (faults.unknown_model(), ModelNotFoundError, "model not found", 404),
    "web page": (faults.html(502), TransientError, "server error 502", 502),
}

NO_STREAM = {
    "page": (faults.html(), TransientError, "malformed answer"),
    "empty": (faults.empty_body, TransientError, "stream without an end"),
    "other JSON": (faults.wrong_json, TransientError, "malformed answer"),
    "half a line": (faults.malformed_body, TransientError, "malformed answer"),
    "reset": (faults.reset_before_headers, TransientError, "connection error"),
    "closed": (faults.close_without_answer, TransientError, "connection error"),
    "thinking only": (
        faults.thought_only,
        BadAnswerError,
        "thinking used up max_tokens before any text",
    ),
    "nothing": (
        faults.OK(text="", finish="length"),
        BadAnswerError,
        "max_tokens used up before any text",
    ),
    "error at once": (
        faults.error_event(500, "boom", after=0),
        BadAnswerError,
        "answered with an error",
    ),
    "error of a strange shape": (
        faults.page("", "application/x-ndjson", b'{"error": {"code": 5}}\n'),
        TransientError,
        "malformed answer",
    ),
    "list": (
        faults.page("", "application/x-ndjson", b"[1]\n"),
        TransientError,
        "malformed answer",
    ),
    "blank line": (
        faults.page("", "application/x-ndjson", b"\n"),
        TransientError,
        "malformed answer",
    ),
}

BROKEN_OFF = {
    "overloaded": (faults.error_event(529), TransientError, "server error"),
    "429": (faults.error_event(429), QuotaError, "quota exceeded"),
    "loses the model": (
        faults.error_event(404, "model 'llama3.2' not found"),
        ModelNotFoundError,
        "model not found",
    ),
    "error": (
        faults.error_event(500, "an error was encountered while running the model"),
        BadAnswerError,
        "answered with an error",
    ),
    "closed": (faults.cut_stream(1), TransientError, "connection error"),
    "reset": (faults.cut_stream(1, "reset"), TransientError, "connection error"),
    "clean end": (
        faults.cut_stream(1, "clean"),
        BadAnswerError,
        "stream without an end",
    ),
    "broken chunk": (faults.broken_chunk(1), TransientError, "malformed answer"),
}


class TestStreamFaults:
    """Never a truncated success, and afterwards the client works as before."""

    @pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
    def test_refused(self, server, provider, fault):
        """A status at the opening means what it means without a stream."""
        step, kind, reason, status = fault
        server.script("ollama", step, faults.OK)
        texts, error = broken(provider)
        assert (texts, type(error), error.status) == ([], kind, status)
        assert error.reason == reason
        assert "".join(streamed(provider)[0]) == ANSWER

    @pytest.mark.parametrize("fault", NO_STREAM.values(), ids=NO_STREAM)
    def test_no_stream(self, server, provider, fault):
        """What never was a stream of text hands out nothing."""
        step, kind, reason = fault
        server.script("ollama", step, faults.OK)
        texts, error = broken(provider)
        assert (texts, type(error), error.reason) == ([], kind, reason)
        assert "".join(streamed(provider)[0]) == ANSWER

    @pytest.mark.parametrize("fault", BROKEN_OFF.values(), ids=BROKEN_OFF)
    def test_broken_off(self, server, provider, fault):
        """What breaks off after some text is an error after that text."""
        step, kind, reason = fault
        server.script("ollama", step, faults.OK)
        texts, error = broken(provider)
        assert (texts, type(error), error.reason) == (["Rayleigh"], kind, reason)
        assert "".join(streamed(provider)[0]) == ANSWER

    def test_missing_terminator(self, server, provider):
        """All of the text without the last line is no whole answer."""
        server.script("ollama", faults.missing_terminator)
        texts, error = broken(provider)
        assert "".join(texts) == ANSWER
        assert (type(error), error.reason) == (BadAnswerError, "stream without an end")

    @pytest.mark.parametrize(
        ("end", "reason"),
        [({}, "None"), ({"done_reason": "load"}, "load"), ({"done_reason": "x"}, "x")],
    )
    def test_end_of_tomorrow(self, end, reason):
        """A last line must say that the answer is whole."""
        line = {"model": "m", "message": {"role": "assistant", "content": "So"}}
        with wire.Stub(wire.reply(line | {"done": True} | end)) as stub:
            texts, error = broken(made(stub))
        assert texts == ["So"]
        assert error.reason == f"incomplete answer (done reason: {reason})"

    @pytest.mark.parametrize(
        ("step", "count"), [(faults.hang, 0), (faults.stall_stream(1), 1)]
    )
    def test_silence(self, server, provider, sockets, step, count):
        """Silence, at first or later, is a timeout."""
        server.script("ollama", step, faults.OK)
        stream = provider.stream(Request(PROMPT, timeout=20))
        assert [next(stream) for _ in range(count)] == ["Rayleigh"][:count]
        sockets.hurry()
        with pytest.raises(TimedOutError) as caught:
            next(stream)
        assert caught.value.reason == "timeout"
        assert sockets.last() == 20
        assert server.arrived(1, "ollama")
        sockets.hurry(AT_ONCE_S)
        assert "".join(streamed(provider)[0]) == ANSWER

    def test_absent(self):
        """A server that is not there is unavailable, as without a stream."""
        url = wire.closed_port()
        provider = OllamaProvider(base_url=url, model="llama3.2")
        _, error = broken(provider)
        assert type(error) is UnavailableError
        assert error.reason == f"no server at {url}"
        assert "refused" in error.detail

    def test_advice(self, server, provider):
        """Thinking that left no room is told with its remedy."""
        server.script("ollama", faults.thought_only)
        _, error = broken(provider)
        assert error.advice == "raise max_tokens or set LLM_OLLAMA_THINKING=off"
        _, error = broken(made(server, thinking="off"))
        assert error.advice == "raise max_tokens"

    @pytest.mark.parametrize("after", [0, 1])
    def test_key(self, server, provider, after):
        """A key in an error of the stream leaves nothing of itself."""
        server.script("ollama", faults.error_event(500, f"{KEY} is odd", after=after))
        _, error = broken(provider)
        assert "[redacted] is odd" in error.detail
        assert KEY not in "".join(traceback.format_exception(error))
        assert KEY.encode() not in pickle.dumps(error)
        assert error.__context__ is None


class TestLeaving:
    def test_close(self, server, provider):
        """Closing the generator hangs up at once, and the client goes on to work."""
        server.script("ollama", faults.stall_stream(1), faults.OK)
        stream = provider.stream(ASKED)
        assert next(stream) == "Rayleigh"
        stream.close()
        (attempt,) = server.attempts("ollama")
        assert attempt.wait()
        assert attempt.abandoned
        assert "".join(streamed(provider)[0]) == ANSWER

    @pytest.mark.parametrize("step", [faults.hang, faults.stall_stream(1)])
    def test_cut(self, server, step):
        """A reader that waits for bytes wakes at once when its line is cut."""
        server.script("ollama", step, faults.OK)
        provider, cancellation = made(server, load_timeout=60), Cancellation()

        def read():
            current_cancellation.set(cancellation)
            broken(provider)

        reader = threading.Thread(target=read)
        reader.start()
        assert server.arrived(1, "ollama")
        time.sleep(0.05)  # until it waits
        cancellation.cancel()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert server.attempts("ollama")[0].wait()
        assert "".join(streamed(provider)[0]) == ANSWER


class TestLoading:
    """A cold model has `load_timeout` seconds for its first words."""

    def test_cold(self, server):
        """The first words may take long; then the model counts as loaded."""
        server.script("ollama", faults.slow_first_byte(0.2))
        provider = made(server, timeout=0.05, load_timeout=60)
        assert provider.patience() == 60
        assert "".join(streamed(provider)[0]) == ANSWER
        assert provider.patience() == 0.05
        _, error = broken(provider)
        assert type(error) is TimedOutError

    def test_first_words_are_an_answer(self, server):
        """A model that speaks is loaded, whatever becomes of its answer."""
        server.script("ollama", faults.stall_stream(1))
        provider = made(server, timeout=20, load_timeout=60)
        stream = provider.stream(ASKED)
        next(stream)
        assert provider.patience() == 20
        stream.close()
        assert provider.patience() == 20

    def test_own_time(self, server, sockets):
        """A request that brings a time of its own waits no longer than that."""
        server.script("ollama", faults.hang)
        sockets.hurry()
        broken(made(server, timeout=5, load_timeout=60), Request(PROMPT, timeout=20))
        assert sockets.last() == 20

    @pytest.mark.parametrize(
        ("step", "count", "left"),
        [
            (faults.hang, 0, 20),  # waited for in vain
            (faults.stall_stream(1), 1, 60),  # it was loaded, and may be no more
            (faults.cut_stream(1, "reset"), 1, 60),
            (faults.status(503), 0, 60),
        ],
    )
    def test_failure(self, server, sockets, step, count, left):
        """Only silence before the first words is waiting for a load in vain."""
        server.script("ollama", step)
        provider = made(server, timeout=20, load_timeout=60)
        stream = provider.stream(ASKED)
        for _ in range(count):
            next(stream)
        sockets.hurry()
        with pytest.raises(ProviderError):
            next(stream)
        assert provider.patience() == left

    def test_refusal(self, server):
        """A refusal unloads nothing."""
        server.script("ollama", faults.OK, faults.status(400))
        provider = made(server, timeout=5, load_timeout=60)
        streamed(provider)
        broken(provider)
        assert provider.patience() == 5

    def test_a_reader_that_leaves(self, server):
        """Hanging up says nothing of the model."""
        server.script("ollama", faults.OK, faults.stall_stream(1))
        provider, cancellation = (
            made(server, timeout=20, load_timeout=60),
            Cancellation(),
        )
        streamed(provider)

        def read():
            current_cancellation.set(cancellation)
            stream = provider.stream(ASKED)
            next(stream)
            threading.Timer(0.05, cancellation.cancel).start()
            with pytest.raises(TransientError):
                next(stream)

        reader = threading.Thread(target=read)
        reader.start()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert provider.patience() == 20

    @pytest.mark.parametrize(("after", "left"), [(40, 60), (60, 20)])
    def test_a_reader_that_waited_in_vain(self, server, later, after, left):
        """Who leaves after all the time for loading has waited for it in vain."""
        server.script("ollama", faults.hang)
        provider, cancellation = (
            made(server, timeout=20, load_timeout=60),
            Cancellation(),
        )

        def read():
            current_cancellation.set(cancellation)
            broken(provider, Request(PROMPT, timeout=100))

        reader = threading.Thread(target=read)
        reader.start()
        assert server.arrived(1, "ollama")
        later(after)
        cancellation.cancel()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert provider.patience() == left


def lines(*told):
    """Return a stream of chunks as Go writes them: characters as they are."""
    written = (json.dumps(each, ensure_ascii=False) + "\n" for each in told)
    headers = {"Content-Type": "application/x-ndjson"}
    return wire.reply("".join(written).encode(), headers=headers)


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\u2029", "\x1c\x0b"])
def test_separators_in_a_text(odd):
    """A character that ends lines elsewhere ends none of a stream."""
    usual = {"model": "llama3.2", "created_at": "2026-11-01T00:00:00Z", "done": False}
    said = usual | {"message": {"role": "assistant", "content": f"one{odd}two"}}
    nothing = {"role": "assistant", "content": ""}
    end = usual | {"message": nothing, "done": True, "done_reason": "stop"}
    with wire.Stub(lines(said, end)) as stub:
        texts, response = streamed(made(stub))
    assert texts == [f"one{odd}two"]
    assert response.metadata["finish_reason"] == "stop"
