"""Who is asked first: by the configured order, by price, or by turns."""

import random
from collections import Counter
from typing import get_args

import pytest
from faultserver import FaultServer, faults

from flask_llm import LLMFactory
from flask_llm.errors import ConfigurationError
from flask_llm.factory import Routing
from flask_llm.fallback.routing import ROUTINGS

NAMES = ["one", "two", "three"]
PRICES = {
    "one": {"input": 3, "output": 15},
    "two": {"input": 1, "output": 20},
}


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def make(server):
    """Return what makes a chain of endpoints, each with settings of its own."""

    def make(own=None, **config):
        endpoints = {
            name: {
                "provider": "claude",
                "base_url": f"{server.url}/{name}",
                "api_key": f"sk-ant-made-up-{name}-000",
                **(own or {}).get(name, {}),
            }
            for name in NAMES
        }
        config |= {"LLM_PROVIDERS": endpoints, "LLM_MAX_RETRIES": 1}
        return LLMFactory(NAMES[0], NAMES[1:], config=config)

    return make


def test_by_default_the_order_is_the_configured_one(make):
    """And nothing says why: it is documented."""
    response = make(LLM_PRICES=PRICES).generate_content("hello")
    assert response.provider_name == "one"
    assert "route" not in response.metadata


@pytest.mark.parametrize(
    ("prompt", "most", "first"), [("x" * 40_000, 100, "two"), ("x", 4000, "one")]
)
def test_the_cheapest_for_this_request(make, prompt, most, first):
    """Long prompts and long answers have prices of their own; who has none is last."""
    factory = make(LLM_PRICES=PRICES, LLM_ROUTING="cheapest")
    response = factory.generate_content(prompt, max_tokens=most)
    assert response.provider_name == first
    assert response.metadata["route"].startswith("cheapest, at most $0.0")
    with factory.stream_content(prompt, max_tokens=most) as stream:
        list(stream)
    assert stream.response.provider_name == first
    assert stream.response.metadata["route"] == response.metadata["route"]


def test_without_prices_the_order_stays(make):
    """It says so."""
    response = make(LLM_ROUTING="cheapest").generate_content("hello")
    assert response.provider_name == "one"
    assert response.metadata["route"] == "no price is known"


def test_who_follows_is_the_next_cheapest(make, server):
    """Fallbacks keep the order of the route."""
    server.script("anthropic", faults.status(400), faults.status(400))
    factory = make(LLM_PRICES=PRICES, LLM_ROUTING="cheapest")
    response = factory.generate_content("x" * 40_000, max_tokens=100)
    assert [each.provider for each in response.attempts] == ["two", "one", "three"]


def test_calls_are_spread_by_weight(make):
    """Each first by its part, none with the weight 0."""
    own = {"one": {"weight": 3}, "two": {"weight": "1"}, "three": {"weight": 0}}
    factory = make(own, LLM_ROUTING="spread")
    random.seed(7)
    responses = [factory.generate_content("hello") for _ in range(80)]
    counts = Counter(each.provider_name for each in responses)
    assert counts.keys() == {"one", "two"}
    assert 45 <= counts["one"] <= 70
    assert {each.metadata["route"] for each in responses} == {
        "spread, 3 of 4",
        "spread, 1 of 4",
    }


def test_a_call_has_a_way_of_its_own(make):
    """Which counts more than the app's."""
    factory = make(LLM_PRICES=PRICES, LLM_ROUTING="cheapest")
    prompt = "x" * 40_000
    assert factory.generate_content(prompt, routing="order").provider_name == "one"
    cheapest = make(LLM_PRICES=PRICES).generate_content(
        prompt, max_tokens=100, routing="cheapest"
    )
    assert cheapest.provider_name == "two"
    with pytest.raises(ValueError, match="routing must be order or cheapest or spread"):
        factory.generate_content("hello", routing="fastest")
    assert get_args(Routing) == ROUTINGS


def test_tags_come_before_prices(make):
    """Nobody is cheap enough to see what it must not."""
    own = {"one": {"tags": "eu"}, "three": {"tags": "eu"}}
    factory = make(own, LLM_PRICES=PRICES, LLM_ROUTING="cheapest")
    response = factory.generate_content("x" * 40_000, max_tokens=100, only="eu")
    assert response.provider_name == "one"


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("LLM_ROUTING", "fast", "must be order, cheapest or spread"),
        ("LLM_CLAUDE_WEIGHT", -1, "must be a number, 0 or more"),
    ],
)
def test_what_is_wrong_is_told_at_the_start(key, value, fault):
    """With what would be right."""
    with pytest.raises(ConfigurationError, match=f"{key} {fault}"):
        LLMFactory("claude", [], config={key: value})
