"""What whole calls cost, over the real SDKs: all answers that were paid for count."""

import json

import pytest
from faultserver import FaultServer, faults
from faultserver.steps import Healthy
from wire import ANSWER, PROMPT
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory, StreamInterrupted
from flask_llm.testing import FakeProvider

NAMES = ("claude", "openai", "cohere", "gemini", "genai", "vertex", "ollama")
OTHERS = NAMES[1:]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
WRONG = Healthy("WRONG", text='{"n": "seven"}', usage=(100, 10))
RIGHT = Healthy("RIGHT", text='{"n": 7}', usage=(200, 20))
PRICES = {name: {"input": 1, "output": 1000} for name in NAMES}


def dollars(*pairs):
    """Return what so many tokens of prompts and answers cost."""
    return pytest.approx(sum(taken + 1000 * given for taken, given in pairs) / 1e6)


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(NAMES):
        yield


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def ask(server, clock):
    """Return a factory over some providers, each with its script."""

    def ask(**scripts):
        config = {"LLM_RETRY_PRESET": "web", "LLM_PRICES": PRICES}
        for name, steps in scripts.items():
            server.script(WIRES[name], *steps)
            config |= settings(name, server.url)
        first, *others = scripts
        return LLMFactory(first, others, config=config, clock=clock)

    return ask


def costs(response):
    return [each.cost_usd for each in response.attempts]


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_costs_its_tokens(ask, name):
    """For every provider, whole and as a stream."""
    factory = ask(**{name: [faults.OK, faults.OK]})
    whole = factory.generate_content(PROMPT)
    with factory.stream_content(PROMPT) as stream:
        assert "".join(stream) == ANSWER

    for response in (whole, stream.response):
        assert response.cost_usd == dollars((12, 7))
        assert response.metadata["cost_usd"] == response.cost_usd
        assert response.metadata["cost_note"] is None
        assert costs(response) == [response.cost_usd]
    json.dumps(whole.metadata)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_corrected_costs_twice(ask, name):
    """The one that did not match the schema has been paid for."""
    response = ask(**{name: [WRONG, RIGHT]}).generate_content(PROMPT, schema=SCHEMA)

    assert response.parsed == {"n": 7}
    assert costs(response) == [dollars((100, 10)), dollars((200, 20))]
    assert response.cost_usd == dollars((100, 10), (200, 20))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["claude", "openai", "gemini", "genai", "cohere"])
def test_a_refusal_costs_its_tokens(ask, name, streamed):
    """What is not given away has been written and read all the same."""
    refused = Healthy("refused", text="", usage=(12, 3), finish="refused")
    factory = ask(**{name: [refused]})
    if streamed:
        with factory.stream_content(PROMPT) as stream:
            assert list(stream) == []
        response = stream.response
    else:
        response = factory.generate_content(PROMPT)

    assert not response.success
    # Cohere only says that it has failed, so that it is asked again.
    kind, times = ("transient", 2) if name == "cohere" else ("content_blocked", 1)
    assert response.metadata["error_kind"] == kind
    assert costs(response) == [dollars((12, 3))] * times
    assert response.cost_usd == dollars(*[(12, 3)] * times)
    assert response.usage.total_tokens == 15 * times


@pytest.mark.parametrize("name", NAMES)
def test_thinking_that_leaves_no_text_costs_its_tokens(ask, name):
    """Nothing came of it but the bill."""
    thought = Healthy("t", text="", thought="Hm.", usage=(5, 9), finish="length")
    response = ask(**{name: [thought]}).generate_content(PROMPT)

    assert response.metadata["error_kind"] == "bad_answer"
    assert response.cost_usd == dollars((5, 9))


def test_a_fallback_adds_what_the_first_has_cost(ask):
    """And what failed without an answer adds nothing."""
    empty = Healthy("empty", text="", usage=(50, 1))
    factory = ask(claude=[empty], openai=[faults.rate_limited(60)], cohere=[faults.OK])
    response = factory.generate_content(PROMPT)

    assert response.provider_name == "cohere"
    assert costs(response) == [dollars((50, 1)), None, dollars((12, 7))]
    assert response.cost_usd == dollars((50, 1), (12, 7))
    assert [each.cost_note for each in response.attempts] == [None] * 3


def test_one_unknown_price_makes_the_sum_unknown(server, ask):
    """A part of the bill would be taken for the whole."""
    server.script("anthropic", Healthy("empty", text="", usage=(50, 1)))
    server.script("openai", faults.OK)
    config = settings("claude", server.url) | settings("openai", server.url)
    config |= {"LLM_PRICES": {"claude": PRICES["claude"]}}
    response = LLMFactory("claude", ["openai"], config=config).generate_content(PROMPT)

    assert response.success
    assert response.cost_usd is None
    assert "has no price at this address" in response.metadata["cost_note"]
    assert costs(response) == [dollars((50, 1)), None]


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_without_a_count_has_no_cost(ask, name):
    """Nor has a call of which it is a part."""
    uncounted = Healthy("uncounted", usage=None)
    response = ask(**{name: [uncounted]}).generate_content(PROMPT)
    assert (response.success, response.cost_usd) == (True, None)
    assert response.metadata["cost_note"] == "no tokens were counted"


def test_a_count_that_is_missing_makes_the_sum_unknown(ask):
    """The first answer's cost alone would be too little."""
    uncounted = Healthy("uncounted", usage=None)
    empty = Healthy("empty", text="", usage=(50, 1))
    response = ask(claude=[empty], openai=[uncounted]).generate_content(PROMPT)

    assert response.success
    assert (response.cost_usd, response.metadata["cost_note"]) == (
        None,
        "not all tokens were counted",
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_that_breaks_off_has_no_cost(ask, name):
    """Its tokens are told at its end, which has not come."""
    factory = ask(**{name: [faults.cut_stream(1)]})
    with factory.stream_content(PROMPT) as stream, pytest.raises(StreamInterrupted):
        list(stream)

    assert stream.response.cost_usd is None
    assert stream.response.metadata["cost_note"] == "no tokens were counted"


def test_a_restart_does_not_hide_what_the_first_has_cost(ask):
    """The second answer's cost alone would be too little."""
    factory = ask(claude=[faults.cut_stream(1)], openai=[faults.OK])
    with factory.stream_content(PROMPT, on_interrupt="restart") as stream:
        list(stream)

    response = stream.response
    assert response.success
    assert costs(response) == [None, dollars((12, 7))]
    assert (response.cost_usd, response.metadata["cost_note"]) == (
        None,
        "not all tokens were counted",
    )


def test_a_stream_that_its_reader_leaves_has_no_cost(ask):
    """What was read has been written, and perhaps more."""
    factory = ask(claude=[faults.OK])
    with factory.stream_content(PROMPT) as stream:
        next(stream)

    assert stream.response.metadata["error_kind"] == "closed"
    assert stream.response.cost_usd is None


def test_the_published_price_is_that_of_the_address_that_is_configured(ask, server):
    """A real answer of a real SDK, priced by the list."""
    server.script("anthropic", faults.OK)
    config = settings("claude", server.url)
    factory = LLMFactory("claude", [], config=config)
    provider = factory.entries[0].provider
    provider.warm_up(full=True)
    provider.base_url = None  # as if it were Anthropic's; the client stays connected
    response = factory.generate_content(PROMPT)

    assert response.content == ANSWER
    assert response.cost_usd == pytest.approx((12 * 2 + 7 * 10) / 1e6)


def test_a_call_that_nobody_answers_has_no_cost():
    """Nothing has been counted, and the note says so."""
    response = LLMFactory(FakeProvider(available=False), []).generate_content("hello")

    assert response.cost_usd is None
    assert response.metadata["cost_note"] == "no tokens were counted"
