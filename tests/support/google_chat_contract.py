"""What must hold of Gemini's conversations and streams, whichever SDK asks."""

import gc
import re
import time
from collections.abc import Mapping
from threading import Thread

import pytest
import wire
from faultserver import FaultServer, faults
from real_time import AT_ONCE_S

from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    InvalidRequestError,
    ParameterError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UsedUpError,
)
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

PIECES = ["Rayleigh", " scattering."]
PNG = b"\x89PNG\r\n\x1a\nof a sky"
PNG_IN_JSON = "iVBORw0KGgpvZiBhIHNreQ=="
MODEL_THAT_TAKES_ALL = "gemini-3.5-flash-lite"

SCHEMA = Schema(
    {
        "title": "Sky",
        "type": "object",
        "properties": {"type": {"type": "string"}, "blue": {"type": "boolean"}},
        "required": ["type"],
    }
)
UNION = Schema(
    {
        "type": "object",
        "properties": {"sky": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "required": ["sky"],
    }
)

# What comes before it fails, which error, and a piece of what it says.
BROKEN_STREAMS = {
    "429": (faults.rate_limited(7), [], QuotaError, "quota exceeded"),
    "a day's quota": (faults.day_quota(), [], UsedUpError, "quota exceeded"),
    "503": (faults.status(503), [], TransientError, "server error 503"),
    "401": (faults.status(401), [], AuthError, ""),
    "302": (faults.status(302), [], InvalidRequestError, "redirected (302)"),
    "web page and 502": (faults.html(502), [], TransientError, "server error 502"),
    "429 within": (faults.error_event(429), PIECES[:1], QuotaError, "quota exceeded"),
    "503 within": (
        faults.error_event(503),
        PIECES[:1],
        TransientError,
        "server error 503",
    ),
    "529 at once": (
        faults.error_event(529, after=0),
        [],
        TransientError,
        "server error 529: Overloaded",
    ),
    "400 within": (
        faults.error_event(400, "The quality of mercy is bad."),
        PIECES[:1],
        InvalidRequestError,
        "request rejected: The quality of mercy is bad.",
    ),
    "reset before": (
        faults.reset_before_headers,
        [],
        TransientError,
        "connection error",
    ),
    "cut": (faults.cut_stream(1), PIECES[:1], TransientError, "connection error"),
    "reset": (
        faults.cut_stream(1, "reset"),
        PIECES[:1],
        TransientError,
        "connection error",
    ),
    "clean cut": (
        faults.cut_stream(1, "clean"),
        PIECES[:1],
        BadAnswerError,
        "stream without an end",
    ),
    "broken JSON": (
        faults.broken_chunk(),
        PIECES[:1],
        TransientError,
        "malformed answer",
    ),
    "answer in one piece": (
        faults.json_instead_of_sse,
        [],
        TransientError,
        "malformed answer",
    ),
    "web page": (faults.html(), [], TransientError, "malformed answer"),
    "wrong JSON": (faults.wrong_json, [], TransientError, "malformed answer"),
    "no end marker": (
        faults.missing_terminator,
        PIECES,
        BadAnswerError,
        "stream without an end",
    ),
    "prompt blocked": (
        faults.content_filter(),
        [],
        ContentBlockedError,
        "prompt blocked (SAFETY)",
    ),
    "answer blocked": (
        faults.OK(finish="refused"),
        PIECES,
        ContentBlockedError,
        "answer blocked by a safety filter",
    ),
    "used up": (
        faults.thought_only,
        [],
        BadAnswerError,
        "thinking used up max_tokens before any text (raise max_tokens)",
    ),
}


def texts(stream):
    """Return what a stream hands out, and its response or error."""
    found = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration as end:
            return found, end.value
        except ProviderError as error:
            return found, error


def drained(provider, request):
    """Return the response to a request, by a stream."""
    _, response = texts(provider.stream(request))
    if isinstance(response, ProviderError):
        raise response
    return response


def camel(value):
    """Return JSON with Google's names; it also takes google-genai's file_uri."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub("_(.)", lambda found: found[1].upper(), name): camel(each)
        for name, each in value.items()
    }


WAYS = pytest.mark.parametrize(
    "ask",
    [lambda provider, request: provider.answer(request), drained],
    ids=["answer", "stream"],
)


class GoogleChatContract:
    """The tests; a subclass tells how its provider is made.

    Attributes:
        wire: The API of the fault server.
        schema_parameter: Where the schema is sent, in JSON.
        schema: `SCHEMA`, as it is sent.
        request_id: What the server calls its answers, as far as the SDK tells.
    """

    wire = "gemini"
    schema_parameter: str
    schema: Mapping
    request_id: str | None = "mAitaLmkHPPlz7IPvtfUqQ4"

    def provider(self, url, **options):
        raise NotImplementedError

    @pytest.fixture
    def server(self):
        with FaultServer() as server:
            yield server

    def sent(self, server):
        """Return the body of the only request."""
        (attempt,) = server.attempts(self.wire)
        return attempt.json

    # Conversations ---------------------------------------------------------------

    @WAYS
    def test_conversation(self, server, ask):
        """Each turn, the system's words and the stops go where the API has them."""
        talk = (
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Why is the sky blue?"},
        )
        provider = self.provider(server.url, model=MODEL_THAT_TAKES_ALL)
        stops = ("END", "1", "2", "3", "4", "5")
        ask(provider, Request(talk, 0.5, 9000, stop=stops))
        body = self.sent(server)
        assert body["contents"] == [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"text": "Why is the sky blue?"}]},
        ]
        assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        config = body["generationConfig"]
        # The API takes no sixth.
        assert config["stopSequences"] == ["END", "1", "2", "3", "4"]
        assert (config["temperature"], config["maxOutputTokens"]) == (0.5, 9000)

    @WAYS
    def test_plain_prompt(self, server, ask):
        """A text alone is sent without a system prompt, stops or a schema."""
        ask(self.provider(server.url), Request("Hi", max_tokens=9000))
        body = self.sent(server)
        assert body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
        assert body["generationConfig"] == {"maxOutputTokens": 9000}
        assert "systemInstruction" not in body

    @pytest.mark.parametrize(
        ("image", "part"),
        [
            (
                Image(PNG),
                {"inlineData": {"mimeType": "image/png", "data": PNG_IN_JSON}},
            ),
            (
                Image(url="https://example.org/sky.jpg?v=1"),
                {
                    "fileData": {
                        "mimeType": "image/jpeg",
                        "fileUri": "https://example.org/sky.jpg?v=1",
                    }
                },
            ),
            (
                Image(url="https://example.org/sky", media_type="image/webp"),
                {
                    "fileData": {
                        "mimeType": "image/webp",
                        "fileUri": "https://example.org/sky",
                    }
                },
            ),
        ],
        ids=["bytes", "address", "address of a told type"],
    )
    def test_image(self, server, image, part):
        """A picture goes as its bytes or its address, in its place among the texts."""
        content = ["What is it?", image, ""]
        request = Request([{"role": "user", "content": content}])
        self.provider(server.url).answer(request)
        (turn,) = self.sent(server)["contents"]
        assert camel(turn["parts"]) == [{"text": "What is it?"}, part]

    @WAYS
    @pytest.mark.parametrize("image", [Image(b"GIMP"), Image(url="https://x.org/sky")])
    def test_image_of_no_known_type(self, server, ask, image):
        """A picture that the API would refuse is refused before a request is sent."""
        request = Request([{"role": "user", "content": [image]}])
        with pytest.raises(InvalidRequestError) as caught:
            ask(self.provider(server.url), request)
        assert caught.value.reason == "takes images of a known media_type only"
        assert server.attempts() == []

    # Structured answers ----------------------------------------------------------

    @WAYS
    def test_schema(self, server, ask):
        """A schema is sent natively, with the type that it needs, and not in words."""
        ask(self.provider(server.url), Request("Hi", schema=SCHEMA))
        body = self.sent(server)
        config = body["generationConfig"]
        assert config["responseMimeType"] == "application/json"
        assert config[self.schema_parameter] == self.schema
        assert "systemInstruction" not in body

    @WAYS
    def test_refused_schema(self, server, ask):
        """A model that takes no schema is told it in words, and held to JSON."""
        server.script(self.wire, faults.rejects(self.schema_parameter))
        provider = self.provider(server.url)
        with pytest.raises(ParameterError):
            ask(provider, Request("Hi", schema=SCHEMA))
        response = ask(provider, Request("Hi", schema=SCHEMA))
        body = server.attempts(self.wire)[-1].json
        config = body["generationConfig"]
        assert config["responseMimeType"] == "application/json"
        assert self.schema_parameter not in config
        assert '"blue"' in body["systemInstruction"]["parts"][0]["text"]
        assert "which refused it" in response.metadata["warnings"][-1]

    @WAYS
    def test_refused_json(self, server, ask):
        """A model that takes no type of answers is not sent a schema either."""
        server.script(self.wire, faults.rejects("response_mime_type"))
        provider = self.provider(server.url)
        with pytest.raises(ParameterError):
            ask(provider, Request("Hi", schema=SCHEMA))
        ask(provider, Request("Hi", schema=SCHEMA))
        assert [
            sorted(attempt.json["generationConfig"].keys() & self.names_of_json())
            for attempt in server.attempts(self.wire)
        ] == [sorted(self.names_of_json()), []]
        body = server.attempts(self.wire)[-1].json
        assert '"blue"' in body["systemInstruction"]["parts"][0]["text"]

    def names_of_json(self):
        return {"responseMimeType", self.schema_parameter}

    # Streams ---------------------------------------------------------------------

    @pytest.mark.parametrize("finish", ["stop", "length"])
    def test_stream(self, server, finish):
        """A stream hands out its texts and tells all that is known of it."""
        server.script(self.wire, faults.OK(finish=finish))
        found, response = texts(self.provider(server.url).stream(Request("Hi")))
        assert found == PIECES
        assert (response.success, response.content) == (True, "")
        assert response.metadata == {
            "model": "gemini-3.8-flash",
            "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
            "finish_reason": finish,
            "request_id": self.request_id,
            "warnings": [
                "temperature is not sent to gemini-3.8-flash, which takes none"
            ],
        }
        assert ":streamGenerateContent" in server.attempts(self.wire)[0].path

    def test_stream_without_usage(self, server):
        """A stream that tells no tokens is complete; its usage is None."""
        server.script(self.wire, faults.OK(usage=None))
        found, response = texts(self.provider(server.url).stream(Request("Hi")))
        assert (found, response.metadata["usage"]) == (PIECES, None)

    def test_each_text_at_once(self, server):
        """A text is handed out before the next one comes."""
        server.script(self.wire, faults.stall_stream(1))
        provider = self.provider(server.url)
        provider.warm_up(full=True)
        stream = provider.stream(Request("Hi", timeout=60))
        started = time.monotonic()
        assert next(stream) == PIECES[0]
        assert time.monotonic() - started < AT_ONCE_S
        stream.close()

    @pytest.mark.timing
    def test_delay_of_a_text(self, server):
        """A text is there within 100 ms of the provider's sending it."""
        provider = self.provider(server.url)
        texts(provider.stream(Request("warm up")))
        server.script(self.wire, faults.slow_stream(0.2))
        started = time.monotonic()
        stream = provider.stream(Request("Hi"))
        at = [time.monotonic() - started for _ in stream]
        assert len(at) == 2
        assert 0.2 <= at[0] < 0.3
        assert 0.4 <= at[1] < 0.5

    def test_long_stream(self, server, sockets, later):
        """A stream may last longer than its provider may be silent."""
        server.script(self.wire, faults.slow_stream(0.01))
        provider = self.provider(server.url)
        provider.warm_up(full=True)
        sockets.told.clear()
        stream = provider.stream(Request("Hi", timeout=60))
        found = [next(stream)]
        later(59)
        found.append(next(stream))
        later(59)
        assert texts(stream)[1].success
        assert found == PIECES
        assert sockets.last() == 60

    @pytest.mark.parametrize(
        ("step", "before"), [(faults.stall_stream(1), PIECES[:1]), (faults.hang, [])]
    )
    def test_silence(self, server, sockets, step, before):
        """A server that falls silent is left when the attempt's time is up."""
        server.script(self.wire, step)
        provider = self.provider(server.url)
        provider.warm_up(full=True)
        stream = provider.stream(Request("Hi", timeout=60))
        assert [next(stream) for _ in before] == before
        sockets.hurry()
        _, error = texts(stream)
        assert sockets.last() == 60
        self.assert_error(provider, error, TimedOutError, "timeout")
        assert server.arrived(1, self.wire)
        assert len(server.attempts(self.wire)) == 1

    def test_refusal_that_drips_in(self, server):
        """A refusal of a stream is not waited for longer than a silence."""
        server.script(self.wire, faults.drip(0.03, faults.status(503)))
        provider = self.provider(server.url)
        provider.warm_up(full=True)
        started = time.monotonic()
        _, error = texts(provider.stream(Request("Hi", timeout=0.15)))
        assert type(error) is TimedOutError
        assert time.monotonic() - started < AT_ONCE_S

    @pytest.mark.parametrize(
        ("step", "before", "kind", "says"),
        BROKEN_STREAMS.values(),
        ids=BROKEN_STREAMS,
    )
    def test_broken_stream(self, server, step, before, kind, says):
        """Whatever is wrong with a stream becomes the right error, never an answer."""
        server.script(self.wire, step)
        provider = self.provider(server.url)
        provider.warm_up(full=True)
        started = time.monotonic()
        found, error = texts(provider.stream(Request("Hi", timeout=60)))
        assert time.monotonic() - started < AT_ONCE_S
        assert found == before
        self.assert_error(provider, error, kind, says)
        assert len(server.attempts(self.wire)) == 1

    @staticmethod
    def assert_error(provider, error, kind, says):
        assert type(error) is kind
        assert says in str(error)
        assert error.provider == provider.name
        assert error.__cause__ is error.__context__ is None

    def test_after_a_broken_stream(self, server):
        """The next stream of the same client is as good as ever."""
        server.script(
            self.wire, faults.cut_stream(1), faults.error_event(429), faults.OK
        )
        provider = self.provider(server.url)
        ends = [texts(provider.stream(Request("Hi"))) for _ in range(3)]
        assert [found for found, _ in ends] == [PIECES[:1], PIECES[:1], PIECES]

    @pytest.mark.parametrize(("code", "seconds"), [(429, 7.0), (503, 8.0)])
    def test_rest_of_a_refused_stream(self, server, code, seconds):
        """How long to rest is read at the opening of a stream as in an answer."""
        server.script(self.wire, faults.status(code, "Wait.", retry_after=seconds))
        _, error = texts(self.provider(server.url).stream(Request("Hi")))
        assert (error.status, error.retry_after) == (code, seconds)

    def test_closed(self, server):
        """Closing a stream hangs up at once, and the client stays usable."""
        server.script(self.wire, faults.stall_stream(1), faults.OK)
        provider = self.provider(server.url)
        stream = provider.stream(Request("Hi"))
        next(stream)
        stream.close()
        (attempt,) = server.attempts(self.wire)
        assert attempt.wait()
        assert attempt.abandoned
        del stream
        gc.collect()  # complains of what is not closed
        assert texts(provider.stream(Request("Hi")))[0] == PIECES

    @pytest.mark.parametrize(
        "step", [faults.hang, faults.stall_stream(1)], ids=["headers", "body"]
    )
    def test_cut(self, server, step):
        """Another thread can end a stream that waits for headers or for a text."""
        server.script(self.wire, step)
        provider, cancellation, ends = self.provider(server.url), Cancellation(), []
        provider.warm_up(full=True)

        def read():
            current_cancellation.set(cancellation)
            ends.append(texts(provider.stream(Request("Hi", timeout=60))))

        thread = Thread(target=read)
        thread.start()
        assert server.arrived(1, self.wire)
        (attempt,) = server.attempts(self.wire)
        time.sleep(0.05)  # until it waits
        cancellation.cancel()
        thread.join(AT_ONCE_S)
        assert not thread.is_alive()
        assert isinstance(ends[0][1], TransientError)
        assert attempt.wait()
        assert attempt.abandoned

    def test_cut_before(self, server):
        """A stream that nobody wants any more ends as soon as it has a connection."""
        server.script(self.wire, faults.hang)
        provider, cancellation, ends = self.provider(server.url), Cancellation(), []
        provider.warm_up(full=True)
        cancellation.cancel()

        def read():
            current_cancellation.set(cancellation)
            ends.append(texts(provider.stream(Request("Hi", timeout=60))))

        thread = Thread(target=read)
        thread.start()
        thread.join(AT_ONCE_S)
        assert not thread.is_alive()
        assert isinstance(ends[0][1], TransientError)

    def test_line_of_an_ended_stream(self):
        """The line of a stream that is over cuts no request on the same connection."""
        with FaultServer(keep_alive=True) as server:
            provider, cancellation = self.provider(server.url), Cancellation()

            def read():
                current_cancellation.set(cancellation)
                texts(provider.stream(Request("Hi")))

            thread = Thread(target=read)
            thread.start()
            thread.join()
            cancellation.cancel()
            assert provider.answer(Request("Hi")).content == wire.ANSWER
            self.hang_up(provider._client.get())
            first, second = server.attempts(self.wire)
            assert first.connection == second.connection

    @staticmethod
    def hang_up(client):
        """Close a client's idle connections, where the garbage collector complains."""
