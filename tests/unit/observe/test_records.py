"""What is kept of a call: facts, in our own words."""

import pytest

from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import BusyError, QuotaError, TransientError
from flask_llm.filters import on_text
from flask_llm.observe.records import CallRecord
from flask_llm.providers.base import LLMProvider
from flask_llm.signals import generation_finished
from flask_llm.testing import FakeProvider

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
PRICES = {"LLM_PRICES": {"m1": {"input": 1, "output": 1}}}


def answer(text="ok", **known):
    metadata = {"model": "m1", "usage": USAGE, "request_id": "r1", **known}
    return LLMResponse(True, text, "fake", metadata=metadata)


def named(name, *script, **more):
    fake = FakeProvider(*script, name=name, **more)
    fake.model = f"model of {name}"
    return fake


@pytest.fixture
def records():
    """The records of all calls of a test."""
    heard = []

    def hear(sender, event):
        heard.append(CallRecord.of(event))

    with generation_finished.connected_to(hear):
        yield heard


@pytest.mark.parametrize(
    "second",
    [named("b", "x", available=False), named("b", BusyError())],
    ids=["skipped", "busy"],
)
def test_a_failed_call_has_the_model_of_its_provider(records, second):
    """Not that of one that had no part in it."""
    factory = LLMFactory(named("a", QuotaError()), [second])
    factory.generate_content("hello")

    (record,) = records
    assert (record.provider, record.model) == ("a", "model of a")


def test_a_call_without_any_attempt_is_nobodys(records):
    """Who is skipped was not asked; only the response names who stands first."""
    factory = LLMFactory(named("a", "x", available=False), [])
    response = factory.generate_content("hello")

    (record,) = records
    assert (record.provider, record.model) == ("", None)
    assert (record.outcome, record.error) == ("unavailable", "a: not available")
    assert (response.provider_name, record.fallback) == ("a", False)


def test_a_failed_call_is_that_of_who_was_asked(records, clock):
    """Not of one that was skipped, whom the response names where time ran out."""
    chain = named("a", TransientError()), [named("b", "x", available=False)]
    factory = LLMFactory(*chain, clock=clock)
    response = factory.generate_content("hello", deadline=1)

    (record,) = records
    assert (response.provider_name, record.outcome) == ("b", "deadline")
    assert (record.provider, record.model) == ("a", "model of a")


def test_a_failure_is_told_by_its_last_attempts(records, clock):
    """One sentence, the last word of each provider, none of its own."""
    first = FakeProvider(TransientError("own words"), QuotaError("own"), name="a")
    factory = LLMFactory(first, [named("b", RuntimeError("words"))], clock=clock)
    response = factory.generate_content("hello")

    (record,) = records
    assert record.error == "a: quota exceeded, b: failed (RuntimeError)"
    assert "own" in response.error


def test_a_refused_prompt_costs_no_money_and_is_told_why(records):
    """A float, as any other cost."""
    LLMFactory(FakeProvider("x"), []).generate_content(" ")

    (record,) = records
    assert repr(record.cost_usd) == "0.0"
    assert record.error == "No provider was asked: request rejected"
    assert (record.provider, record.model, record.attempts) == ("", None, ())


def test_what_the_provider_has_told_outlives_a_filter(records):
    """A filter that makes a response of its own knows no tokens."""
    factory = LLMFactory(FakeProvider(answer()), [], config=PRICES)

    @factory.output_filter
    def loud(response):
        return LLMResponse(True, "OK", "me", metadata={"loud": True}, parsed=7)

    response = factory.generate_content("hello")

    assert (response.content, response.parsed) == ("OK", 7)
    assert response.metadata["loud"] is True
    assert (response.model, response.metadata["request_id"]) == ("m1", "r1")
    assert (response.usage.total_tokens, response.cost_usd) == (15, 15e-6)
    assert (records[0].input_tokens, records[0].model) == (10, "m1")


def test_a_stream_of_one_piece_is_a_stream(records):
    """Its first text is there when its last is, also for who only hears of it."""
    factory = LLMFactory(FakeProvider("ok"), [])
    factory.output_filter(on_text(str.upper))
    with factory.stream_content("hello") as stream:
        assert list(stream) == ["OK"]

    (record,) = records
    assert record.streamed
    assert record.first_token_s == record.latency_s
    assert stream.response.metadata["first_token_s"] == record.first_token_s


def test_a_refused_stream_is_a_stream(records):
    """One whose first text never came."""
    stream = LLMFactory(FakeProvider("ok"), []).stream_content(" ")

    (record,) = records
    assert (record.streamed, record.first_token_s) == (True, None)
    assert stream.response.metadata["first_token_s"] is None


def test_a_provider_cannot_make_a_call_a_stream(records):
    """Whatever it calls its own numbers."""
    factory = LLMFactory(FakeProvider(answer(first_token_s="quick")), [])
    response = factory.generate_content("hello")

    assert not records[0].streamed
    assert "first_token_s" not in response.metadata


@pytest.mark.parametrize("odd", [-5, 10**30])
def test_counts_that_make_no_sense_are_nobodys(records, odd):
    """Not the response's, not an attempt's, not a sum's; whether told or raised."""
    usage = USAGE | {"input_tokens": odd}
    error = QuotaError()
    error.usage = usage
    factory = LLMFactory(FakeProvider(error, name="a"), [FakeProvider(answer())])
    response = LLMFactory(FakeProvider(answer(usage=usage)), []).generate_content("hi")
    failed = factory.generate_content("hi").attempts[0]

    assert (response.usage, response.metadata["usage"]) == (None, None)
    assert [each.usage for each in (*response.attempts, failed)] == [None, None]
    assert [each.input_tokens for each in records] == [0, 10]


class Empty(LLMProvider):
    """A provider whose stream ends before its first text, and tells its tokens."""

    needs_key = False
    model = "m1"

    def generate_content(self, prompt, temperature=0.0, max_tokens=10):
        return answer()

    def stream(self, request):
        yield from ()
        return answer("")

    def is_available(self):
        return True

    def get_provider_name(self):
        return "empty"


def test_a_stream_without_text_costs_its_tokens(records):
    """They were thought or written all the same, and count beside the next answer's."""
    factory = LLMFactory(Empty(), [FakeProvider(answer())], config=PRICES)
    with factory.stream_content("hello") as stream:
        assert "".join(stream) == "ok"

    empty, _ = stream.response.attempts
    assert (empty.outcome, empty.usage, empty.cost_usd) == ("bad_answer", USAGE, 15e-6)
    assert stream.response.usage.total_tokens == 30
    assert (records[0].cost_usd, records[0].unpriced) == (30e-6, False)
