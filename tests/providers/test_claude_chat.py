"""Claude's conversations, structured answers and streams, over the real SDK."""

import base64
import threading
import time
from contextlib import closing

import pytest
import wire
from faultserver import FaultServer, faults
from faultserver.faults import OK
from pydantic import BaseModel, Field
from real_time import AT_ONCE_S
from wire import message

from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ParameterError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UsedUpError,
)
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

KEY = "sk-ant-api03-a-made-up-key"
PIECES = ["Rayleigh", " scattering."]
PNG = b"\x89PNG\r\n\x1a\n-and-so-on"


class Invoice(BaseModel):
    """What is asked for."""

    number: str
    total: float = Field(ge=0)
    note: str | None = None


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def provider(server):
    return ClaudeProvider(KEY, base_url=server.url, timeout=60)


def sent(server):
    """Return the fields of the last request."""
    return server.attempts()[-1].json


def drained(provider, request=None):
    """Return the texts of a stream, and the response or the error at its end."""
    texts, stream = [], provider.stream(request or Request(wire.PROMPT))
    try:
        while True:
            texts.append(next(stream))
    except StopIteration as end:
        return texts, end.value
    except ProviderError as error:
        return texts, error


class TestConversations:
    def test_system_apart_from_the_messages(self, server, provider):
        """What the system says is no message, wherever it stood."""
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
        ]
        provider.answer(Request(turns, system="Be kind."))
        assert sent(server)["system"] == "Be kind.\n\nBe brief."
        spoken = [each for each in turns if each["role"] != "system"]
        assert sent(server)["messages"] == spoken

    @pytest.mark.parametrize("system", ["", " \n"])
    def test_nothing_for_the_system_to_say(self, server, provider, system):
        """The API refuses a blank system prompt, so there is none."""
        provider.answer(Request("Hi", system=system))
        assert "system" not in sent(server)

    def test_pictures(self, server, provider):
        """Bytes go as base64, addresses as they are, in their places."""
        parts = ["Compare", Image(PNG), "with", Image(url="https://a.example/b.jpg")]
        provider.answer(Request([{"role": "user", "content": parts}]))
        data = base64.b64encode(PNG).decode()
        png = {"type": "base64", "media_type": "image/png", "data": data}
        url = {"type": "url", "url": "https://a.example/b.jpg"}
        assert sent(server)["messages"][0]["content"] == [
            {"type": "text", "text": "Compare"},
            {"type": "image", "source": png},
            {"type": "text", "text": "with"},
            {"type": "image", "source": url},
        ]

    def test_a_picture_without_a_word(self, server, provider):
        """The API refuses blank texts, so an empty caption is left out."""
        parts = [{"type": "text", "text": " "}, {"type": "image", "data": PNG}]
        provider.answer(Request([{"role": "user", "content": parts}]))
        (part,) = sent(server)["messages"][0]["content"]
        assert part["type"] == "image"

    @pytest.mark.parametrize("ask", [ClaudeProvider.answer, drained])
    def test_a_picture_that_it_does_not_take(self, server, provider, ask):
        """Nothing is sent, and the error says what is taken."""
        parts = [Image(b"II*\0", "image/tiff")]
        request = Request([{"role": "user", "content": parts}])
        if ask is drained:
            _, error = drained(provider, request)
        else:
            with pytest.raises(InvalidRequestError) as caught:
                provider.answer(request)
            error = caught.value
        assert error.reason == "takes JPEG, PNG, GIF and WebP only"
        assert server.attempts() == []

    def test_stop(self, server, provider):
        """Texts to stop at are sent, but blank ones, which the API refuses."""
        provider.answer(Request("Hi", stop=("END", "\n\n")))
        assert sent(server)["stop_sequences"] == ["END"]
        provider.answer(Request("Hi", stop=("\n\n",)))
        assert "stop_sequences" not in sent(server)

    @pytest.mark.parametrize("stream", [False, True])
    def test_the_same_request_either_way(self, server, provider, stream):
        """A stream is asked for with all that a single answer is asked for with."""
        request = Request(
            "Hi",
            max_tokens=70,
            system="Be kind.",
            stop=("END",),
            schema=Schema(Invoice),
        )
        if stream:
            drained(provider, request)
        else:
            provider.answer(request)
        found = sent(server)
        assert found.pop("stream", False) is stream
        assert found.pop("output_config")["format"]["type"] == "json_schema"
        assert found == {
            "model": "claude-sonnet-5-5",
            "max_tokens": 70,
            "messages": [{"role": "user", "content": "Hi"}],
            "system": "Be kind.",
            "stop_sequences": ["END"],
            "thinking": {"type": "between_tools"},
        }


class TestStructuredAnswers:
    def test_schema(self, server, provider):
        """Every object is closed, and bounds that the API refuses become words."""
        provider.answer(Request("Hi", schema=Schema(Invoice)))
        schema = sent(server)["output_config"]["format"]["schema"]
        assert schema["additionalProperties"] is False
        assert schema["required"] == ["number", "total"]
        assert "minimum" not in schema["properties"]["total"]
        assert "minimum: 0" in schema["properties"]["total"]["description"]
        assert "system" not in sent(server)

    def test_a_schema_that_it_cannot_be_told(self, server, provider):
        """It is told in words; Claude's schemas know no free-form dicts."""
        free = {"type": "object", "additionalProperties": {"type": "integer"}}
        provider.answer(Request("Hi", schema=Schema(free)))
        assert "output_config" not in sent(server)
        assert '"additionalProperties"' in sent(server)["system"]

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_model_that_takes_no_schema(self, server, provider, stream):
        """It says so once; from then on the schema is told in words."""
        server.script(faults.rejects("output_config"))
        request = Request("Hi", schema=Schema(Invoice))
        if stream:
            _, error = drained(provider, request)
        else:
            with pytest.raises(ParameterError) as caught:
                provider.answer(request)
            error = caught.value
        assert type(error) is ParameterError
        texts, response = drained(provider, request)
        assert texts == PIECES
        assert response.metadata["warnings"][-1].startswith("output_config is not sent")
        assert "number" in sent(server)["system"]


class TestStreams:
    def test_pieces_and_what_is_known(self, server, provider):
        """The texts come as they are sent; the end tells all that an answer tells."""
        texts, response = drained(provider)
        assert texts == PIECES
        whole = provider.answer(Request(wire.PROMPT))
        known = response.metadata
        assert (known.pop("request_id"), whole.metadata.pop("request_id")) == (
            "req_1",
            "req_2",
        )
        assert known == whole.metadata
        assert known["usage"] == {
            "input_tokens": 12,
            "output_tokens": 7,
            "total_tokens": 19,
        }
        assert (response.success, response.content) == (True, "")

    def test_as_it_comes(self, server, provider):
        """A piece is handed out before the next one is there."""
        server.script(faults.stall_stream(1))
        provider.warm_up(full=True)
        stream = provider.stream(Request(wire.PROMPT))
        begin = time.monotonic()
        assert next(stream) == PIECES[0]
        assert time.monotonic() - begin < AT_ONCE_S
        stream.close()

    def test_thoughts_are_no_text(self, server, provider):
        """What the model thinks before is not handed out."""
        server.script(OK(thought="Hm, the sky."))
        texts, response = drained(provider)
        assert texts == PIECES
        assert response.success

    def test_cut_by_max_tokens(self, server, provider):
        """The end says so, so that nobody takes it for all."""
        server.script(OK(finish="length"))
        texts, response = drained(provider)
        assert texts == PIECES
        assert response.metadata["finish_reason"] == "length"

    def test_without_usage(self, server, provider):
        """Tokens that are not counted are unknown."""
        server.script(OK(usage=None))
        _, response = drained(provider)
        assert response.metadata["usage"] is None

    def test_no_text_at_all(self, server, provider):
        """Nothing is handed out; that this is no answer is for the chain to say."""
        server.script(faults.empty_text)
        texts, response = drained(provider)
        assert (texts, response.success) == ([], True)

    def test_closed_in_the_middle(self, server, provider):
        """The provider sees at once that nobody listens, and can be asked again."""
        server.script(faults.stall_stream(1), OK)
        with closing(provider.stream(Request(wire.PROMPT))) as stream:
            next(stream)
        (attempt,) = server.attempts()
        assert attempt.wait()
        assert attempt.abandoned
        assert drained(provider)[0] == PIECES

    def test_its_connection_is_used_again(self):
        """A stream that was read to its end costs the next one no new connection."""
        with FaultServer(keep_alive=True) as server:
            provider = ClaudeProvider(KEY, base_url=server.url)
            for _ in range(3):
                drained(provider)
            assert len({each.connection for each in server.attempts()}) == 1
            provider._client.get().close()

    def test_many_at_once(self, server, provider):
        """Streams of one client do not mix."""
        server.script(faults.ECHO)
        found = {}

        def ask(prompt):
            found[prompt] = "".join(drained(provider, Request(prompt))[0])

        prompts = [f"question {number}" for number in range(16)]
        threads = [threading.Thread(target=ask, args=(each,)) for each in prompts]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert found == {each: f"echo: {each}" for each in prompts}


SERVER_ERROR = "server error 529"
MALFORMED = "malformed answer"
CUT = "connection error"
ENDLESS = "stream without an end"
FAULTS = [
    # Before the stream.
    (faults.rate_limited(7), [], QuotaError, "quota exceeded"),
    (faults.day_quota(), [], UsedUpError, "quota exceeded"),
    (faults.status(503), [], TransientError, "server error 503"),
    (faults.status(529), [], TransientError, SERVER_ERROR),
    (faults.bad_key(), [], AuthError, "API key rejected"),
    (faults.unknown_model(), [], ModelNotFoundError, "model not found"),
    (faults.reset_before_headers, [], TransientError, CUT),
    (faults.close_without_answer, [], TransientError, CUT),
    # In its place.
    (faults.json_instead_of_sse, [], TransientError, MALFORMED),
    (faults.wrong_json, [], TransientError, MALFORMED),
    (faults.html(), [], TransientError, MALFORMED),
    (faults.empty_body, [], TransientError, MALFORMED),
    # In it.
    (faults.error_event(529, after=0), [], TransientError, SERVER_ERROR),
    (faults.error_event(529), PIECES[:1], TransientError, SERVER_ERROR),
    (faults.error_event(429), PIECES[:1], QuotaError, "quota exceeded"),
    (faults.error_event(402), PIECES[:1], UsedUpError, "quota exceeded"),
    (faults.error_event(500), PIECES[:1], TransientError, "server error 500"),
    (faults.error_event(401), PIECES[:1], AuthError, "API key rejected"),
    (faults.error_event(413), PIECES[:1], ContextLengthError, "prompt too long"),
    (faults.error_event(400), PIECES[:1], InvalidRequestError, "request rejected"),
    (faults.cut_stream(0), [], TransientError, CUT),
    (faults.cut_stream(1), PIECES[:1], TransientError, CUT),
    (faults.cut_stream(1, "reset"), PIECES[:1], TransientError, CUT),
    (faults.cut_stream(1, "clean"), PIECES[:1], BadAnswerError, ENDLESS),
    (faults.broken_chunk(0), [], TransientError, MALFORMED),
    (faults.broken_chunk(1), PIECES[:1], TransientError, MALFORMED),
    (faults.missing_terminator, PIECES, BadAnswerError, ENDLESS),
    # At its end.
    (faults.content_filter("answer"), [], ContentBlockedError, "refused to answer"),
    (OK(finish="refused"), PIECES, ContentBlockedError, "refused to answer"),
    (
        faults.thought_only,
        [],
        BadAnswerError,
        "thinking used up max_tokens before any text",
    ),
    (
        OK(text="", finish="length"),
        [],
        BadAnswerError,
        "max_tokens used up before any text",
    ),
]


class TestFaultyStreams:
    @pytest.mark.parametrize(("step", "before", "kind", "reason"), FAULTS, ids=repr)
    def test_what_it_means(self, server, provider, step, before, kind, reason):
        """Whatever text has come, the error is the one of a single answer."""
        server.script(step, OK)
        texts, error = drained(provider)
        assert texts == before
        assert type(error) is kind
        assert (error.reason, error.provider) == (reason, "claude")
        assert drained(provider)[0] == PIECES

    @pytest.mark.parametrize(
        ("step", "before"),
        [
            (faults.hang, []),
            (faults.stall_stream(0), []),
            (faults.stall_stream(1), PIECES[:1]),
        ],
        ids=repr,
    )
    def test_silence(self, server, provider, sockets, step, before):
        """It is not waited for longer than the request says, and is left then."""
        server.script(step, OK)
        stream = provider.stream(Request(wire.PROMPT, timeout=20))
        assert [next(stream) for _ in before] == before
        sockets.hurry()
        with pytest.raises(TimedOutError):
            next(stream)
        assert sockets.last() == 20
        assert server.arrived(1)
        assert server.attempts()[0].wait()
        sockets.hurry(AT_ONCE_S)
        assert drained(provider)[0] == PIECES

    def test_it_may_take_longer_than_a_silence(self, server, provider, sockets, later):
        """Each silence is limited, not the whole."""
        server.script(faults.slow_stream(0.01))
        stream = provider.stream(Request(wire.PROMPT, timeout=60))
        texts = []
        for each in stream:
            texts.append(each)
            later(59)
        assert texts == PIECES
        assert sockets.last() == 60

    def test_the_wait_that_is_asked_for(self, server, provider):
        """A stream that is refused says when to come back."""
        server.script(faults.rate_limited(7))
        _, error = drained(provider)
        assert (error.status, error.retry_after) == (429, 7)

    def test_advice(self, server, provider):
        """A stream of thoughts only is told how to become one of text."""
        server.script(faults.thought_only)
        _, error = drained(provider)
        assert error.advice == "raise max_tokens or set LLM_CLAUDE_THINKING=off"

    @pytest.mark.parametrize("step", [faults.hang, faults.stall_stream(1)], ids=repr)
    def test_cut_by_another_thread(self, server, provider, step):
        """The thread that waits wakes at once, and the API sees that it is left."""
        server.script(step, OK)
        cancellation, found = Cancellation(), []

        def read():
            current_cancellation.set(cancellation)
            found.append(drained(provider)[1])

        reader = threading.Thread(target=read)
        reader.start()
        assert server.arrived(1)
        time.sleep(0.05)  # until it waits
        cancellation.cancel()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert type(found[0]) is TransientError
        assert server.attempts()[0].wait()
        assert drained(provider)[0] == PIECES

    def test_no_secret_in_an_error(self, server, provider):
        """The key stays out of what a stream's error says."""
        server.script(faults.error_event(401, f"{KEY} is not known"))
        _, error = drained(provider)
        assert error.detail == "[redacted] is not known"
        assert (error.__cause__, error.__context__) == (None, None)


def event(kind, **fields):
    return {"type": kind, **fields}


START = event("message_start", message=message(None, stop_reason=None))
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "So"})
STOP = event("message_stop")


def ended(reason, **usage):
    return event("message_delta", delta={"stop_reason": reason}, usage=usage)


def delta(**fields):
    return event("content_block_delta", index=0, delta=fields)


def failed(data):
    return "error", data


def overloaded(**error):
    return failed({"type": "error", "error": error})


@pytest.fixture
def stream(httpserver):
    """Return what streams the given events, and drains them."""

    def stream(*events, **settings):
        parts = [
            each if isinstance(each, tuple) else (each["type"], each) for each in events
        ]
        body = "".join(
            f"event: {k}\ndata: {wire.encoded(d).decode()}\n\n" for k, d in parts
        )
        httpserver.expect_request("/v1/messages").respond_with_data(
            body, content_type="text/event-stream"
        )
        provider = ClaudeProvider(KEY, base_url=httpserver.url_for(""), **settings)
        return drained(provider)

    return stream


class TestEvents:
    """What the fault server does not say."""

    @pytest.mark.parametrize(
        ("events", "texts"),
        [
            ([TEXT, TEXT], ["So", "So"]),
            ([event("ping"), TEXT], ["So"]),
            ([event("daydream", text="not for you"), TEXT], ["So"]),
            ([delta(type="hologram_delta", text="not for you"), TEXT], ["So"]),
            ([delta(type="signature_delta", signature="x"), TEXT], ["So"]),
            ([delta(type="text_delta", text=""), TEXT], ["So"]),
            ([delta(type="text_delta", text=None), TEXT], ["So"]),
            (
                [
                    event(
                        "content_block_start",
                        index=0,
                        content_block={"type": "text", "text": "Is "},
                    ),
                    TEXT,
                ],
                ["Is ", "So"],
            ),
        ],
    )
    def test_texts(self, stream, events, texts):
        """Only text is handed out, and nothing empty."""
        found, response = stream(START, *events, ended("end_turn"), STOP)
        assert found == texts
        assert response.metadata["finish_reason"] == "stop"

    @pytest.mark.parametrize(
        ("events", "kind", "reason"),
        [
            ([TEXT], TransientError, MALFORMED),
            ([START, delta(type="text_delta", text=5)], TransientError, MALFORMED),
            (
                [START, TEXT, delta(type="text_delta", text=5)],
                TransientError,
                MALFORMED,
            ),
            (
                [START, ("ping", "[1"), ("message_stop", "[1]")],
                TransientError,
                MALFORMED,
            ),
            (
                [START, TEXT, STOP],
                BadAnswerError,
                "incomplete answer (stop reason: None)",
            ),
            (
                [START, TEXT, ended("tool_use"), STOP],
                BadAnswerError,
                "incomplete answer (stop reason: tool_use)",
            ),
            ([START, TEXT], BadAnswerError, ENDLESS),
            ([START], TransientError, ENDLESS),
            ([START, overloaded(type="nap_error")], TransientError, "server error 500"),
            ([START, overloaded(type=["x"])], TransientError, "server error 500"),
            ([START, failed("no JSON")], TransientError, "server error 500"),
            (
                [
                    START,
                    overloaded(
                        type="rate_limit_error",
                        message="Slow.",
                        details={"error_code": "enforced_spend_limit_reached"},
                    ),
                ],
                UsedUpError,
                "quota exceeded",
            ),
            (
                [
                    START,
                    overloaded(
                        type="invalid_request_error",
                        message="prompt is too long: 215001 tokens > 200000 maximum",
                    ),
                ],
                ContextLengthError,
                "prompt too long",
            ),
        ],
    )
    def test_faults(self, stream, events, kind, reason):
        """Each is told apart, and none is a success."""
        _, error = stream(*events)
        assert (type(error), error.reason) == (kind, reason)

    @pytest.mark.parametrize(
        "broken", [[], [("message_stop", "[1")], [failed("late")]], ids=repr
    )
    def test_without_its_last_event(self, stream, broken):
        """Once there is a stop reason the answer is whole, whatever breaks then."""
        texts, response = stream(START, TEXT, ended("end_turn"), *broken)
        assert texts == ["So"]
        assert response.success

    @pytest.mark.parametrize(
        "after", [failed("late"), ("message_delta", '{"broken'), STOP], ids=repr
    )
    def test_after_its_end(self, stream, after):
        """An answer that is complete stays so."""
        texts, response = stream(START, TEXT, ended("end_turn"), STOP, after)
        assert (texts, response.success) == (["So"], True)

    def test_two_ends(self, stream):
        """What the first has told holds, though the second says nothing of it."""
        ends = ended("max_tokens", output_tokens=9), ended(None)
        _, response = stream(START, TEXT, *ends, STOP)
        assert response.metadata["finish_reason"] == "length"
        assert response.usage.output_tokens == 9

    def test_uncounted_text(self, stream):
        """What the beginning has counted is not taken for the whole."""
        _, response = stream(START, TEXT, ended("end_turn"), STOP)
        assert response.usage is None

    def test_counted_thinking(self, stream):
        """Hidden thinking is known by its tokens."""
        details = {"thinking_tokens": 300}
        end = ended("max_tokens", output_tokens=300, output_tokens_details=details)
        _, error = stream(START, end, STOP, thinking="off")
        assert error.summary == (
            "thinking used up max_tokens before any text (raise max_tokens)"
        )

    def test_cached_tokens(self, stream):
        """What the end counts replaces what the beginning did."""
        end = ended(
            "end_turn",
            input_tokens=2,
            cache_read_input_tokens=400,
            cache_creation_input_tokens=30,
            output_tokens=9,
        )
        _, response = stream(START, TEXT, end, STOP)
        assert response.usage.input_tokens == 432
        assert response.usage.output_tokens == 9
        assert response.model == "claude-sonnet-5-5"
