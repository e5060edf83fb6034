"""What an attempt costs: whose price counts, and what is said where there is none."""

import os
import subprocess
import sys
import threading

import genai_prices
import pytest
from genai_prices import Usage, calc_price

from flask_llm import LLMFactory, LLMResponse
from flask_llm.config.prices import TokenPrice
from flask_llm.fallback import pricing as prices
from flask_llm.fallback.pricing import Prices
from flask_llm.testing import FakeProvider

USAGE = {"input_tokens": 1200, "output_tokens": 300, "total_tokens": 1500}
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
    "GOOGLE_API_KEY": "AIza-made-up-0123456789",
    "OPENAI_API_KEY": "sk-made-up-0123456789",
    "COHERE_API_KEY": "co-made-up-0123456789",
    "LLM_VERTEX_PROJECT": "p",
    "LLM_OLLAMA_MODEL": "llama3.2",
    "LLM_LOCAL_MODEL": __file__,
}
HAIKU = TokenPrice(2.0, 4.0)
HAIKU_COST = (1200 * 2.0 + 300 * 4.0) / 1e6
VERSION = genai_prices.__version__
UNKNOWN = f"has no price in genai-prices {VERSION}: set LLM_PRICES"


def entry_of(written, **settings):
    return LLMFactory(written, [], config=KEYS | settings).entries[0]


def cost_of(written, model=None, usage=USAGE, own=None, **settings):
    """Return cost and note of an attempt at a chain entry."""
    entry = entry_of(written, **settings)
    return Prices(own or {}).cost(entry, model or entry.model_name, usage)


def theirs(model, provider):
    usage = Usage(input_tokens=1200, output_tokens=300)
    return float(calc_price(usage, model, provider_id=provider).total_price)


@pytest.mark.parametrize(
    ("written", "model", "provider"),
    [
        ("claude", "claude-sonnet-5-5", "anthropic"),
        ("claude:claude-haiku-5-5", "claude-haiku-5-5-20260101", "anthropic"),
        ("gemini", "gemini-3.8-flash", "google"),
        ("genai", "gemini-3.8-flash", "google"),
        ("vertex", "gemini-3.8-flash", "google"),
        ("openai", "gpt-6.1-terra", "openai"),
        ("cohere", "command-a-03-2025", "cohere"),
    ],
)
def test_cost_is_that_of_the_published_list(written, model, provider):
    """For each provider at its own address, by the model that answered."""
    cost, note = cost_of(written, model)

    assert cost == pytest.approx(theirs(model, provider))
    assert cost > 0
    assert note is None


@pytest.mark.parametrize(
    ("written", "answered"),
    [
        ("gemini:models/gemini-3.8-flash", None),
        ("vertex:publishers/google/models/gemini-3.8-flash", None),
        ("gemini", "models/gemini-3.8-flash"),
        ("gemini", "gemini-3.8-flash-001"),
        ("vertex:gemini-3.8-flash", "gemini-3.8-flash@20260801"),
    ],
)
def test_google_writes_a_model_in_many_ways(written, answered):
    """Resource names and version suffixes cost what the model costs."""
    expected = theirs("gemini-3.8-flash", "google")
    assert cost_of(written, answered) == (pytest.approx(expected), None)


def test_another_model_than_the_one_asked_for_is_not_priced_by_it():
    """Only a version of what was asked for has its price."""
    cost, note = cost_of("gemini", "gemini-99-ultra")
    assert (cost, note) == (None, f"gemini-99-ultra {UNKNOWN}")
    cost, note = cost_of("claude:claude-haiku-5-5", "claude-haikus")
    assert (cost, note) == (None, f"claude-haikus {UNKNOWN}")


def test_an_azure_deployment_is_priced_by_the_model_that_answers():
    """Its own name is the app's choice, and says nothing."""
    azure = {"LLM_OPENAI_BASE_URL": "https://user:pw@me.openai.azure.com:443/openai/v1"}
    cost, _ = cost_of("openai:my-deployment", "gpt-4o-2024-08-06", **azure)

    assert cost == pytest.approx(theirs("gpt-4o", "openai"))
    _, note = cost_of("openai:my-deployment", **azure)
    assert note == f"my-deployment {UNKNOWN}"
    assert "pw" not in note


@pytest.mark.parametrize(
    "settings",
    [
        {"LLM_OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"},
        {"LLM_OPENAI_BASE_URL": "https://gateway.example.com/v1"},
    ],
)
def test_a_foreign_address_has_no_price_until_one_is_set(settings):
    """A name known elsewhere says nothing there."""
    cost, note = cost_of("openai", **settings)
    assert cost is None
    assert note == (
        f"gpt-6.1-terra has no price at this address in genai-prices {VERSION}:"
        " set LLM_PRICES"
    )

    own = {"openai": TokenPrice(0.0, 0.0)}
    assert cost_of("openai", own=own, **settings) == (0.0, None)


def test_an_endpoint_is_priced_by_its_address():
    """Whatever its name is."""
    groq = {"provider": "openai", "base_url": "https://api.groq.com/openai/v1"}
    lane = {"provider": "claude"}
    endpoints = {"LLM_PROVIDERS": {"groq": groq, "lane": lane}, "GROQ_API_KEY": "k-123"}

    cost, _ = cost_of("groq:openai/gpt-oss-120b", **endpoints)
    assert cost == pytest.approx(theirs("openai/gpt-oss-120b", "groq"))
    cost, _ = cost_of("lane", **endpoints)
    assert cost == pytest.approx(theirs("claude-sonnet-5-5", "anthropic"))


def test_a_plug_in_is_priced_by_the_address_that_it_states():
    """A subclass at another address does not inherit a price."""
    openai = LLMFactory.PROVIDER_REGISTRY["openai"]

    class Elsewhere(openai):
        address = "https://llm.acme.example/v1"

    LLMFactory.register_provider("acme", Elsewhere)
    _, note = cost_of("acme", ACME_API_KEY="k-123")
    assert "has no price at this address" in note


@pytest.mark.parametrize(
    ("settings", "is_free"),
    [
        ({}, True),
        ({"OLLAMA_API_KEY": "k-123"}, True),  # exported for other programs
        ({"LLM_OLLAMA_BASE_URL": "http://gpu.lan:11434"}, True),
        (
            {"LLM_OLLAMA_BASE_URL": "https://o.example.com", "OLLAMA_API_KEY": "k-1"},
            False,
        ),
        ({"LLM_OLLAMA_BASE_URL": "https://ollama.com"}, False),
        ({"LLM_OLLAMA_BASE_URL": "https://eu.ollama.com"}, False),
        ({"LLM_OLLAMA_BASE_URL": "http://my-ollama.com"}, True),
        ({"LLM_OLLAMA_MODEL": "gpt-oss:120b-cloud"}, False),
        ({"LLM_OLLAMA_MODEL": "glm-5:cloud"}, False),
    ],
)
def test_ollama_is_free_but_for_its_cloud(settings, is_free):
    """Also where one's own server hands a model on to the cloud."""
    cost, note = cost_of("ollama", **settings)

    assert cost == (0.0 if is_free else None)
    assert (note is None) == is_free


def test_the_model_in_the_process_costs_nothing():
    """That is known, and no guess."""
    assert cost_of("local") == (0.0, None)


@pytest.mark.parametrize(
    "name",
    [
        "claude:claude-haiku-5-5",
        "claude:claude-haiku-5-5-20260101",
        "claude-haiku-5-5",
        "claude-haiku-5-5-20260101",
        "claude",
    ],
)
def test_own_prices_come_first(name):
    """By entry, by model as asked for or as it answers, or by provider."""
    found = cost_of(
        "claude:claude-haiku-5-5", "claude-haiku-5-5-20260101", own={name: HAIKU}
    )
    assert found == (pytest.approx(HAIKU_COST), None)


def test_the_most_exact_own_price_counts():
    """A provider's price is for the models that have none of their own."""
    own = {
        "claude": TokenPrice(9, 9),
        "claude-haiku-5-5": TokenPrice(5, 5),
        "claude:claude-haiku-5-5": HAIKU,
    }
    assert cost_of("claude:claude-haiku-5-5", own=own)[0] == pytest.approx(HAIKU_COST)
    assert cost_of("claude", own=own)[0] == pytest.approx(1500 * 9 / 1e6)


def test_own_prices_are_for_what_is_free_too():
    """Electricity, say."""
    assert cost_of("local", own={"local": HAIKU})[0] == pytest.approx(HAIKU_COST)


def test_own_prices_are_for_provider_objects():
    """By the name that they have in the chain, or their model's."""
    answer = LLMResponse(True, "hi", "x", metadata={"model": "m-1", "usage": USAGE})
    for name in ("fake", "m-1", "fake:m-1"):
        config = {"LLM_PRICES": {name: {"input": 2, "output": 4}}}
        factory = LLMFactory(FakeProvider(answer), [], config=config)
        response = factory.generate_content("hello")
        assert response.cost_usd == pytest.approx(HAIKU_COST)
        assert response.metadata["cost_note"] is None


def test_a_strangers_provider_has_no_price():
    """Nobody knows where it asks; the note says what to do."""
    answer = LLMResponse(True, "hi", "x", metadata={"usage": USAGE})
    response = LLMFactory(FakeProvider(answer), []).generate_content("hello")

    assert response.cost_usd is None
    assert response.metadata["cost_usd"] is None
    assert response.metadata["cost_note"] == "fake has no known price: set LLM_PRICES"
    (attempt,) = response.attempts
    assert (attempt.cost_usd, attempt.cost_note) == (
        None,
        "fake has no known price: set LLM_PRICES",
    )


def test_what_never_answered_needs_no_reason():
    """There is nothing to pay for, as far as anybody knows."""
    entry = entry_of("claude")
    assert Prices().cost(entry, "m", None, answered=False) == (None, None)


def test_an_answer_without_a_count_says_so():
    """It has cost something, unless its provider takes no money at all."""
    assert cost_of("claude", usage=None) == (None, "no tokens were counted")
    assert cost_of("local", usage=None) == (0.0, None)
    own = {"claude": TokenPrice(0.0, 0.0)}
    assert cost_of("claude", usage=None, own=own) == (0.0, None)


def test_hidden_tokens_cost_as_much_as_the_answer():
    """Thinking that a provider counts in the total only."""
    hidden = {"input_tokens": 1200, "output_tokens": 100, "total_tokens": 1500}
    assert cost_of("claude", usage=hidden) == cost_of("claude")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"input_tokens": None, "output_tokens": 3, "total_tokens": 3},
        {"input_tokens": "5", "output_tokens": 3, "total_tokens": 3},
    ],
)
@pytest.mark.parametrize("own", [{}, {"claude": HAIKU}])
def test_odd_counts_have_no_cost(odd, own):
    """Whatever is asked for raises nothing."""
    cost, note = cost_of("claude", usage=odd, own=own)

    assert cost is None
    assert note.startswith("claude-sonnet-5-5 has ")


def test_a_provider_that_fails_when_asked_has_no_price():
    """A stranger's attributes may do anything."""

    class Odd(FakeProvider):
        @property
        def address(self):
            raise RuntimeError("secret")

    entry = LLMFactory(Odd("hi"), []).entries[0]
    cost, note = Prices().cost(entry, None, USAGE)
    assert cost is None
    assert note == "fake has no price that can be read (RuntimeError): set LLM_PRICES"


@pytest.mark.parametrize("error", [LookupError, ValueError, ImportError, UserWarning])
def test_whatever_the_package_raises_is_no_exception_here(monkeypatch, error):
    """An answer is never lost for its price."""

    def fails(*_, **__):
        raise error("boom")

    monkeypatch.setattr(genai_prices, "calc_price", fails)
    cost, note = cost_of("claude")
    assert cost is None
    assert note.startswith("claude-sonnet-5-5 has no price ")
    assert note.endswith(": set LLM_PRICES")


def test_without_the_package_the_note_says_how_to_get_it(monkeypatch):
    """Own prices and what is free need none."""
    monkeypatch.setattr(prices, "installed", lambda _: False)
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    advice = 'pip install "Flask-LLM[prices]" or set LLM_PRICES'
    note = f"claude-sonnet-5-5 has no known price: {advice}"
    assert cost_of("claude") == (None, note)
    assert cost_of("claude", own={"claude": HAIKU})[0] == pytest.approx(HAIKU_COST)
    assert cost_of("local") == (0.0, None)


def test_the_price_is_found_once(monkeypatch):
    """The package takes its time; it is asked once for each entry and model."""
    asked, real = [], genai_prices.calc_price

    def counts(usage, model, **more):
        asked.append(model)
        return real(usage, model, **more)

    monkeypatch.setattr(genai_prices, "calc_price", counts)
    entry, found = entry_of("claude"), Prices()
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-x") * 3:
        found.cost(entry, model, USAGE)
    assert asked == ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-x"]


def test_a_list_that_is_renewed_is_heeded_within_the_hour(monkeypatch, clock):
    """An app may run the package's UpdatePrices."""
    entry, found = entry_of("claude"), Prices(clock=clock)
    assert found.cost(entry, "claude-x", USAGE)[0] is None
    real = genai_prices.calc_price
    monkeypatch.setattr(
        genai_prices,
        "calc_price",
        lambda usage, _, **more: real(usage, "claude-haiku-5-5", **more),
    )

    assert found.cost(entry, "claude-x", USAGE)[0] is None
    clock.now += 3600
    assert found.cost(entry, "claude-x", USAGE)[0] > 0


def test_prices_follow_the_clock(clock):
    """DeepSeek is dearer by day; the price is that of the moment."""
    deepseek = {"LLM_OPENAI_BASE_URL": "https://api.deepseek.com"}
    entry, found = entry_of("openai:deepseek-chat", **deepseek), Prices(clock=clock)
    costs = set()
    for _ in range(24):
        costs.add(found.cost(entry, "deepseek-chat", USAGE)[0])
        clock.now += 3600
    assert len(costs) == 2


def test_threads_share_prices():
    """All see the same, from the first call on."""
    entry, found = entry_of("claude"), Prices()
    barrier, costs = threading.Barrier(8), []

    def count():
        barrier.wait()
        costs.extend(found.cost(entry, "claude-sonnet-5-5", USAGE) for _ in range(200))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(costs) == 1600
    assert len({*costs}) == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_has_the_prices_too():
    """Whether its parent has used them or not; threads are no matter."""
    code = """if True:
        import os
        from flask_llm import LLMFactory
        from flask_llm.fallback.pricing import Prices
        usage = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}
        config = {"ANTHROPIC_API_KEY": "k-12345678"}
        entry = LLMFactory("claude", [], config=config).entries[0]
        fresh, used = Prices(), Prices()
        used.look_up(entry)
        if os.fork() == 0:
            model = entry.model_name
            costs = {each.cost(entry, model, usage) for each in (fresh, used)}
            ((cost, note),) = costs
            os._exit(0 if cost > 0 and note is None else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_the_list_is_imported_late_and_never_the_network():
    """Not at start, not for own prices; warming up takes it out of the first call."""
    code = """if True:
        import socket, sys
        from flask_llm import LLMFactory
        from flask_llm.fallback.pricing import Prices
        def refuse(*_):
            raise AssertionError("network")
        socket.socket.connect = socket.getaddrinfo = refuse
        usage = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}
        config = {"ANTHROPIC_API_KEY": "k-12345678"}
        own = {"LLM_PRICES": {"claude": {"input": 1, "output": 1}}}
        LLMFactory("claude", [], config=config | own).warm_up(full=False)
        assert "genai_prices" not in sys.modules
        factory = LLMFactory("claude", [], config=config)
        assert "genai_prices" not in sys.modules
        factory.warm_up(full=False)
        assert "genai_prices" in sys.modules
        entry = factory.entries[0]
        cost, _ = Prices().cost(entry, entry.model_name, usage)
        assert cost > 0
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
