"""Conversations and streams through google-genai."""

import pytest
import wire
from google_chat_contract import SCHEMA, GoogleChatContract, texts
from wire import generated

from flask_llm.errors import BadAnswerError, TransientError
from flask_llm.providers.google.genai import GenaiProvider
from flask_llm.types import Request

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"


class TestGenaiChat(GoogleChatContract):
    schema_parameter = "responseJsonSchema"
    schema = SCHEMA.json

    def provider(self, url, **options):
        # "minimal" would be in every request.
        return GenaiProvider(KEY, base_url=url, thinking="auto", **options)

    @staticmethod
    def hang_up(client):
        client._api_client._httpx_client.close()

    def test_time_that_the_server_is_told(self, server):
        """A stream may last longer than a silence, on the server's side too."""
        provider = self.provider(server.url)
        provider.answer(Request("Hi", timeout=7))
        texts(provider.stream(Request("Hi", timeout=7)))
        told = [each.headers["x-server-timeout"] for each in server.attempts()]
        assert told == ["7", "3600"]


def events(*bodies):
    """Return an answer that is a stream of events."""
    body = b"".join(b"data: " + wire.encoded(each) + b"\n\n" for each in bodies)
    return wire.reply(body, headers={"Content-Type": "text/event-stream"})


def asked(answer, **options):
    """Return what a stream hands out, and its response or error."""
    with wire.Stub(answer) as stub:
        provider = GenaiProvider(KEY, base_url=stub.url, **options)
        return texts(provider.stream(Request("Hi", max_tokens=9000)))


def part(thought, text):
    """Return a chunk without an end, of one part."""
    said = {"role": "model", "parts": [{"text": text, "thought": thought}]}
    return generated(candidates=[{"content": said}])


def test_thoughts():
    """Thinking is no text of the answer."""
    found, response = asked(events(part(True, "Hm."), part(False, "Hi"), generated()))
    assert (found, response.success) == (["Hi"], True)


def test_thoughts_only():
    """An answer of thoughts has used up its tokens, and is told the setting for it."""
    spent = {"thoughtsTokenCount": 9000, "totalTokenCount": 9000}
    last = generated(finish="MAX_TOKENS", usageMetadata=spent)
    found, error = asked(events(part(True, "Hm."), last))
    assert (found, type(error)) == ([], BadAnswerError)
    assert "(raise max_tokens or set LLM_GENAI_THINKING=off)" in str(error)


def test_chunk_of_counts():
    """A chunk that only counts tokens, even behind the last text, does no harm."""
    counts = generated(candidates=[])
    found, response = asked(events(counts, generated("Hi"), counts))
    assert found == ["Hi"]
    assert response.usage.total_tokens == 25


@pytest.mark.parametrize(
    ("bodies", "cls"),
    [
        ([], TransientError),
        ([generated("Hi", finish=None)], BadAnswerError),
        ([generated(candidates=[])], TransientError),
    ],
)
def test_no_end(bodies, cls):
    """A stream that does not say how it ended is not complete."""
    _, error = asked(events(*bodies))
    assert (type(error), error.reason) == (cls, "stream without an end")


@pytest.mark.parametrize("finish", ["OTHER", "CONTINUATION", "DAYDREAM"])
def test_bad_end(finish):
    """A stream that ends for a reason that is no good is not complete."""
    found, error = asked(events(part(False, "Hi"), generated(finish=finish)))
    assert (found, type(error)) == (["Hi"], BadAnswerError)
    assert f"finish reason: {finish}" in str(error)


@pytest.mark.parametrize(
    "body", [{"a": 1, "error": {"code": 429}}, {}, "[]", '"quota"', "rate limit {"]
)
def test_chunk_of_no_known_shape(body):
    """A chunk that is none is malformed, whatever words are in it."""
    found, error = asked(events(part(False, "Hi"), body))
    assert (found, type(error)) == (["Hi"], TransientError)
    assert str(error) == "malformed answer" or error.detail.endswith("Error")


def test_quota_in_a_broken_chunk():
    """The model's own words in a broken chunk are not taken for the provider's."""
    text = '{"candidates": [{"content": "429 quota exceeded, says the sky'
    _, error = asked(events(text))
    assert (type(error), str(error)) == (TransientError, "malformed answer")


def test_closed_before_it_began():
    """A stream that is never read asks nobody."""
    with wire.Stub(events(generated("Hi"))) as stub:
        GenaiProvider(KEY, base_url=stub.url).stream(Request("Hi")).close()
        assert stub.received == []


def test_another_candidate():
    """What another candidate says, and that it has ended, is not the answer's."""
    first = generated("It is 1", finish=None)
    other = generated("X")
    other["candidates"][0]["index"] = 1
    found, error = asked(events(first, other))
    assert (found, error.reason) == (["It is 1"], "stream without an end")
