"""What every provider owes, with or without a wire."""

import json
import os
import pickle
import socket
import time
import pytest
from typing import Any

from ..errors import ProviderError, QuotaError
from ..factory import LLMFactory
from ..providers.base import LLMProvider
from ..types import LLMResponse
from .fake import FakeProvider

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
    assert isinstance(response, LLMResponse), (
        f"generate_content must return an LLMResponse, not {type(response).__name__}"
    )
    told = f"a good answer must be a success, not an error: {response.error}"
    assert response.success is True, told
    assert response.error is None, f"a success must have no error: {response.error}"
    content: object = response.content
    assert isinstance(content, str), f"content must be text, not {content!r}"
    assert content.strip(), "content must hold the answer's text"
    assert response.provider_name == name, (
        f"provider_name must be get_provider_name(): {response.provider_name!r}"
    )
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
        counted = isinstance(usage, dict) and usage.keys() == {
            "input_tokens",
            "output_tokens",
            "total_tokens",
        }
        assert counted and all(type(each) is int for each in usage.values()), (  # noqa: PT018
            f"usage must be None, or three whole numbers of tokens: {usage!r}"
        )
    finish = metadata.get("finish_reason")
    assert finish in {None, "stop", "length"}, (
        f"finish_reason must be stop or length, or not be told: {finish!r}"
    )


def check_failure(response: object, provider: LLMProvider) -> None:
    """Check the shape of a failure that a provider returned."""
    assert isinstance(response, LLMResponse), (
        f"generate_content must return an LLMResponse, not {type(response).__name__}"
    )
    assert response.success is False, "no answer came, so success must be False"
    assert response.content == "", "a failure must have no content"
    assert isinstance(response.error, str), "a failure must say why, as text"
    assert response.error.strip(), "a failure must say why"
    assert response.provider_name == provider.get_provider_name(), (
        f"provider_name must be get_provider_name(): {response.provider_name!r}"
    )
