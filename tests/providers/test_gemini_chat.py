"""Conversations and streams through google-generativeai."""

import json

import pytest
import wire
from google_chat_contract import PIECES, UNION, WAYS, GoogleChatContract, texts
from wire import generated, google_error

from flask_llm.errors import BadAnswerError, QuotaError, TransientError
from flask_llm.providers.google.gemini import Elements, GeminiProvider
from flask_llm.types import Request

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"

# Its enums are numbers on the wire.
SAID = {
    "type": 6,
    "properties": {"type": {"type": 1}, "blue": {"type": 4}},
    "required": ["type"],
}


class TestGeminiChat(GoogleChatContract):
    schema_parameter = "responseSchema"
    schema = SAID
    request_id = None

    def provider(self, url, **options):
        return GeminiProvider(KEY, base_url=url, **options)

    @WAYS
    def test_schema_that_cannot_be_said(self, server, ask):
        """A schema beyond the SDK's dialect is told in words; the type is sent."""
        ask(self.provider(server.url), Request("Hi", schema=UNION))
        body = self.sent(server)
        assert body["generationConfig"] == {
            "maxOutputTokens": 1024,
            "responseMimeType": "application/json",
        }
        assert '"anyOf"' in body["systemInstruction"]["parts"][0]["text"]


class Body:
    """The body of an answer, which comes in pieces."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def stream(self, size, *, decode_content):
        yield from self.pieces


def listed(*pieces):
    return b"".join(Elements(Body(*pieces)).stream(1, decode_content=True))


ELEMENTS = [{"text": 'a "}], {[\\" b'}, {"text": "Größe 📏", "n": [1, {}]}]
ESCAPED = json.dumps(ELEMENTS).encode()
PRETTY = json.dumps(ELEMENTS, ensure_ascii=False, indent=2).encode() + b"\r\n"


@pytest.mark.parametrize("body", [ESCAPED, PRETTY, b"\n[]\n", b" [ ] "])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_of_a_list(body, size):
    """A list comes through whole, wherever the network cuts it."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert json.loads(listed(*pieces)) == json.loads(body)


def test_elements_at_once():
    """An element comes out with the piece that ends it."""
    stream = Elements(Body(b'[{"a": 1}\n', b',\n{"b"', b": 2}", b"]")).stream(
        1, decode_content=True
    )
    assert list(stream) == [b'[{"a": 1}', b',{"b": 2}', b"]"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"null",
        b'{"a": 1}',
        b"[5]",
        b'["a"]',
        b'[{"a": 1',
        b'[{"a": 1}, {"b',
        b'[{"error": "no"}]',
        b'[{"error": {"code": "429"}}]',
        b'[{"error": {"message": "no"}}]',
    ],
)
def test_no_list(body):
    """What is no list of objects, or not all of one, is a malformed answer."""
    with pytest.raises(TransientError, match="malformed answer"):
        listed(body)


@pytest.mark.parametrize("body", [b"[", b'[{"a": 1}', b'[{"a": 1},\r\n'])
def test_list_without_an_end(body):
    """A list that ends between two elements has no end."""
    with pytest.raises(BadAnswerError, match="stream without an end"):
        listed(body)


def streamed(*elements, then=b"]"):
    """Return an answer that is a list, with something behind it."""
    body = b"[" + b",\r\n".join(map(wire.encoded, elements)) + then
    return wire.reply(body)


def test_line_break_behind_the_list():
    """The line break of Google's pretty lists, over which the SDK trips, is none."""
    answer = streamed(generated("Hi", finish=None), generated("!"), then=b"\n]\n")
    with wire.Stub(answer) as stub:
        provider = GeminiProvider(KEY, base_url=stub.url)
        found, response = texts(provider.stream(Request("Hi")))
    assert (found, response.metadata["finish_reason"]) == (["Hi", "!"], "stop")


def test_rest_told_within_a_stream():
    """An error within a stream tells how long to rest, and of which quota it is."""
    answer = streamed(generated("Hi", finish=None), wire.exhausted("37.5s"))
    with wire.Stub(answer) as stub:
        provider = GeminiProvider(KEY, base_url=stub.url)
        found, error = texts(provider.stream(Request("Hi")))
    assert (found, type(error)) == (["Hi"], QuotaError)
    assert (error.status, error.retry_after) == (429, 37.5)


def test_key_told_within_a_stream():
    """A key in the words of an error within a stream is in none of ours."""
    answer = streamed(google_error(403, "X", f"{KEY} was reported as leaked"))
    with wire.Stub(answer) as stub:
        provider = GeminiProvider(KEY, base_url=stub.url)
        _, error = texts(provider.stream(Request("Hi")))
    assert "[redacted] was reported as leaked" in str(error)


def test_compressed_stream():
    """A compressed stream is read as it comes."""
    import gzip

    body = wire.encoded([generated(PIECES[0], finish=None), generated(PIECES[1])])
    answer = wire.reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    with wire.Stub(answer) as stub:
        provider = GeminiProvider(KEY, base_url=stub.url)
        assert texts(provider.stream(Request("Hi")))[0] == PIECES


def test_another_candidate():
    """What another candidate says, and that it has ended, is not the answer's."""
    first = generated("It is 1", finish=None)
    other = generated("X")
    other["candidates"][0]["index"] = 1
    with wire.Stub(streamed(first, other)) as stub:
        provider = GeminiProvider(KEY, base_url=stub.url)
        found, error = texts(provider.stream(Request("Hi")))
    assert (found, error.reason) == (["It is 1"], "stream without an end")
