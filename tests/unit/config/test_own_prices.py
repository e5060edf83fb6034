"""LLM_PRICES, as it is read and as it is told what is wrong with it."""

import json

import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.config.prices import TokenPrice
from flask_llm.config.reader import Reader
from flask_llm.config.settings import LLMConfig
from flask_llm.errors import ConfigurationError

HAIKU = {"input": 0.1, "output": 0.5}


def read(written):
    reader = Reader({"LLM_PRICES": written})
    return LLMConfig.read(reader).prices, reader.faults


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_prices_are_a_dict_or_its_json(form):
    """The app's configuration has the one, an environment the other."""
    prices, faults = read(form({"claude:claude-haiku-5-5": HAIKU, " m ": HAIKU}))

    assert faults == []
    assert prices == dict.fromkeys(
        ("claude:claude-haiku-5-5", "m"), TokenPrice(0.1, 0.5)
    )


def test_prices_are_read_from_the_environment(monkeypatch):
    """A .env file holds them on one line."""
    monkeypatch.setenv("LLM_PRICES", json.dumps({"m": {"input": 1, "output": 0}}))

    assert LLMConfig.read(Reader({})).prices == {"m": TokenPrice(1.0, 0.0)}


def test_unset_there_are_none():
    """Blank means unset, as everywhere."""
    assert read(" ") == ({}, [])
    assert read("{}") == ({}, [])


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("[1]", "must be a dict of prices by model, or the JSON of one"),
        ("{'m': 1}", "is no valid JSON (at character 2; write double quotes)"),
        ({"m": 3}, "must have a dict of prices for 'm', not 3"),
        (
            {5: HAIKU},
            "has the name 5: name a model, a chain entry or a provider",
        ),
        ({"m": {"input": 1}}, "has no 'output' for 'm'"),
        (
            {"m": HAIKU | {"ouput": 1}},
            "has an unknown price 'ouput' for 'm'; did you mean 'output'?",
        ),
        (
            {"m": HAIKU | {"pictures": 1}},
            (
                "has an unknown price 'pictures' for 'm' (known: input, output,"
                " cached_input, cache_write)"
            ),
        ),
    ],
)
def test_a_fault_names_the_key_and_the_model(written, fault):
    """Each says what would be right."""
    prices, faults = read(written)

    assert faults == [f"LLM_PRICES {fault}"]
    assert prices == {}


@pytest.mark.parametrize(
    "odd", [-1, True, "3", None, float("nan"), float("inf"), [1], {}]
)
def test_a_price_is_a_number_from_0_up(odd):
    """A text, a boolean or a number that is none could only be a slip."""
    _, faults = read({"gpt-x": {"input": 1, "output": odd}})

    told = "must have US dollars per million tokens as 'output' of 'gpt-x', 0 or more"
    assert faults == [f"LLM_PRICES {told}, not {odd!r}"]


def test_all_faults_are_told_at_once():
    """Those of other keys too, and the app does not start."""
    app = Flask("x")
    app.config["LLM_TIMEOUT"] = "soon"
    app.config["LLM_PRICES"] = {"a": {"input": -1}, "b": 7}
    with pytest.raises(ConfigurationError) as caught:
        FlaskLLM(app)

    faults = [each.split(",")[0] for each in caught.value.faults]
    assert faults == [
        "LLM_TIMEOUT must be seconds",
        "LLM_PRICES must have US dollars per million tokens as 'input' of 'a'",
        "LLM_PRICES has no 'output' for 'a'",
        "LLM_PRICES must have a dict of prices for 'b'",
    ]
