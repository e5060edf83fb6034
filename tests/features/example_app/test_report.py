"""How an answer came about, in words."""

import pytest

from example_app.report import TINY_MODEL, Report
from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

USAGE = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}


def report(*providers):
    primary, *fallbacks = providers
    llm = LLMFactory(primary, fallbacks, config={})
    return Report.of(llm.generate_content("Hello"))


def answer(provider, model=None, **metadata):
    metadata["model"] = model
    return FakeProvider(
        LLMResponse(True, "Hi", provider, None, metadata), name=provider
    )


def test_the_facts_of_an_answer():
    """Provider, model, tokens and seconds are there."""
    found = report(answer("big", "big-1", usage=USAGE))
    assert (found.provider, found.model, found.tokens) == (
        "big",
        "big-1",
        "12 + 3 tokens",
    )
    assert found.facts == "big-1 · 12 + 3 tokens · 0.00 s"


def test_what_is_not_known_is_left_out():
    """A provider that tells neither model nor tokens leaves only the seconds."""
    assert report(FakeProvider("Hi")).facts == "0.00 s"


def test_the_providers_before_the_answer():
    """Each provider that did not answer is there with its reason."""
    found = report(
        FakeProvider(QuotaError(), name="first"),
        FakeProvider(available=False, name="second"),
        FakeProvider("Hi", name="third"),
    )
    assert found.attempts == ("first: quota exceeded", "second: not available")
    assert found.incomplete


def test_an_outage_is_nothing_to_set_up():
    """Advice about .env is only for what is missing there."""
    assert not report(FakeProvider(QuotaError())).incomplete


def test_warnings_are_told():
    """What a provider could not do as asked is passed on."""
    found = report(answer("big", warnings=["temperature is not sent"]))
    assert found.warnings == ("temperature is not sent",)


@pytest.mark.parametrize(("finish", "cut"), [("length", True), ("stop", False)])
def test_an_answer_that_is_cut_is_told_apart(finish, cut):
    """An answer that ends at its limit is not taken for a whole one."""
    assert report(answer("big", finish_reason=finish)).cut is cut


@pytest.mark.parametrize(
    ("provider", "model", "note"),
    [
        ("local", "SmolLM2-135M-Instruct.Q4_1", TINY_MODEL),
        ("local:/x/SmolLM2-135M.gguf", "SmolLM2-135M", TINY_MODEL),
        ("local", "Large-70B", ""),
        ("local", None, ""),
        ("gemini", "SmolLM2-135M-Instruct.Q4_1", ""),
    ],
)
def test_only_the_tiny_model_has_a_note(provider, model, note):
    """The note is about the bundled model and no other."""
    assert report(answer(provider, model)).note == note
