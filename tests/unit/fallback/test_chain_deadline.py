"""A deadline over attempts, waits and fallbacks, and the preset for requests."""

import math
import threading
import time

import pytest
from hasty_clock import HastyClock
from real_time import AT_ONCE_S
from slot_queue import Queue

from flask_llm import LLMFactory
from flask_llm.errors import QuotaError, TimedOutError, TransientError
from flask_llm.testing import Delay, FakeProvider

SILENT = Delay(100, "too late")
DOWN = TransientError(reason="server error 503")
ONCE = {"LLM_MAX_RETRIES": 1}


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini", "claude", "third", and those."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude", "third"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock), fakes


def calls(fakes):
    return [len(each.calls) for each in fakes]


def test_the_fallback_answers_in_time(clock):
    """A silent primary gets two thirds of the time, and the fallback the rest."""
    factory, _ = chain(clock, [SILENT], [Delay(0.5, "hi")])
    response = factory.generate_content("hello", deadline=2)

    assert (response.content, response.provider_name) == ("hi", "claude")
    silent, good = response.attempts
    assert (silent.outcome, silent.error) == ("transient", "timeout")
    assert silent.latency_s == pytest.approx(4 / 3, abs=0.03)
    assert good.latency_s == 0.5


def test_nobody_answers_in_time(clock):
    """The answer is there with the deadline, and says who was asked."""
    factory, _ = chain(clock, [SILENT], [SILENT])
    response = factory.generate_content("hello", deadline=2)

    assert not response.success
    assert response.metadata["error_kind"] == "deadline"
    assert response.error == (
        "LLM deadline of 2 s passed: [gemini: timeout, claude: timeout]"
    )
    assert [each.provider for each in response.attempts] == ["gemini", "claude"]
    assert response.metadata["latency_s"] == pytest.approx(2, abs=0.06)
    assert response.provider_name == "claude"


def test_no_wait_is_begun_that_would_pass_the_deadline(clock):
    """A provider that is down is left at once, and the fallback has all the time."""
    factory, fakes = chain(clock, [DOWN], [Delay(1.9, "hi")])
    response = factory.generate_content("hello", deadline=2)

    assert response.content == "hi"
    assert calls(fakes) == [1, 1]
    assert clock.waits == [1.9]


def test_a_retry_that_the_deadline_forbids_ends_the_call(clock):
    """Not the provider but the lack of time keeps the last one from another try."""
    factory, _ = chain(clock, [DOWN])
    response = factory.generate_content("hello", deadline=2)

    assert response.metadata["error_kind"] == "deadline"
    assert response.error == (
        "LLM deadline of 2 s leaves no time for another try: [gemini: server error 503]"
    )
    assert response.metadata["latency_s"] == 0


def test_who_is_absent_does_not_hide_the_deadline(clock):
    """A fallback without a key behind it changes nothing in what ended the call."""
    primary = FakeProvider(DOWN, name="gemini")
    absent = FakeProvider(name="claude", available=False)
    factory = LLMFactory(primary, [absent], config={}, clock=clock)
    response = factory.generate_content("hello", deadline=2)

    assert response.metadata["error_kind"] == "deadline"


def test_failures_before_the_deadline_are_what_they_are(clock):
    """Only what the deadline cut is called so."""
    factory, _ = chain(clock, [DOWN], [QuotaError()])
    response = factory.generate_content("hello", deadline=2)

    assert response.metadata["error_kind"] == "quota"
    assert response.error.startswith("All LLM providers failed")


@pytest.mark.parametrize("deadline", [0, -1, 0.001])
def test_no_time_at_all(clock, deadline):
    """A caller whose time is up is told so, and nobody is asked."""
    factory, fakes = chain(clock, ["hi"])
    response = factory.generate_content("hello", deadline=deadline)

    assert response.metadata["error_kind"] == "deadline"
    assert "[gemini: not asked, no time left]" in response.error
    assert calls(fakes) == [0]


def test_the_deadline_comes_from_the_configuration(clock):
    """LLM_DEADLINE; infinity lifts it for one call."""
    factory, _ = chain(clock, [Delay(10, "hi")], LLM_DEADLINE=2)

    assert factory.generate_content("hello").metadata["error_kind"] == "deadline"
    assert factory.generate_content("hello", deadline=math.inf).content == "hi"


@pytest.mark.parametrize("deadline", [1e10, 10**400])
def test_a_deadline_beyond_all_measure_is_none(clock, deadline):
    """No thread can wait for so long."""
    factory, _ = chain(clock, [Delay(10, "hi")])

    assert factory.generate_content("hello", deadline=deadline).content == "hi"


@pytest.mark.parametrize("deadline", ["2", True, math.nan])
def test_a_deadline_is_a_number(clock, deadline):
    """Anything else is the caller's mistake."""
    factory, _ = chain(clock, ["hi"])
    with pytest.raises(TypeError, match="deadline must be"):
        factory.generate_content("hello", deadline=deadline)


def test_skipped_providers_keep_nothing_back(clock):
    """Who cannot be asked needs no share."""
    primary = FakeProvider(Delay(1.9, "hi"), name="gemini", clock=clock)
    absent = FakeProvider(name="claude", available=False)
    factory = LLMFactory(primary, [absent], config={}, clock=clock)

    assert factory.generate_content("hello", deadline=2).content == "hi"


def test_a_provider_that_ignores_every_timeout_is_left_behind():
    """A call that never ends costs its share of the deadline, and a moment."""
    asked, end, clock = threading.Event(), threading.Event(), HastyClock()
    clock.is_meant = asked.is_set
    hanging = FakeProvider(lambda _: asked.set() or str(end.wait()), name="gemini")
    fallback = FakeProvider("hi", name="claude")
    factory = LLMFactory(hanging, [fallback], config=ONCE, clock=clock)
    started = time.monotonic()
    response = factory.generate_content("hello", deadline=60)
    took = time.monotonic() - started
    end.set()

    assert response.content == "hi"
    assert clock.given_up == [pytest.approx(40, abs=AT_ONCE_S)]
    assert took < AT_ONCE_S


def test_the_provider_is_told_how_long_it_may_take(clock):
    """So that its own timeout can end the call, and nothing is left behind."""
    seen = []

    class Told(FakeProvider):
        def answer(self, request):
            seen.append(request.timeout)
            return super().answer(request)

    factory = LLMFactory(Told("hi"), [FakeProvider(name="x")], config={}, clock=clock)
    factory.generate_content("hello")
    factory.generate_content("hello", deadline=3)

    assert seen == [None, 2]


def web(clock, *scripts):
    return chain(clock, *scripts, LLM_RETRY_PRESET="web")


def test_web_waits_for_a_short_retry_after_once(clock):
    """Two seconds are cheaper than another model; twice is not."""
    factory, fakes = web(clock, [QuotaError(retry_after=2), "hi"], ["unused"])
    assert factory.generate_content("hello").provider_name == "gemini"
    assert (clock.waits, calls(fakes)) == ([2], [2, 0])

    factory, fakes = web(clock, [QuotaError(retry_after=2)], ["hi"])
    assert factory.generate_content("hello").provider_name == "claude"
    assert calls(fakes) == [2, 1]


def test_web_does_not_wait_for_a_long_retry_after(clock):
    """The fallback answers at once."""
    for error in (QuotaError(retry_after=4), TransientError(retry_after=4)):
        factory, fakes = web(clock, [error], ["hi"])
        assert factory.generate_content("hello").provider_name == "claude"
        assert (clock.waits, calls(fakes)) == ([], [1, 1])


def test_web_retries_once_and_quickly(clock):
    """One jittered quarter of a second after a 5xx or a reset."""
    factory, fakes = web(clock, [DOWN], ["hi"])
    factory.generate_content("hello")

    assert calls(fakes) == [2, 1]
    (wait,) = clock.waits
    assert 0.125 <= wait <= 0.25


def test_web_does_not_ask_a_silent_provider_again(clock):
    """Whoever was silent for so long will be silent again."""
    factory, fakes = web(clock, [TimedOutError()], ["hi"])
    factory.generate_content("hello")

    assert (clock.waits, calls(fakes)) == ([], [1, 1])


def test_web_has_a_deadline_of_25_s(clock):
    """Less than the 30 s after which gunicorn kills a worker."""
    factory, _ = web(clock, [SILENT], [SILENT], [SILENT])
    response = factory.generate_content("hello")

    assert response.metadata["error_kind"] == "deadline"
    assert response.metadata["latency_s"] == pytest.approx(25, abs=0.1)


def test_patient_is_as_documented(clock):
    """No header and no deadline changes the waits of 5, 10, 20 and 40 seconds."""
    factory, fakes = chain(clock, [TransientError(retry_after=1)], ["hi"])
    factory.generate_content("hello")

    assert clock.waits == [5, 10, 20, 40]
    assert calls(fakes) == [5, 1]


def queued(clock, seconds, *script):
    """Return a factory over a provider for whose only slot one waits so long."""
    slow = FakeProvider(*script, name="claude", clock=clock)
    slow.max_concurrency = 1
    config = {"LLM_DEADLINE": 8, "LLM_RETRY_PRESET": "web"}
    factory = LLMFactory(slow, [], config=config, clock=clock)
    factory._chain.bulkheads["claude"]._calls.get()._slots = Queue(clock, seconds)
    return factory


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(0, "success"), (3.5, "transient"), (5, "busy")]
)
def test_a_queue_of_our_own_is_not_held_against_a_provider(clock, seconds, outcome):
    """Who had to wait for a slot had less time: that is no fault of the provider."""
    factory = queued(clock, seconds, Delay(6, "hi"))
    answers = [factory.generate_content("hello") for _ in range(18)]

    assert {each.outcome for one in answers for each in one.attempts} == {outcome}


def test_the_wait_for_a_slot_is_not_in_the_latency_of_an_attempt(clock):
    """An attempt took as long as the provider took."""
    response = queued(clock, 3, Delay(2, "hi")).generate_content("hello")

    assert response.attempts[0].latency_s == 2
    assert response.metadata["latency_s"] == 5


def test_who_was_not_asked_for_lack_of_time_is_told(clock):
    """The story of a call names the whole chain."""
    factory, _ = chain(clock, ["x"], ["hi"])
    response = factory.generate_content("hello", deadline=0)

    assert [each.provider for each in response.attempts] == ["gemini", "claude"]
    assert {each.outcome for each in response.attempts} == {"deadline"}
    assert response.attempts[0].error == "not asked, no time left"
