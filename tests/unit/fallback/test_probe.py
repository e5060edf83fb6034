"""`LLMFactory.test` and `reset`: one provider alone, whatever is known of it."""

import threading

import pytest

from flask_llm import LLMFactory
from flask_llm.errors import AuthError, InvalidRequestError, QuotaError
from flask_llm.fallback.probe import outcome
from flask_llm.testing import Delay, FakeProvider


def two(clock, *script):
    """Return a factory of two providers, the first with a script."""
    fakes = [FakeProvider(*script, name="a", clock=clock), FakeProvider(name="b")]
    config = {"LLM_MAX_RETRIES": 5}
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock), fakes


def test_a_test_asks_once_and_nobody_else(clock):
    """Neither retries nor a fallback make it dearer."""
    factory, (first, second) = two(clock, AuthError(advice="check A_API_KEY"))
    response = factory.test("a")

    assert (len(first.calls), len(second.calls)) == (1, 0)
    assert outcome(response) == "auth: API key rejected (check A_API_KEY)"


def test_a_test_is_bounded_by_its_deadline_in_all(clock):
    """Also if each of its tries is refused slowly."""
    factory, (first, _) = two(clock, Delay(12, InvalidRequestError()))
    started = clock.monotonic()
    factory.test("a", deadline=20)

    assert len(first.calls) == 2
    assert clock.monotonic() - started <= 25


def test_no_filter_sees_a_test(clock):
    """It is a question of the extension, not of the app."""
    factory, (first, _) = two(clock, "fine")
    factory.prompt_filter(lambda asked: pytest.fail("the filter was asked"))

    assert factory.test("a").success
    assert first.calls[0].prompt == "Say OK."


def test_a_test_waits_for_its_place_among_the_calls():
    """LLM_<PROVIDER>_MAX_CONCURRENCY holds for it too."""
    busy, go_on = threading.Event(), threading.Event()

    def slow(_):
        busy.set()
        go_on.wait(60)
        return "done"

    fake = FakeProvider(slow)
    fake.max_concurrency = 1
    factory = LLMFactory(fake, [])
    caller = threading.Thread(target=factory.generate_content, args=["hello"])
    caller.start()
    busy.wait(60)
    response = factory.test("fake", deadline=0.2)
    go_on.set()
    caller.join()

    assert response.metadata["error_kind"] in {"busy", "deadline"}
    assert len(fake.calls) == 1


def test_a_reset_forgets_what_was_counted_too(clock):
    """After four failures and a reset the fifth opens nothing."""
    factory, (first, _) = two(clock, QuotaError())
    for _ in range(4):
        factory.generate_content("hello")
    factory.reset("a")
    factory.generate_content("hello")

    assert factory.get_provider_status(detail=True)["primary"]["state"] == "closed"
    assert len(first.calls) == 5


@pytest.mark.parametrize("action", ["test", "reset"])
def test_who_is_not_in_the_chain_is_told(clock, action):
    """With those that are."""
    factory, _ = two(clock)

    with pytest.raises(LookupError, match=r"no provider 'c' is in the chain .*: a, b"):
        getattr(factory, action)("c")
