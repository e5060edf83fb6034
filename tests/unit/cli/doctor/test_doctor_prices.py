"""What the doctor says of prices: of models, and of those that the app has set."""

import pytest

from flask_llm.testing import FakeProvider

PRICE = {"input": 1, "output": 2}
CHAIN = {
    "LLM_PRIMARY_PROVIDER": "claude:claude-haiku-5-5",
    "LLM_FALLBACK_PROVIDERS": [],
    "ANTHROPIC_API_KEY": "k-12345678",
}


def test_a_listed_price_is_known(look):
    """By the package's list, which names the model."""
    found = look("costs", **CHAIN)

    assert found == [("ok", "claude:claude-haiku-5-5", "its price is known", "")]


def test_a_model_without_a_price_is_worth_a_note(look):
    """Calls work, and their cost is not known; the advice is the call's own."""
    mine = FakeProvider("hi", name="mine")

    (found,) = look("costs", primary=mine, LLM_FALLBACK_PROVIDERS=[])
    assert found == ("note", "mine", "mine has no known price", "set LLM_PRICES")
    (found,) = look(
        "costs", primary=mine, LLM_FALLBACK_PROVIDERS=[], LLM_PRICES={"mine": PRICE}
    )
    assert found[0] == "ok"


def test_who_cannot_be_asked_costs_nothing(look):
    """A provider without a key has been told of already."""
    assert look("costs", **CHAIN | {"ANTHROPIC_API_KEY": ""}) == []


@pytest.mark.parametrize(
    "name",
    [
        "claude",
        "claude:claude-haiku-5-5",
        "claude-haiku-5-5",
        "claude-haiku-5-5-20261001",
        "claude:claude-haiku-5-5-20261001",
    ],
)
def test_a_price_of_the_chain_is_not_worth_a_word(look, name):
    """By provider, entry or model, also of a version that answers."""
    found = look("costs", **CHAIN, LLM_PRICES={name: PRICE})

    assert [each[1] for each in found] == ["claude:claude-haiku-5-5"]


@pytest.mark.parametrize("name", ["claude-haiku-5-6", "cluade", "openai:claude-haiku"])
def test_a_price_that_nobody_has_is_worth_a_note(look, name):
    """A slip would leave the listed price in force, or none."""
    *_, found = look("costs", **CHAIN, LLM_PRICES={name: PRICE})

    assert found[:2] == ("note", "LLM_PRICES")
    assert found[2] == f"{name} is neither a model, an entry nor a provider here"
