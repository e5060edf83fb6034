"""The contract's checks of answers and streams."""

import base64
import json
import os
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..errors import ProviderError, QuotaError
from ..factory import LLMFactory
from ..fallback.stream import LLMStream
from ..providers.base import LLMProvider
from ..types import DETAILS, Image, LLMResponse, Message, is_usage
from .fakes import FakeProvider
from .server import Handler, Received, StubServer, echo, reply

# Nothing of the shell's: what a failed call leaves behind is no news to the next one.
CONFIG: dict[str, Any] = {
    "LLM_STATE_URL": "memory://",
    "LLM_BREAKER_FAILURES": 0,
    "LLM_RETRY_PRESET": "patient",
    "LLM_DEADLINE": "none",
}

# Seconds that nothing takes which ends by itself, also on a busy machine.
SOON_S = 3.0

PROMPT = "Why is the sky blue?"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


class BasicTests:
    """The tests that both contracts begin with.

    Attributes:
        prompt: What is asked where it does not matter; its answer should be short.
        max_tokens: The most tokens of an answer where that does not matter.
    """

    prompt = PROMPT
    max_tokens = 64

    @pytest.fixture
    def provider(self) -> LLMProvider:
        """Return a provider that is set up and can answer."""
        raise NotImplementedError(f"{type(self).__name__} must say how to make one")

    @pytest.fixture
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """Return what was called out to; nothing gets through."""
        called: list[object] = []

        def refuse(*args: object, **_: object) -> None:
            called.append(args[-1])
            raise OSError("this must not use the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket.socket, "connect_ex", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        return called

    def content(self, provider: LLMProvider, prompt: str) -> str:
        """Return what a provider answers to a prompt."""
        return provider.generate_content(prompt, 0.0, self.max_tokens).content

    def test_name(self, provider: LLMProvider) -> None:
        """It has a name, and always the same."""
        name = provider.get_provider_name()
        assert isinstance(name, str), "get_provider_name() must return text"
        assert name.strip(), "get_provider_name() must not be blank"
        assert name == provider.get_provider_name(), "the name must not change"

    def test_available(self, offline: list[object], provider: LLMProvider) -> None:
        """Once set up it is available, which it knows without the network."""
        available = provider.is_available()
        told = f"is_available() must be True for a provider that is set up: {available}"
        assert available is True, told
        assert not offline, (
            f"making a provider and is_available() must not use the network: {offline}"
        )

    @pytest.mark.parametrize("way", ["prompt alone", "by position", "by keyword"])
    def test_answer_shape(self, provider: LLMProvider, way: str) -> None:
        """However it is called, an answer has the documented shape."""
        arguments: dict[str, tuple[list[Any], dict[str, Any]]] = {
            "prompt alone": ([self.prompt], {}),
            "by position": ([self.prompt, 0.5, self.max_tokens], {}),
            "by keyword": (
                [],
                {
                    "prompt": self.prompt,
                    "temperature": 0.0,
                    "max_tokens": self.max_tokens,
                },
            ),
        }
        positional, named = arguments[way]
        response = provider.generate_content(*positional, **named)
        check_answer(response, provider.get_provider_name())

    def test_in_a_chain(self, provider: LLMProvider) -> None:
        """As a fallback it answers, in a thread that the chain chooses."""
        primary = FakeProvider(QuotaError(), name="the-primary")
        factory = LLMFactory(primary, [provider], config=CONFIG)
        factory.warm_up()
        response = factory.generate_content(
            self.prompt, 0.0, self.max_tokens, deadline=60
        )
        assert response.success, f"it must answer as a fallback: {response.error}"
        name = provider.get_provider_name()
        assert response.provider_name == name, "a chain knows it by its own name"
        check_answer(response, name)

    def test_list_of_models(self, provider: LLMProvider) -> None:
        """It lists its models by their names, or raises a ProviderError."""
        try:
            models: object = provider.list_models()
        except ProviderError:
            return
        names = isinstance(models, list) and all(isinstance(e, str) for e in models)
        assert names, f"list_models() must return a list of names, not {models!r}"

    def check_deadline(
        self, provider: LLMProvider, prompt: str, max_tokens: int
    ) -> LLMResponse:
        """Return the response to a call with half a second, if it is back in time."""
        factory = LLMFactory(provider, [], config=CONFIG)
        started = time.monotonic()
        response = factory.generate_content(prompt, 0.0, max_tokens, deadline=0.5)
        seconds = time.monotonic() - started
        late = f"deadline=0.5, but the caller waited {seconds:.1f} s"
        assert seconds < 0.5 + SOON_S, late
        return response


def check_answer(response: object, name: str) -> None:
    """Check the documented shape of an answer.

    Args:
        response: What `generate_content` returned.
        name: Name of the provider.
    """
    response = _response(response)
    told = f"a good answer must be a success, not an error: {response.error}"
    assert response.success is True, told
    assert response.error is None, f"a success must have no error: {response.error}"
    content: object = response.content
    assert isinstance(content, str), f"content must be text, not {content!r}"
    assert content.strip(), "content must hold the answer's text"
    _check_name(response, name)
    check_metadata(response.metadata)
    assert pickle.loads(pickle.dumps(response)) == response, (  # noqa: S301  # our own
        "a response must survive pickle, for queues and caches"
    )


def check_metadata(metadata: object) -> None:
    """Check what `metadata` of an answer says; all of it is optional."""
    assert isinstance(metadata, dict), f"metadata must be a dict, not {metadata!r}"
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as fault:
        pytest.fail(f"metadata must be plain data, fit for JSON: {fault}")
    usage = metadata.get("usage")
    if usage is not None:
        assert is_usage(usage), (
            "usage must be None, or whole numbers of tokens: input_tokens,"
            f" output_tokens, total_tokens, and perhaps {', '.join(DETAILS)}: {usage!r}"
        )
    finish = metadata.get("finish_reason")
    assert finish in {None, "stop", "length"}, (
        f"finish_reason must be stop or length, or not be told: {finish!r}"
    )


def check_failure(response: object, provider: LLMProvider) -> None:
    """Check the shape of a failure that a provider returned."""
    response = _response(response)
    assert response.success is False, "no answer came, so success must be False"
    assert response.content == "", "a failure must have no content"
    assert isinstance(response.error, str), "a failure must say why, as text"
    assert response.error.strip(), "a failure must say why"
    _check_name(response, provider.get_provider_name())


def _response(returned: object) -> LLMResponse:
    assert isinstance(returned, LLMResponse), (
        f"generate_content must return an LLMResponse, not {type(returned).__name__}"
    )
    return returned


def _check_name(response: LLMResponse, name: str) -> None:
    assert response.provider_name == name, (
        f"provider_name must be get_provider_name(): {response.provider_name!r}"
    )


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
        with self._stream(streaming) as stream:
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
        for _ in range(2):
            with self._stream(streaming) as stream:
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

    def _stream(self, provider: LLMProvider) -> LLMStream:
        factory = LLMFactory(provider, [], config=CONFIG)
        return factory.stream_content(
            self.prompt, 0.0, self.max_tokens, deadline=_MOST_S
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


TEXT = "Rayleigh scattering."
REFUSAL = {"error": {"message": "The server says no."}}

_MOST_WIRED_S = 20  # no call of these takes so long, unless it hangs


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
        with StubServer(echo(self.answer, self.sent_prompt)) as server:
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
        whole = reply(self.answer(TEXT))
        piecewise = reply(body, headers={"Content-Type": "text/event-stream"})

        def answer(handler: Handler, received: Received) -> None:
            asked = self.asks_for_stream(received)
            (piecewise if asked else whole)(handler, received)

        with StubServer(answer) as server:
            yield self.make(server.url, self.key)

    @pytest.fixture
    def talking(self) -> Iterator[LLMProvider]:
        """Return a provider that is answered whatever it sends."""
        with StubServer(reply(self.answer(TEXT))) as server:
            yield self.make(server.url, self.key)

    def call(self, url: str, tries: int = 1) -> LLMResponse:
        """Ask a new provider at an address, through the whole of the factory."""
        return self.ask_in_chain(self.make(url, self.key), tries)

    def ask_in_chain(self, provider: LLMProvider, tries: int = 1) -> LLMResponse:
        """Ask a provider so often at the most, through the whole of the factory."""
        factory = LLMFactory(provider, [], config=CONFIG)
        return factory.generate_content(
            PROMPT, max_retries=tries, retry_delay=0, deadline=_MOST_WIRED_S
        )
