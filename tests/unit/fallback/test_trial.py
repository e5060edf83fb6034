"""After a cooldown: one call tries a provider, and the others do not pay for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from real_time import AT_ONCE_S

from flask_llm import LLMFactory
from flask_llm.errors import QuotaError, TransientError
from flask_llm.fallback.result import CallResult
from flask_llm.fallback.selection import Candidates
from flask_llm.resilience.circuit_breaker import CLOSED
from flask_llm.resilience.clock import SystemClock
from flask_llm.resilience.deadline import Deadline
from flask_llm.testing import FakeProvider

DOWN = [TransientError(reason="server error 503")] * 5
ON_TRIAL = "on trial by another call"
THREADS = 6


class Turned(SystemClock):
    """The machine's clock, turned on by some seconds."""

    by = 0.0

    def monotonic(self):
        return time.monotonic() + self.by

    def time(self):
        return time.time() + self.by


@pytest.fixture
def clock():
    return Turned()


class Held(FakeProvider):
    """A provider that answers when it is let; one that has failed so far at once."""

    def __init__(self, *script, at_once=5, **options):
        super().__init__(*script, **options)
        self.at_once = at_once
        self.asked, self.go = threading.Event(), threading.Event()

    def answer(self, request):
        if len(self.calls) >= self.at_once:
            self.asked.set()
            assert self.go.wait(60)
        return super().answer(request)


def opened(clock, *script, others=(), **config):
    """Return a factory whose first provider is down, its cooldown just over."""
    held = Held(*DOWN, *script, name="gemini")
    config = {"LLM_MAX_RETRIES": 1} | config
    factory = LLMFactory(held, others, config=config, clock=clock)
    for _ in range(5):
        factory.generate_content("hello")
    clock.by += 6
    return factory, held


def until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting(factory):
    return len(factory._chain.breakers._waiting)


def errors(response):
    return [each.error for each in response.attempts]


def test_an_announced_cooldown_is_over_for_all(clock):
    """Nobody has to find out what the provider itself has said."""
    together = threading.Barrier(THREADS, timeout=60)

    class Provider(FakeProvider):
        def answer(self, request):
            if self.calls:
                together.wait()  # passes only if all are asked side by side
            return super().answer(request)

    provider = Provider(QuotaError(retry_after=1), "back")
    factory = LLMFactory(provider, [], config={}, clock=clock)
    assert not factory.generate_content("hello").success
    clock.by += 1.2

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(factory.generate_content, ["hello"] * THREADS))
    assert [each.content for each in answers] == ["back"] * THREADS


def test_who_has_nobody_else_waits_for_the_trial(clock):
    """One call tries; the others go through when it has its answer."""
    factory, held = opened(clock, "back")
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(factory.generate_content, "hi") for _ in range(THREADS)]
        until(lambda: waiting(factory) == THREADS - 1)
        assert len(held.calls) == len(DOWN)  # the trial itself is not recorded yet
        held.go.set()
        answers = [each.result() for each in calls]

    assert [each.content for each in answers] == ["back"] * THREADS
    assert sorted(map(len, map(errors, answers))) == [1, *[2] * (THREADS - 1)]
    assert waiting(factory) == 0


def test_they_fail_with_the_trial(clock):
    """Nobody asks a provider that has just shown that it is still down."""
    factory, held = opened(clock, TransientError(reason="server error 500"))
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(factory.generate_content, "hi") for _ in range(THREADS)]
        until(lambda: waiting(factory) == THREADS - 1)
        held.go.set()
        answers = [each.result() for each in calls]

    assert len(held.calls) == len(DOWN) + 1
    kinds = sorted(each.metadata["error_kind"] for each in answers)
    assert kinds == [*["cooldown"] * (THREADS - 1), "transient"]
    left_out = [each for each in answers if each.metadata["error_kind"] == "cooldown"]
    rests = "cooling down after server error 500, retry after 10 s"
    assert all(errors(each) == [ON_TRIAL, rests] for each in left_out)


def test_who_has_a_fallback_does_not_wait(clock):
    """It is left out, and nothing shows how long a trial may take."""
    factory, held = opened(clock, "back", others=[FakeProvider("hi", name="claude")])
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(factory.generate_content, "hello")
        assert held.asked.wait(60)
        answer = factory.generate_content("hello")
        status = factory.get_provider_status(detail=True)["primary"]
        held.go.set()
        assert trial.result().content == "back"

    first = answer.attempts[0]
    assert answer.content == "hi"
    assert (first.outcome, first.error) == ("cooldown", ON_TRIAL)
    assert first.retry_after_s is None
    assert (status["state"], status["reason"]) == ("half-open", ON_TRIAL)
    assert status["until"] is None


def test_the_wait_ends_with_the_deadline(clock):
    """A caller has its response in time, whatever the trial does."""
    factory, held = opened(clock, "back")
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(factory.generate_content, "hello")
        assert held.asked.wait(60)
        answer = factory.generate_content("hello", deadline=0.2)
        held.go.set()
        trial.result()

    assert answer.metadata["error_kind"] == "deadline"
    assert answer.error == f"LLM deadline of 0.2 s passed: [gemini: {ON_TRIAL}]"


def test_a_client_that_leaves_ends_the_wait(clock):
    """Nobody is asked for one who has gone."""
    factory, held = opened(clock, "back")
    gone = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        trial = pool.submit(factory.generate_content, "hello")
        assert held.asked.wait(60)
        stream = pool.submit(factory.stream_content, "hello", is_gone=gone.is_set)
        until(lambda: waiting(factory) == 1)
        gone.set()
        assert not stream.result(timeout=AT_ONCE_S).response.success
        held.go.set()
        trial.result()


def test_a_trial_of_another_process_is_waited_for(clock, tmp_path):
    """By looking at the store: here two factories stand for two processes."""
    url = {"LLM_STATE_URL": f"sqlite:///{tmp_path}/state.db"}
    factory, held = opened(clock, "back", **url)
    ours = FakeProvider("ours", name="gemini")
    other = LLMFactory(ours, [], config=url, clock=clock)
    other._chain.handles[0].circuit_key = factory._chain.handles[0].circuit_key
    other._chain.breakers._keys = factory._chain.breakers._keys
    until(lambda: other.get_provider_status(detail=True)["primary"]["kind"])
    with ThreadPoolExecutor(2) as pool:
        trial = pool.submit(factory.generate_content, "hello")
        assert held.asked.wait(60)
        call = pool.submit(other.generate_content, "hello")
        until(lambda: waiting(other) == 1)
        assert not ours.calls
        held.go.set()
        assert trial.result().content == "back"
        assert call.result().content == "ours"


def test_the_trial_of_a_process_that_died_is_taken_over(clock):
    """Its lease ends; of those who wait one tries, and the others wait on."""
    factory, held = opened(clock, "back")
    assert factory._chain.breakers.acquire_probe(factory._chain.handles[0])
    with ThreadPoolExecutor(THREADS) as pool:
        ask = partial(factory.generate_content, "hi", deadline=100)
        calls = [pool.submit(ask) for _ in range(THREADS)]
        until(lambda: waiting(factory) == THREADS)
        clock.by += 36  # the timeout of an attempt, and some seconds
        assert held.asked.wait(60)
        until(lambda: waiting(factory) == THREADS - 1)
        held.go.set()
        answers = [each.result() for each in calls]
    assert [each.content for each in answers] == ["back"] * THREADS


def test_a_trial_of_a_circuit_that_opened_again_since_the_call_began(clock):
    """Its answer closes the circuit as it is now; no trial is left behind."""
    factory, _ = opened(clock)
    chain = factory._chain
    handle, breakers = chain.handles[0], chain.breakers
    calls = [
        Candidates(
            chain.handles, breakers, Deadline(None, clock), CallResult("x"), clock, bool
        )
        for _ in range(2)
    ]
    next(iter(calls[0]))
    breakers.failed(handle, DOWN[0])
    clock.by += 11
    candidate = next(iter(calls[1]))
    breakers.succeeded(handle, calls[1].circuits[handle.name])

    assert candidate.probe
    assert breakers.snapshot() == {"gemini": CLOSED}
