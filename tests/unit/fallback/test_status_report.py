"""What the detailed status says of a provider, seen through the factory."""

import json

import pytest

from flask_llm import LLMFactory
from flask_llm.errors import AuthError, QuotaError, TransientError, UsedUpError
from flask_llm.testing import FakeProvider

NOTHING_SINCE = {"reason": None, "until": None, "advice": None, "kind": None}


def primary_of(clock, *script, calls=1):
    """Return the first provider's detailed status after some calls."""
    fakes = [FakeProvider(*script, name="gemini"), FakeProvider("hi", name="claude")]
    config = {"LLM_MAX_RETRIES": 1}
    factory = LLMFactory(fakes[0], fakes[1:], config=config, clock=clock)
    for _ in range(calls):
        factory.generate_content("hello")
    return lambda: factory.get_provider_status(detail=True)["primary"]


def test_a_provider_that_rests_says_why_and_until_when(clock):
    """Kind, HTTP status and the end of its rest, for a card with a countdown."""
    failure = QuotaError(retry_after=30, status=429)
    found = primary_of(clock, failure)()

    assert found == {
        "name": "gemini",
        "available": True,
        "reason": "cooling down after quota exceeded, retry after 30 s",
        "model": None,
        "state": "open",
        "until": clock.time() + 30,
        "advice": "if this happens often, raise the provider's limit",
        "kind": "quota",
        "status": 429,
    }
    json.dumps(found)


def test_a_rest_that_is_over_is_half_open(clock):
    """It is still known what was wrong; the next call will show."""
    status = primary_of(clock, AuthError(status=401))
    clock.sleep(301)
    found = status()

    assert (found["state"], found["until"]) == ("half-open", None)
    assert found["reason"] == "rested after API key rejected; the next call tries it"
    assert (found["kind"], found["status"]) == ("auth", 401)


def test_a_rest_that_the_provider_has_named_is_over_when_it_is_over(clock):
    """Nobody has to find out."""
    status = primary_of(clock, QuotaError(retry_after=30, status=429))
    clock.sleep(31)

    assert (status()["state"], status()["reason"]) == ("closed", None)


def test_a_provider_that_answers_again_has_nothing_left(clock):
    """What was wrong is forgotten with the rest."""
    fake = FakeProvider(*[TransientError(status=503)] * 5, "back")
    factory = LLMFactory(fake, [], config={"LLM_MAX_RETRIES": 1}, clock=clock)
    states = []
    for pause in (0, 0, 0, 0, 0, 6):
        clock.sleep(pause)
        factory.generate_content("hello")
        found = factory.get_provider_status(detail=True)["primary"]
        states.append(found["state"])

    assert states == [*["closed"] * 4, "open", "closed"]
    assert found.items() >= NOTHING_SINCE.items()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (AuthError(), "check its API key"),
        (AuthError(advice="check ANTHROPIC_API_KEY"), "check ANTHROPIC_API_KEY"),
        (UsedUpError(), "raise the limit or add credit at the provider"),
    ],
)
def test_advice_is_as_precise_as_what_is_known(clock, error, advice):
    """The setting to change where one is to blame; else what helps for this kind."""
    assert primary_of(clock, error)()["advice"] == advice
