"""What every provider owes in streams and conversations, with or without a wire."""

import base64
import pytest

from ..factory import LLMFactory
from ..messages import Image, Message
from ..providers.base import LLMProvider
from ..types import LLMResponse
from .checks import CONFIG, BasicTests

_MOST_S = 60  # no answer of these takes so long, unless it hangs

# One white pixel.
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJ"
    "RU5ErkJggg=="
)


class ChatTests(BasicTests):
    """The tests of streams and conversations, which hold for three methods too."""

    @pytest.fixture
    def streaming(self, provider: LLMProvider) -> LLMProvider:
        """Return a provider that can be streamed from."""
        return provider

    @pytest.fixture
    def talking(self, provider: LLMProvider) -> LLMProvider:
        """Return a provider that is answered whatever it sends."""
        return provider

    def test_stream(self, streaming: LLMProvider) -> None:
        """The pieces of a streamed answer are the whole answer."""
        factory = LLMFactory(streaming, [], config=CONFIG)
        with factory.stream_content(
            self.prompt, 0.0, self.max_tokens, deadline=_MOST_S
        ) as stream:
            texts = list(stream)
        response = stream.response
        assert response is not None
        assert response.success, f"it must be streamed from: {response.error}"
        streamed, whole = "".join(texts), self.content(streaming, self.prompt)
        assert streamed == whole, (
            f"the pieces must be the answer {whole!r}, but are {streamed!r}"
        )

    def test_closed_stream(self, streaming: LLMProvider) -> None:
        """A stream that is closed after its first piece leaves the provider usable."""
        factory = LLMFactory(streaming, [], config=CONFIG)
        for _ in range(2):
            with factory.stream_content(
                self.prompt, 0.0, self.max_tokens, deadline=_MOST_S
            ) as stream:
                first = next(stream, None)
            assert first, "a stream must begin, also after one that was closed early"
        assert self.content(streaming, self.prompt).strip(), (
            "after a stream that was closed early it must answer"
        )

    def test_conversation(self, talking: LLMProvider) -> None:
        """A conversation with a system prompt is answered."""
        turns = ("user", "Hello!"), ("assistant", "Hi!"), ("user", self.prompt)
        response = self._said(talking, [Message(role, (text,)) for role, text in turns])
        assert response.success, f"a conversation must be answered: {response.error}"

    def test_picture(self, talking: LLMProvider) -> None:
        """A picture is answered, or refused as an invalid request."""
        response = self._said(talking, [Message("user", (self.prompt, Image(_PNG)))])
        kind = response.metadata["error_kind"]
        assert response.success or kind == "invalid_request", (
            "who takes no pictures must raise InvalidRequestError, so that the chain"
            f" moves on; this is {kind!r}: {response.error}"
        )

    def _said(self, provider: LLMProvider, messages: list[Message]) -> LLMResponse:
        """Return the response to a conversation, after one attempt."""
        factory = LLMFactory(provider, [], config=CONFIG)
        return factory.generate_content(
            messages,
            0.0,
            self.max_tokens,
            max_retries=1,
            deadline=_MOST_S,
            system="You are kind.",
        )
