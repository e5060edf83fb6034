"""What all providers on top of an SDK do with a stream, a schema and their errors."""

import json
import pickle

import pytest

from flask_llm import LLMResponse
from flask_llm.errors import BadAnswerError, InvalidRequestError, QuotaError
from flask_llm.providers.sdk import ChatProvider
from flask_llm.schema import Schema
from flask_llm.types import Request

KEY = "sk-canary-12345678"
SCHEMA = Schema({"type": "object", "properties": {"name": {"type": "string"}}})
NATIVE = "format"


class RefusedError(Exception):
    """The shape of an SDK's exception for a parameter that a model does not take."""

    status_code = 400
    code = "unsupported_parameter"

    def __init__(self, param):
        super().__init__(f"Unsupported parameter: '{param}'")
        self.param = param


class Events:
    """An SDK's stream: its texts, an error at their end, and whether it is closed."""

    def __init__(self, texts, error=None):
        self.texts = texts
        self.error = error
        self.closed = False

    def __iter__(self):
        yield from self.texts
        if self.error:
            raise self.error

    def close(self):
        self.closed = True


class Toy(ChatProvider):
    """An SDK provider whose streams are given to it, and that notes what it sends."""

    name = "toy"
    module = "json"
    requirement = "toy-sdk"
    default_model = "toy-1"
    schema_parameter = NATIVE

    def __init__(self, *steps):
        super().__init__(KEY)
        self.steps = list(steps)
        self.sent = []

    def _connect(self):
        return object()

    def _optional(self, request):
        native = {NATIVE: request.schema.json} if request.schema else {}
        return super()._optional(request) | native

    def _send(self, client, request, optional):
        self.sent.append((request, optional))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def _read(self, answer):
        return LLMResponse(True, answer, self.name)

    def _open(self, client, request, optional):
        return self._send(client, request, optional)

    def _follow(self, events):
        yield from events
        return LLMResponse(True, "", self.name, metadata={"model": "toy-1"})


def test_a_stream_yields_what_the_sdk_yields_and_returns_what_is_known():
    """And its end closes the SDK's stream."""
    events = Events(["Hel", "lo"])
    pieces = Toy(events).stream(Request("hi"))
    assert [next(pieces), next(pieces)] == ["Hel", "lo"]
    with pytest.raises(StopIteration) as caught:
        next(pieces)
    assert caught.value.value.metadata == {"model": "toy-1", "warnings": []}
    assert events.closed


def test_closing_a_stream_closes_the_sdks():
    """At once, and without an error."""
    events = Events(["Hel", "lo"])
    pieces = Toy(events).stream(Request("hi"))
    next(pieces)
    pieces.close()
    assert events.closed


@pytest.mark.parametrize("texts", [[], ["Hel"]], ids=["before", "after"])
def test_an_sdk_exception_in_a_stream_never_leaves(texts):
    """Ours comes out instead, alone: the SDK's holds the request, and so the key."""
    events = Events(texts, RuntimeError(f"429 for key {KEY}"))
    with pytest.raises(QuotaError) as caught:
        list(Toy(events).stream(Request("hi")))
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert error.provider == "toy"
    assert KEY not in f"{error} {error!r} {vars(error)}"
    assert KEY.encode() not in pickle.dumps(error)
    assert events.closed


def test_our_own_error_in_a_stream_stays_what_it_is():
    """A provider that finds no end marker says so itself."""
    events = Events(["Hel"], BadAnswerError(reason="stream without an end"))
    with pytest.raises(BadAnswerError) as caught:
        list(Toy(events).stream(Request("hi")))
    assert caught.value.reason == "stream without an end"


def test_a_schema_goes_where_the_api_has_a_place_for_it():
    """Then it is not told in words too."""
    provider = Toy("{}")
    provider.answer(Request("hi", schema=SCHEMA))
    ((request, optional),) = provider.sent
    assert optional[NATIVE] == SCHEMA.json
    assert request.system == ""


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refused_schema_is_told_in_words_from_then_on(streamed):
    """The model is asked again without the parameter, and knows what is wanted."""
    provider = Toy(RefusedError(NATIVE), Events(["{}"]) if streamed else "{}")
    request = Request("hi", schema=SCHEMA)

    def ask():
        return list(provider.stream(request)) if streamed else provider.answer(request)

    with pytest.raises(InvalidRequestError, match="Unsupported") as caught:
        ask()
    assert caught.value.retryable
    ask()
    again, optional = provider.sent[1]
    assert NATIVE not in optional
    assert json.dumps(SCHEMA.json) in again.system


@pytest.mark.parametrize(("given", "seconds"), [(None, 30.0), (3.0, 3.0), (90.0, 90.0)])
def test_the_silence_of_a_stream_is_what_the_chain_says(given, seconds):
    """It may be longer than an attempt: the chain watches the clock."""
    assert Toy()._silence(Request("hi", timeout=given)) == seconds
