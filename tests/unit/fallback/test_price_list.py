"""Prices out of the package genai-prices, against its own arithmetic."""

from datetime import UTC, datetime

import genai_prices
import pytest
from genai_prices.data import providers

from flask_llm import LLMFactory
from flask_llm.config.prices import PaidTokens
from flask_llm.fallback.pricing import ListedPrice, NotListed, listed

ANTHROPIC = "https://api.anthropic.com"
OWN = ("claude", "gemini", "genai", "vertex", "openai", "cohere")

# Night and day, long ago and far ahead: prices change with the hour and the date.
MOMENTS = [
    datetime(2020, 1, 1, 12, tzinfo=UTC),
    datetime(2026, 11, 23, 2, 30, tzinfo=UTC),
    datetime(2026, 11, 23, 8, 0, tzinfo=UTC),
    datetime(2031, 6, 1, 17, 0, tzinfo=UTC),
]
SOME = PaidTokens(1000, 1000)
# Below, at and above the bounds from which prompts are dearer.
# Last the tokens of the prompt that a cache had, and that it took.
SIZES = [
    (0, 0, 0, 0),
    (1200, 300, 0, 0),
    (100_000, 1, 90_000, 7),
    (100_001, 5, 0, 100_001),
    (900_000, 64_000, 300_000, 500_000),
]


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.matrix) for n in range(1, 20))]
)
def test_each_price_is_what_the_package_says(part):
    """Of every twentieth model, and so of every one, at any time and of any size."""
    compared = 0
    for provider in providers:
        for model in provider.models[part::20]:
            for at in MOMENTS:
                price = model.get_prices(at)
                if None in (price.input_mtok, price.output_mtok):
                    continue
                for taken, given, cached, written in SIZES:
                    usage = genai_prices.Usage(
                        input_tokens=taken,
                        output_tokens=given,
                        cache_read_tokens=cached,
                        cache_write_tokens=written,
                    )
                    paid = PaidTokens(taken, given, cached, written)
                    theirs = price.calc_price(usage)["total_price"]
                    ours = ListedPrice(model).cost(paid, at.timestamp())
                    assert ours == pytest.approx(float(theirs), rel=1e-12), model.id
                    compared += 1
    assert compared > 500


@pytest.mark.parametrize("name", OWN)
def test_default_models_have_a_price(name):
    """Who installs the extra need not set anything for them."""
    provider = LLMFactory.PROVIDER_REGISTRY[name]("k-12345678")

    price = listed(provider.address, [provider.default_model])
    assert price.cost(SOME, MOMENTS[1].timestamp()) > 0


@pytest.mark.parametrize(
    ("address", "model"),
    [
        (ANTHROPIC, "claude-haiku-5-5-20260101"),
        ("https://api.openai.com/v1", "gpt-6.1-terra-2026-09-01"),
        ("https://me.openai.azure.com/openai/v1", "gpt-6.1-terra"),
        ("https://api.groq.com/openai/v1", "openai/gpt-oss-120b"),
        ("https://openrouter.ai/api/v1", "anthropic/claude-sonnet-5.5"),
    ],
)
def test_dated_names_and_other_servers_are_found(address, model):
    """By the address that is asked, as the package knows it."""
    assert listed(address, [model]).cost(SOME, MOMENTS[1].timestamp()) > 0


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1",
        "https://gateway.example.com/v1",
        "https://eu.api.openai.com/v1",  # dearer than the list says
        "http://api.openai.com/v1",
    ],
)
def test_no_price_is_guessed_from_a_name_at_a_foreign_address(address):
    """Whoever answers there, it is not known what that costs."""
    with pytest.raises(NotListed) as caught:
        listed(address, ["gpt-6.1-terra"])
    version = genai_prices.__version__
    assert str(caught.value) == (
        f"has no price at this address in genai-prices {version}: set LLM_PRICES"
    )


def test_an_unknown_model_has_none():
    """The reason names the list's version: a newer one may know it."""
    with pytest.raises(NotListed) as caught:
        listed(ANTHROPIC, ["claude-x", "claude-y"])
    assert str(caught.value) == (
        f"has no price in genai-prices {genai_prices.__version__}: set LLM_PRICES"
    )


def test_the_second_name_counts_where_the_first_is_unknown():
    """A version that the list does not know costs what was asked for."""
    haiku = listed(ANTHROPIC, ["claude-haiku-5-5"]).cost(SOME, 0)
    assert listed(ANTHROPIC, ["unheard-of", "claude-haiku-5-5"]).cost(
        SOME, 0
    ) == pytest.approx(haiku)


@pytest.mark.parametrize(
    ("address", "model"),
    [
        ("https://generativelanguage.googleapis.com", "gemma-3"),  # no price at all
        ("https://api.openai.com/v1", "text-embedding-3-small"),  # of prompts only
    ],
)
def test_a_list_without_both_prices_is_no_price(address, model):
    """Else what is not in it would cost nothing."""
    with pytest.raises(NotListed, match="has no price per token in genai-prices"):
        listed(address, [model])
