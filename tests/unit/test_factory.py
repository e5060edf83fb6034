import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import ConfigurationError, QuotaError, TransientError
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.providers.google.gemini import GeminiProvider
from flask_llm.testing import Delay, FakeProvider

METADATA_KEYS = {
    "model",
    "usage",
    "finish_reason",
    "request_id",
    "latency_s",
    "attempts",
    "warnings",
    "error_kind",
    "call_id",
    "purpose",
    "cost_usd",
    "cost_note",
}


def test_without_arguments_the_environment_speaks(monkeypatch):
    """A script without an app is configured by its environment."""
    monkeypatch.setenv("LLM_PRIMARY_PROVIDER", "claude")
    monkeypatch.setenv("LLM_FALLBACK_PROVIDERS", "gemini")
    monkeypatch.setenv("GOOGLE_API_KEY", "k-12345678")

    assert LLMFactory().get_provider_status() == {
        "primary": {"name": "claude", "available": False},
        "fallbacks": [{"name": "gemini", "available": True}],
        "current": "claude",
    }


def test_without_arguments_the_current_app_speaks():
    """Inside an app context the app's configuration comes first."""
    app = Flask("testapp")
    app.config["LLM_PRIMARY_PROVIDER"] = "local"
    with app.app_context():
        factory = LLMFactory()

    assert factory.get_provider_status()["primary"]["name"] == "local"
    assert LLMFactory().get_provider_status()["primary"]["name"] == "gemini"


def test_arguments_come_before_the_configuration():
    """`LLMFactory(primary_provider="claude", fallback_providers=["gemini"])`."""
    config = {"LLM_PRIMARY_PROVIDER": "local", "LLM_FALLBACK_PROVIDERS": "local"}
    factory = LLMFactory("claude", ["gemini"], config=config)

    status = factory.get_provider_status()
    assert status["primary"]["name"] == "claude"
    assert [each["name"] for each in status["fallbacks"]] == ["gemini"]


def test_an_empty_list_means_no_fallbacks():
    """An explicit empty value is not the default."""
    assert LLMFactory("claude", []).get_provider_status()["fallbacks"] == []


def test_unknown_names_fail_at_construction():
    """The error names the known ones."""
    with pytest.raises(ConfigurationError, match=r"known: claude, cohere, gemini, "):
        LLMFactory("gpt")


def test_current_tells_who_answered_last():
    """`current_provider` is the object, status's `current` its name."""
    first = FakeProvider(QuotaError(), "back", name="first")
    second = FakeProvider("hi", name="second")
    factory = LLMFactory(first, [second])
    seen = [(factory.current_provider, factory.get_provider_status()["current"])]
    for _ in range(2):
        factory.generate_content("hello")
        current = factory.get_provider_status()["current"]
        seen.append((factory.current_provider, current))

    assert seen == [(first, "first"), (second, "second"), (first, "first")]


def test_a_failed_call_leaves_current_as_it_was():
    """Nobody answered, so nobody answered last."""
    factory = LLMFactory(FakeProvider(QuotaError(), name="first"), [])
    factory.generate_content("hello")

    assert factory.get_provider_status()["current"] == "first"


def test_status_tells_what_is_missing_on_request():
    """The plain status has the documented keys only; `detail` adds what is known."""
    config = {"GOOGLE_API_KEY": "k-1234", "LLM_GEMINI_MODEL": "gemini-9"}
    factory = LLMFactory("claude", ["gemini"], config=config)

    unset = dict.fromkeys(["reason", "until", "advice", "kind", "status"])
    assert factory.get_provider_status(detail=True) == {
        "primary": unset
        | {
            "name": "claude",
            "available": False,
            "reason": "no API key (set ANTHROPIC_API_KEY)",
            "model": "claude-sonnet-5-5",
            "state": "unavailable",
            "advice": "set ANTHROPIC_API_KEY",
            "kind": "unavailable",
        },
        "fallbacks": [
            unset
            | {
                "name": "gemini",
                "available": True,
                "model": "gemini-9",
                "state": "closed",
            }
        ],
        "current": "claude",
    }


def test_metadata_always_has_the_same_keys():
    """Code that reads metadata needs no `get`, whoever answered or failed."""
    factory = LLMFactory(FakeProvider("hi", QuotaError()), [])

    for prompt in ("first", "second", ""):
        metadata = factory.generate_content(prompt).metadata
        assert set(metadata) == METADATA_KEYS
        json.dumps(metadata)


def test_a_provider_s_metadata_is_kept_and_completed():
    """What the provider tells stays; attempts and kind are the factory's."""
    own = {"model": "m", "extra": 1, "attempts": "mine", "error_kind": "mine"}
    factory = LLMFactory(FakeProvider(LLMResponse(True, "hi", "x", metadata=own)), [])
    metadata = factory.generate_content("hello").metadata

    assert (metadata["model"], metadata["extra"]) == ("m", 1)
    assert [each["outcome"] for each in metadata["attempts"]] == ["success"]
    assert metadata["error_kind"] is None


def test_a_cut_answer_says_so():
    """Text that ends at max_tokens is an answer, with a warning."""
    cut = LLMResponse(True, "once upon a", "x", metadata={"finish_reason": "length"})
    response = LLMFactory(FakeProvider(cut), []).generate_content("hello")

    assert response.success
    assert response.metadata["warnings"] == ["the answer is cut at max_tokens"]


@pytest.mark.parametrize(
    ("metadata", "finish", "warnings"),
    [
        ({"finish_reason": "MAX_TOKENS", "warnings": None}, "length", 1),
        ({"finish_reason": "length", "warnings": "abc"}, "length", 1),
        ({"finish_reason": "length", "warnings": ["a"]}, "length", 2),
        ({"finish_reason": "stop", "warnings": ("a",)}, "stop", 1),
    ],
)
def test_a_stranger_s_metadata_is_brought_into_shape(metadata, finish, warnings):
    """Other words for a cut answer, and warnings that are no list."""
    answer = LLMResponse(True, "hi", "x", metadata=metadata)
    found = LLMFactory(FakeProvider(answer), []).generate_content("hello").metadata

    assert found["finish_reason"] == finish
    assert len(found["warnings"]) == warnings


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("gemni",), "primary_provider names no known provider: 'gemni'"),
        (("gemini", 5), "fallback_providers must be names separated by commas"),
        (("gemini", FakeProvider()), "fallback_providers must be names separated"),
        (("gemini", ["x"]), "fallback_providers names no known provider: 'x'"),
        (("claude:",), "primary_provider names 'claude:' without a model"),
    ],
)
def test_a_wrong_argument_is_told_by_its_name(arguments, fault):
    """The error names the argument, not a setting that nobody made."""
    with pytest.raises(ConfigurationError) as caught:
        LLMFactory(*arguments)

    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(fault)


def test_a_typo_in_a_provider_s_setting_is_warned_of(caplog):
    """Of a provider in the chain; those of others may be there for another app."""
    LLMFactory("gemini", [], config={"LLM_GEMINI_MODLE": "x", "LLM_CLAUDE_MODLE": "y"})

    assert caplog.messages == [
        "Unknown setting LLM_GEMINI_MODLE: did you mean LLM_GEMINI_MODEL?"
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": "hi", "max_tokens": 0}, "max_tokens must be from 1 to"),
        ({"prompt": "hi", "temperature": -1}, "temperature must be from 0 to 100"),
    ],
)
def test_impossible_values_reach_no_provider(arguments, fault):
    """They often come from a form: a failed response, not an exception."""
    fake = FakeProvider()
    response = LLMFactory(fake, []).generate_content(**arguments)

    assert response.metadata["error_kind"] == "invalid_request"
    assert response.error.startswith(f"No provider was asked: {fault}")
    assert fake.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": None},
        {"prompt": "hi", "temperature": "0"},
        {"prompt": "hi", "max_tokens": "9"},
        {"prompt": "hi", "max_retries": "9"},
        {"prompt": "hi", "retry_delay": "9"},
    ],
)
def test_wrong_types_raise(arguments):
    """A programming error of the caller is the one thing that raises."""
    with pytest.raises(TypeError):
        LLMFactory(FakeProvider(), []).generate_content(**arguments)


def test_no_key_at_all_is_a_failure_that_names_the_keys(caplog):
    """Nothing fails at start, and the first call says what to set."""
    response = LLMFactory().generate_content("hello")

    assert response.error == (
        "All LLM providers failed: [gemini: no API key (set GOOGLE_API_KEY),"
        " claude: no API key (set ANTHROPIC_API_KEY)]"
    )
    assert caplog.records[-1].levelno == logging.ERROR


def test_two_factories_know_nothing_of_each_other():
    """Each has its own chain and its own keys."""
    one = LLMFactory("claude", [], config={"ANTHROPIC_API_KEY": "k-one"})
    two = LLMFactory("claude", [], config={"ANTHROPIC_API_KEY": "k-two"})

    assert isinstance(one.current_provider, ClaudeProvider)
    assert one.current_provider is not two.current_provider
    assert one.current_provider._api_key == "k-one"
    assert two.current_provider._api_key == "k-two"


def test_the_registry_is_the_documented_one():
    """`LLMFactory.PROVIDER_REGISTRY` maps names to classes."""
    assert LLMFactory.PROVIDER_REGISTRY["gemini"] is GeminiProvider
    assert LLMFactory.PROVIDER_REGISTRY["claude"] is ClaudeProvider


def test_32_threads_get_their_own_right_answers():
    """A failing primary in one call moves no other call along its chain."""

    def flaky(prompt):
        number = int(prompt)
        if number % 3 == 0:
            raise QuotaError
        if number % 3 == 1:
            raise TransientError
        return f"first {prompt}"

    first = FakeProvider(Delay(0.001, flaky), name="first")
    second = FakeProvider(lambda prompt: f"second {prompt}", name="second")
    config = {"LLM_BREAKER_FAILURES": 0}  # else first would soon rest
    factory = LLMFactory(first, [second], config=config)
    start = threading.Barrier(32)

    def ask(worker):
        start.wait()
        prompts = [str(worker * 20 + i) for i in range(20)]
        return [
            (p, factory.generate_content(p, max_retries=2, retry_delay=0))
            for p in prompts
        ]

    with ThreadPoolExecutor(32) as pool:
        answers = [each for many in pool.map(ask, range(32)) for each in many]

    assert len(answers) == 640
    for prompt, response in answers:
        name = "first" if int(prompt) % 3 == 2 else "second"
        assert (response.content, response.provider_name) == (f"{name} {prompt}", name)
        tries = {0: 2, 1: 3, 2: 1}[int(prompt) % 3]
        assert len(response.attempts) == tries


def test_threads_wait_side_by_side():
    """No lock is held while a provider is asked."""
    all_asked = threading.Barrier(16)
    factory = LLMFactory(FakeProvider(lambda _: str(all_asked.wait(60))), [])
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(factory.generate_content, ["hello"] * 16))

    assert all(each.success for each in answers)
