"""Tokens that a cache had or took, and hidden thinking: one meaning on every wire."""

import re

import genai_prices
import pytest
from flask import Flask
from wire import in_turn
from wired import settings

from flask_llm import FlaskLLM, LLMFactory, Usage
from flask_llm.fallback.pricing import Prices
from flask_llm.testing import StubServer, reply
from flask_llm.types import DETAILS

# What each API says of one prompt of 10,000 tokens, 6,000 of them read from its cache,
# 1,000 written where that is told, and of an answer of 500, 300 of them thought.
ANTHROPIC = {
    "input_tokens": 3000,
    "cache_read_input_tokens": 6000,
    "cache_creation_input_tokens": 1000,
    "output_tokens": 500,
    "output_tokens_details": {"thinking_tokens": 300},
}
OPENAI = {
    "prompt_tokens": 10_000,
    "completion_tokens": 500,
    "total_tokens": 10_500,
    "prompt_tokens_details": {"cached_tokens": 6000, "cache_write_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 300},
}
XAI = OPENAI | {
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 6000},
}
GOOGLE = {
    "promptTokenCount": 10_000,
    "candidatesTokenCount": 200,
    "thoughtsTokenCount": 300,
    "cachedContentTokenCount": 6000,
    "totalTokenCount": 10_500,
}
GOOGLE_OLD = {key: GOOGLE[key] for key in GOOGLE if key != "thoughtsTokenCount"}
COHERE = {
    "tokens": {"input_tokens": 10_000.0, "output_tokens": 500.0},
    "billed_units": {"input_tokens": 9_900.0, "output_tokens": 500.0},
    "cached_tokens": 6000.0,
}


def message(usage):
    text = [{"type": "text", "text": "Hi"}]
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": text,
        "model": "claude-sonnet-5-5",
        "stop_reason": "end_turn",
        "usage": usage,
        "stop_sequence": None,
    }


def completion(usage):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
    }
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "usage": usage,
        "model": "gpt-6.1-terra",
        "choices": [choice],
    }


def generated(usage):
    content = {"role": "model", "parts": [{"text": "Hi"}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage,
        "modelVersion": "gemini-3.8-flash",
    }


def chat(usage):
    content = [{"type": "text", "text": "Hi"}]
    return {
        "id": "c",
        "finish_reason": "COMPLETE",
        "usage": usage,
        "message": {"role": "assistant", "content": content},
    }


# Name of the provider, its answer, the details that are told.
SHAPES = {
    "claude": ("claude", message(ANTHROPIC), (6000, 1000, 300)),
    "openai": ("openai", completion(OPENAI), (6000, 1000, 300)),
    "xai": ("openai", completion(XAI), (6000, None, 300)),
    "gemini": ("gemini", generated(GOOGLE_OLD), (6000, None, None)),
    "genai": ("genai", generated(GOOGLE), (6000, None, 300)),
    "vertex": ("vertex", generated(GOOGLE), (6000, None, 300)),
    "cohere": ("cohere", chat(COHERE), (6000, None, None, 9900)),
}
PRICES = {"input": 2.0, "output": 10.0, "cached_input": 0.5, "cache_write": 3.0}


def asked(shape, **config):
    name, body, details = SHAPES[shape]
    with StubServer(reply(body)) as server:
        config |= settings(name, server.url)
        response = LLMFactory(name, [], config=config).generate_content("Hi")
    assert response.success, response.error
    return response, Usage(10_000, 500, 10_500, *details)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_counted_apart(shape):
    """All input is input, all thinking is output; what is not told is None."""
    response, counts = asked(shape)
    assert response.usage == counts
    (attempt,) = response.attempts
    assert Usage.of(attempt.usage) == counts


@pytest.mark.parametrize("shape", SHAPES)
def test_the_app_s_own_prices(shape):
    """Each token is paid once, at its own price; Cohere's where it bills fewer."""
    name, _, _ = SHAPES[shape]
    response, counts = asked(shape, LLM_PRICES={name: PRICES})
    cached, written = counts.cached_tokens or 0, counts.cache_write_tokens or 0
    plain = (counts.billed_input_tokens or 10_000) - cached - written
    dollars = plain * 2 + cached * 0.5 + written * 3 + 500 * 10
    assert response.cost_usd == pytest.approx(dollars / 1e6)


@pytest.mark.parametrize(
    ("shape", "url", "model"),
    [
        ("claude", "https://api.anthropic.com", "claude-sonnet-5-5"),
        ("openai", "https://api.openai.com/v1", "gpt-6.1-terra"),
        ("genai", "https://generativelanguage.googleapis.com", "gemini-3.8-flash"),
    ],
)
def test_the_listed_prices(shape, url, model):
    """They are those of genai-prices, by its own arithmetic."""
    response, counts = asked(shape)
    handle = priced_handle(SHAPES[shape][0])
    usage = response.attempts[0].usage
    cost, note = Prices().cost(handle, model, usage)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=10_000,
            output_tokens=500,
            cache_read_tokens=counts.cached_tokens,
            cache_write_tokens=counts.cache_write_tokens or 0,
        ),
        model,
        provider_api_url=url,
    )
    assert note is None
    assert cost == pytest.approx(float(theirs.total_price))


def test_what_is_kept_for_an_hour_costs_more():
    """Anthropic tells it apart, and genai-prices has a price of its own for it."""
    hour = {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 0}
    with StubServer(reply(message(ANTHROPIC | {"cache_creation": hour}))) as server:
        factory = LLMFactory("claude", [], config=settings("claude", server.url))
        response = factory.generate_content("Hi")
    usage = response.attempts[0].usage
    assert usage["cache_write_1h_tokens"] == usage["cache_write_tokens"] == 1000
    cost, _ = Prices().cost(priced_handle("claude"), "claude-sonnet-5-5", usage)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=10_000,
            output_tokens=500,
            cache_read_tokens=6000,
            cache_write_tokens=1000,
            cache_write_1h_tokens=1000,
        ),
        "claude-sonnet-5-5",
        provider_api_url="https://api.anthropic.com",
    )
    assert cost == pytest.approx(float(theirs.total_price))


def priced_handle(name):
    """Return a provider at its own address, which the list of prices knows."""
    return LLMFactory(name, [], config={}).entries[0]


@pytest.mark.parametrize("setting", ["off", "5m", "1h"])
def test_claude_keeps_what_the_system_says(setting):
    """Marked as the API wants it; what it says is the same."""
    with StubServer(reply(message(ANTHROPIC))) as server:
        config = settings("claude", server.url) | {"LLM_CLAUDE_PROMPT_CACHE": setting}
        factory = LLMFactory("claude", [], config=config)
        factory.generate_content("Hi", system="Be brief.")
        factory.generate_content("Hi")
        first, second = (each.json for each in server.received)
    kept = {"type": "ephemeral", "ttl": setting}
    block = {"type": "text", "text": "Be brief.", "cache_control": kept}
    assert first["system"] == ("Be brief." if setting == "off" else [block])
    assert "system" not in second


@pytest.mark.parametrize("shape", ["claude", "openai", "genai"])
def test_metrics_tell_the_same(shape):
    """As their response does."""
    name, body, _ = SHAPES[shape]
    app = Flask("testapp")
    with StubServer(reply(body)) as server:
        app.config |= settings(name, server.url)
        app.config |= {"LLM_METRICS": True, "LLM_PRIMARY_PROVIDER": name}
        FlaskLLM(app, authorize=lambda: True)
        usage = app.llm.generate_content("Hi").attempts[0].usage
    shown = app.test_client().get("/llm/metrics").text
    line = r'flask_llm_token_details_total\{.*detail="(\w+)".*\} ([\d.]+)'
    found = {name: float(value) for name, value in re.findall(line, shown)}
    assert found == {name: usage[name] for name in DETAILS if usage.get(name)} != {}


def test_a_sum_of_attempts_keeps_what_one_of_them_told():
    """A wrong JSON has been paid for too."""
    bad = completion(OPENAI)
    good = completion({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    good["choices"][0]["message"] = {"role": "assistant", "content": '{"a": 1}'}
    with StubServer(in_turn(reply(bad), reply(good))) as server:
        factory = LLMFactory("openai", [], config=settings("openai", server.url))
        response = factory.generate_content("Hi", schema={"type": "object"})
    assert response.usage == Usage(10_010, 505, 10_515, 6000, 1000, 300)


def test_the_documented_form_of_three_keys_is_enough():
    """A provider of somebody else knows nothing of the rest."""
    plain = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert Usage.of(plain) == Usage(1, 2, 3)
    assert Usage.of(plain | {"cached_tokens": 1}) == Usage(1, 2, 3, 1)
    assert Usage.of(plain | {"cached_tokens": None}) is None
    assert Usage.of(plain | {"pictures": 1}) is None
    assert Usage.of({"input_tokens": 1, "cached_tokens": 1}) is None
