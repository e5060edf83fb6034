"""What the tests over the wire have in common: how to make a provider and a server."""

import pytest
from collections.abc import Iterator

from ..factory import LLMFactory
from ..providers.base import LLMProvider
from ..types import LLMResponse
from . import replies
from .checks import CONFIG, PROMPT
from .chats import ChatTests
from .server import Handler, Received, StubServer

TEXT = "Rayleigh scattering."
REFUSAL = {"error": {"message": "The server says no."}}

_MOST_S = 20  # no call of these takes so long, unless it hangs


class WiredTests(ChatTests):
    """The facts that a subclass states; `ProviderContract` explains them."""

    key: str

    def make(self, url: str, key: str) -> LLMProvider:
        """Return the provider, to ask the server at an address with a key.

        Args:
            url: Scheme, host and port, such as "http://127.0.0.1:4711".
            key: The key; may be empty or malformed, which the provider may refuse by
                raising.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how to make one")

    def answer(self, text: str) -> object:
        """Return the body of a good answer: text or bytes, or what becomes JSON."""
        raise NotImplementedError(f"{type(self).__name__} must say what an answer is")

    def sent_prompt(self, received: Received) -> str:
        """Return the prompt that a request holds."""
        raise NotImplementedError(f"{type(self).__name__} must find its prompt")

    def streamed(self, text: str) -> object:  # noqa: ARG002  # a subclass's
        """Return the body of a good answer as a stream, with its end marker.

        Only a provider with a `stream` of its own needs one: without it the tests of
        its streams are skipped.
        """
        return None

    def asks_for_stream(self, received: Received) -> bool:
        """Return whether a request asks for a stream: with "stream" in its JSON."""
        return bool(received.json.get("stream"))

    @pytest.fixture
    def echo(self) -> Iterator[StubServer]:
        """Return a server that repeats each prompt."""
        with StubServer(replies.echo(self.answer, self.sent_prompt)) as server:
            yield server

    @pytest.fixture
    def provider(self, echo: StubServer) -> LLMProvider:
        """Return a provider that is answered."""
        return self.make(echo.url, self.key)

    @pytest.fixture
    def streaming(self, provider: LLMProvider) -> Iterator[LLMProvider]:
        """Return a provider that is answered by a stream, if it asks for one."""
        if type(provider).stream is LLMProvider.stream:
            yield provider
            return
        body = self.streamed(TEXT)
        if body is None:
            pytest.skip("what its server streams is not stated; override streamed()")
        whole = replies.reply(self.answer(TEXT))
        piecewise = replies.reply(body, headers={"Content-Type": "text/event-stream"})

        def answer(handler: Handler, received: Received) -> None:
            asked = self.asks_for_stream(received)
            (piecewise if asked else whole)(handler, received)

        with StubServer(answer) as server:
            yield self.make(server.url, self.key)

    @pytest.fixture
    def talking(self) -> Iterator[LLMProvider]:
        """Return a provider that is answered whatever it sends."""
        with StubServer(replies.reply(self.answer(TEXT))) as server:
            yield self.make(server.url, self.key)

    def call(self, url: str, tries: int = 1) -> LLMResponse:
        """Ask a new provider at an address, through the whole of the factory."""
        return self.ask_in_chain(self.make(url, self.key), tries)

    def ask_in_chain(self, provider: LLMProvider, tries: int = 1) -> LLMResponse:
        """Ask a provider so often at the most, through the whole of the factory."""
        factory = LLMFactory(provider, [], config=CONFIG)
        return factory.generate_content(
            PROMPT, max_retries=tries, retry_delay=0, deadline=_MOST_S
        )
