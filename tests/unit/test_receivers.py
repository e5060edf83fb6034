"""Receivers that fail, or take long: none of them changes an answer."""

import asyncio
import logging

import pytest

from flask_llm import LLMFactory, signals
from flask_llm.errors import QuotaError, TransientError
from flask_llm.testing import FakeProvider

BROKEN = TransientError(reason="connection error")
ALL = [
    signals.generation_started,
    signals.attempt_started,
    signals.attempt_made,
    signals.retry_scheduled,
    signals.provider_switched,
    signals.circuit_changed,
    signals.generation_finished,
]


def factory_of(**more):
    """Return a factory in whose first call each of the signals is sent."""
    first = FakeProvider(BROKEN, QuotaError(retry_after=30), name="gemini")
    second = FakeProvider("one two", name="claude")
    config = {"LLM_RETRY_DELAY": 0.001}
    return LLMFactory(first, [second], config=config, **more)


def asked(factory):
    return factory.generate_content("hello")


def streamed(factory):
    with factory.stream_content("hello") as stream:
        list(stream)
    return stream.response


def awaited(factory):
    return asyncio.run(factory.generate_content_async("hello"))


def awaited_stream(factory):
    async def read():
        async with await factory.stream_content_async("hello") as stream:
            async for _ in stream:
                pass
        return stream.response

    return asyncio.run(read())


def outcome(call):
    """Return all that a call leaves: its answer, its attempts, the circuits."""
    factory = factory_of()
    response = call(factory)
    tries = [(each.provider, each.outcome, each.error) for each in response.attempts]
    status = factory.get_provider_status(detail=True)
    rests = [each["state"] for each in (status["primary"], *status["fallbacks"])]
    return response.success, response.content, tries, status["current"], rests


def raising(sender, event):
    raise RuntimeError("no disk")


@pytest.mark.parametrize(
    ("signal", "call"),
    [
        *((each, asked) for each in ALL),
        *((signals.attempt_made, each) for each in (streamed, awaited, awaited_stream)),
    ],
    ids=lambda each: each.name if each in ALL else each.__name__,
)
def test_no_receiver_changes_an_answer(signal, call):
    """Neither its text, nor its attempts, nor what is known of the providers."""
    usual = outcome(call)
    heard = []

    def hear(sender, event):
        heard.append(event)
        raising(sender, event)

    with signal.connected_to(hear):
        assert outcome(call) == usual
    assert heard
    assert usual[:2] == (True, "one two")


def test_one_that_takes_long_hears_everything(clock, fake):
    """It holds the calls that it hears of, as with each signal of Flask."""
    heard = []

    def late(sender, event):
        heard.append(event)
        clock.sleep(5)

    factory = LLMFactory(fake, [], clock=clock)
    with signals.generation_finished.connected_to(late):
        for _ in range(3):
            assert factory.generate_content("hello").success
    assert len(heard) == 3
    assert clock.now == 1015


def test_a_muted_signal_is_not_sent(fake):
    """As blinker itself has it, for tests."""
    heard = []

    def hear(sender, event):
        heard.append(event)

    with signals.generation_finished.connected_to(hear):
        with signals.generation_finished.muted():
            LLMFactory(fake, []).generate_content("hello")
        assert heard == []
        LLMFactory(fake, []).generate_content("hello")
    assert len(heard) == 1


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("signal", [signals.attempt_made, signals.generation_finished])
def test_what_ends_the_caller_goes_out(fake, end, signal):
    """Somebody wants the thread, or the process, to end."""

    def leave(sender, event):
        raise end

    with signal.connected_to(leave), pytest.raises(end):
        LLMFactory(fake, []).generate_content("hello")


@pytest.mark.parametrize("signal", [signals.attempt_made, signals.generation_finished])
def test_an_answer_that_is_there_is_returned(clock, fake, signal):
    """However late a receiver has made it."""

    def late(sender, event):
        clock.sleep(60)

    factory = LLMFactory(fake, [], clock=clock)
    with signal.connected_to(late):
        response = factory.generate_content("hello", deadline=10)

    assert response.content == "a fake answer"


@pytest.mark.parametrize("call", ["generate_content", "stream_content"])
@pytest.mark.parametrize(
    "signal", [signals.generation_started, signals.attempt_started]
)
def test_nobody_is_blamed_for_time_that_a_receiver_took(clock, signal, call):
    """There is no time to ask; the call says so, and the provider does not rest."""
    fake = FakeProvider("hi", clock=clock)
    config = {"LLM_BREAKER_FAILURES": 1}
    factory = LLMFactory(fake, [], config=config, clock=clock)

    def late(sender, event):
        clock.sleep(60)

    with signal.connected_to(late):
        answer = getattr(factory, call)("hello", deadline=10)
    response = getattr(answer, "response", answer)

    assert response.metadata["error_kind"] == "deadline"
    assert fake.calls == []
    assert factory.get_provider_status(detail=True)["primary"]["reason"] is None


def test_what_a_slow_receiver_left_is_enough_for_the_next_one(clock):
    """An attempt's share is counted from what is left."""

    def late(sender, event):
        clock.sleep(6)

    factory = factory_of(clock=clock)
    with signals.attempt_started.connected_to(late):
        response = factory.generate_content("hello", deadline=20)

    assert response.success
    assert clock.now < 1020


def test_a_record_at_debug_is_no_obstacle(fake, caplog):
    """The traceback of a receiver that fails is one of its own record."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    with signals.generation_finished.connected_to(raising):
        response = LLMFactory(fake, []).generate_content("hello")

    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info[0] is RuntimeError
    assert record.llm_call_id == response.metadata["call_id"]
