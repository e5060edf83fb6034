import itertools
import pickle
import threading

import pytest
from faultserver import FaultServer
from hasty_clock import HastyClock
from usage_calls import soon
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory, LLMResponse
from flask_llm.config.settings import ProviderSettings
from flask_llm.errors import (
    BadAnswerError,
    InvalidRequestError,
    ProviderError,
    QuotaError,
    TimedOutError,
    UnavailableError,
)
from flask_llm.providers.sdk import ChatProvider
from flask_llm.testing import FakeProvider

KEY = "sk-canary-12345678"


class Toy(ChatProvider):
    """An SDK provider whose SDK is a function."""

    name = "toy"
    module = "json"
    requirement = "toy-sdk"
    default_model = "toy-1"
    step = staticmethod(lambda request: request.prompt.upper())

    def _connect(self):
        return object()

    def _send(self, client, request, optional):
        return self.step(request)

    def _read(self, answer):
        return LLMResponse(True, answer, self.name)

    def _open(self, client, request, optional):
        yield self.step(request)

    def _follow(self, events):
        yield from events
        return LLMResponse(True, "", self.name)


def toy(step=None, key=KEY, **attributes):
    overrides = {"step": staticmethod(step)} if step else {}
    return type("Toy", (Toy,), overrides | attributes)(key)


def fails(exc):
    def step(request):
        raise exc

    return toy(step)


def test_an_sdk_provider_answers():
    """Translate, call, translate back."""
    assert toy().generate_content("hello").content == "HELLO"


def test_an_sdk_exception_never_leaves():
    """Ours comes out instead, alone: the SDK's holds the request, and so the key."""
    with pytest.raises(QuotaError) as caught:
        fails(RuntimeError(f"429 for key {KEY}")).generate_content("hello")
    error = caught.value

    assert (error.__cause__, error.__context__) == (None, None)
    assert error.provider == "toy"
    for text in (str(error), repr(error), repr(vars(error))):
        assert KEY not in text
    assert KEY.encode() not in pickle.dumps(error)


@pytest.mark.parametrize(
    "exc", [ValueError("x"), TypeError("x"), AttributeError("x"), KeyError("x")]
)
def test_an_sdk_that_stumbles_means_a_malformed_answer(exc):
    """SDKs fail far outside their own trees when an answer has an odd shape."""
    with pytest.raises(ProviderError) as caught:
        fails(exc).generate_content("hello")

    assert (caught.value.kind, caught.value.reason) == ("transient", "malformed answer")


def test_an_impossible_request_is_not_sent():
    """Nor taken for a malformed answer."""
    with pytest.raises(InvalidRequestError, match="lone surrogate"):
        fails(AssertionError("sent")).generate_content("\ud800")


def test_what_reading_finds_is_kept():
    """A provider's own verdict on an answer passes through."""
    with pytest.raises(BadAnswerError, match=r"^empty$"):
        fails(BadAnswerError(reason="empty")).generate_content("hello")


def test_wrong_types_are_the_caller_s_error():
    """Used directly, a provider refuses what the factory refuses."""
    with pytest.raises(TypeError, match="prompt must be str"):
        toy().generate_content(7)


@pytest.mark.parametrize(
    ("provider", "available", "reason"),
    [
        (toy(), True, None),
        (toy(key=""), False, "no API key"),
        (toy(key="", needs_key=False), True, None),
        (
            toy(module="no_such_sdk"),
            False,
            "no_such_sdk is not installed: pip install toy-sdk",
        ),
        (toy(module="no_such.sdk"), False, None),
    ],
)
def test_availability_is_package_and_key(provider, available, reason):
    """Both must be there; what is missing is told, with the line to install it."""
    assert provider.is_available() is available
    if reason:
        assert provider.unavailable_reason() == reason


def test_settings_reach_the_init():
    """`from_config` passes key, model, address and timeout on."""
    provider = Toy.from_config(
        ProviderSettings("toy", "toy", KEY, base_url="http://x", timeout=7.0)
    )

    assert (provider.model, provider.base_url, provider.timeout) == (
        "toy-1",
        "http://x",
        7.0,
    )


@pytest.mark.parametrize("key", ["sk 1", "sk-1\nx", "sk-ключ"])
def test_a_malformed_key_is_refused_at_construction(key):
    """Used directly, a provider checks its key before an SDK sees it."""
    with pytest.raises(ValueError, match="holds a space") as caught:
        toy(key=key)
    assert key not in str(caught.value)


def test_a_key_is_stripped_at_construction():
    """Secret files end with a line break."""
    assert toy(key=f" {KEY}\n")._api_key == KEY
    assert not toy(key=" \n").is_available()


def test_a_client_that_cannot_be_made_is_no_malformed_answer():
    """Nobody was asked, so nothing is repeated; the key stays out of the text."""

    def connect(self):
        raise ValueError(f"what is {KEY}?")

    with pytest.raises(UnavailableError) as caught:
        toy(_connect=connect).generate_content("hello")
    assert str(caught.value) == "cannot be set up (ValueError): what is [redacted]?"


def test_a_list_without_an_end_is_given_up():
    """The provider's pages are read for no longer than an attempt may take."""

    def pages(self, client):
        return list(self._in_time(itertools.repeat("a model")))

    provider = toy(_list=pages)
    provider.timeout = 0.02
    with pytest.raises(TimedOutError, match="too many pages"):
        provider.list_models()


CORE = [("claude", True), ("gemini", False), ("openai", False)]


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        pytest.param(*case, marks=[] if case in CORE else pytest.mark.matrix)
        for case in itertools.product(WIRES, [False, True])
    ],
)
def test_a_call_whose_time_goes_by_before_its_sdk_is_loaded(
    name, streamed, monkeypatch
):
    """It is no silence of the provider's, and its prompt is not sent any more."""
    go_on, connect = threading.Event(), registered(name)._connect

    begun, clock = threading.Event(), HastyClock()

    def slowly(provider):
        begun.set()
        assert go_on.wait(60)
        return connect(provider)

    with loaded([name]), FaultServer() as server:
        config = settings(name, server.url) | {"LLM_BREAKER_FAILURES": 1}
        others = [FakeProvider("instead")]
        factory = LLMFactory(name, others, config=config, clock=clock)
        clock.is_meant = begun.is_set
        with monkeypatch.context() as patch:
            patch.setattr(registered(name), "_connect", slowly)
            response = asked(factory, "the first", streamed, deadline=600)
            go_on.set()
            entry = factory.entries[0]
            assert soon(entry.provider._client.made)
        assert [each.outcome for each in response.attempts] == ["busy", "success"]
        assert "its SDK is still being loaded" in response.attempts[0].error
        assert (
            asked(factory, "the second", streamed, deadline=600).provider_name == name
        )
        sent = [each.body for each in server.attempts(WIRES[name])]
        assert not [each for each in sent if b"the first" in each]


def registered(name):
    return LLMFactory.PROVIDER_REGISTRY[name]


def asked(factory, prompt, streamed, deadline):
    if not streamed:
        return factory.generate_content(prompt, deadline=deadline)
    with factory.stream_content(prompt, deadline=deadline) as stream:
        list(stream)
    return stream.response
