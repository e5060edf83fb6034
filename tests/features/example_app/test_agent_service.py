"""What the service makes of a model's answers."""

import logging

import pytest
from flask import Flask

from example_app.mails import SAMPLES
from example_app.services import prompts
from example_app.services.agent_service import UNKNOWN, AgentService, parse_label
from flask_llm import FlaskLLM, LLMFactory, LLMResponse
from flask_llm.errors import AuthError, QuotaError
from flask_llm.testing import FakeProvider

MAIL = SAMPLES[0]


def service(*script):
    fake = FakeProvider(*script)
    return AgentService(LLMFactory(fake, [], config={})), fake


@pytest.mark.parametrize(
    "answer",
    [
        "payment",
        " Payment.\n",
        "PAYMENT!",
        '"payment"',
        "“payment”",
        "**payment**",
        "'Payment'.",
        "Label: payment",
        "Answer: **Payment**",
        'The answer is "payment"',
        "The correct answer is: payment.",
        "The category is payment",
    ],
)
def test_a_clear_answer_is_the_label(answer):
    """One label, alone or in a plain phrase, in any case and quotes, is taken."""
    assert parse_label(answer) == "payment"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   ",
        "REFUND APPROVED",
        "not payment",
        "This is not a payment.",
        "payment or problem",
        "payment, problem",
        "payment\nproblem",
        "payment payment",
        "payment?",
        "Maybe payment",
        "The answer is not payment",
        "I would say payment, but I am not sure.",
        "The email is a payment, problem or advertisement.",
        "payments",
        "prepayment",
        "p\u0430yment",  # a Cyrillic letter
        "pay\u200bment",
        "<b>payment</b>",
        "payment; rm -rf /",
        "payment " * 10_000,
        '"' * 10_000,
        "The answer is " * 1_000,
        "billing",
    ],
)
def test_anything_else_is_no_label(answer):
    """Nothing vague, double, taken back or off the list becomes a label."""
    assert parse_label(answer) is None


@pytest.mark.parametrize("label", prompts.LABELS)
def test_classify(label):
    """A label comes with what it stands for, and with the whole response."""
    agent, _ = service(label.title())
    found = agent.classify(MAIL)
    assert (found.label, found.reason) == (label, prompts.LABELS[label])
    assert found.response.provider_name == "fake"


def test_the_model_may_say_unknown():
    """A model that cannot tell is believed."""
    found = service("Unknown.")[0].classify(MAIL)
    assert (found.label, found.reason) == (UNKNOWN, "The model could not tell.")


def test_an_answer_off_the_list_is_unknown():
    """An obeyed injection gives "unknown", and none of its words as label or reason."""
    found = service("REFUND APPROVED")[0].classify(MAIL)
    assert found.label == UNKNOWN
    assert found.reason == "The model's answer is not one of the labels."


def test_a_failed_call_is_unknown():
    """Without an answer the label is "unknown" and the reason is the error."""
    found = service(AuthError())[0].classify(MAIL)
    assert found.label == UNKNOWN
    assert found.reason == "All LLM providers failed: [fake: API key rejected]"
    assert not found.response.success


def test_a_cut_answer_is_unknown():
    """The word before the cut may not have been the last one."""
    cut = LLMResponse(True, "payment", "fake", metadata={"finish_reason": "length"})
    found = service(cut)[0].classify(MAIL)
    assert (found.label, found.reason) == (UNKNOWN, "The model's answer was cut short.")


def test_a_mail_that_cannot_be_sent_is_unknown():
    """A mail that no encoding can carry raises nothing."""
    broken = type(MAIL)("x", "Eve", "eve@example.com", "now", "\ud800", "")
    agent, fake = service("payment")
    assert agent.classify(broken).label == UNKNOWN
    assert fake.calls == []


def test_classification_is_asked_without_randomness():
    """The same mail gets the same label."""
    agent, fake = service("payment")
    agent.classify(MAIL)
    assert fake.calls[0].temperature == 0
    assert fake.calls[0].prompt == prompts.classification(MAIL)


def test_draft_reply():
    """A draft is the model's response as it is."""
    agent, fake = service("Dear Priya, …")
    assert agent.draft_reply(MAIL).content == "Dear Priya, …"
    assert fake.calls[0].prompt == prompts.reply(MAIL)


def test_a_draft_is_a_conversation():
    """What the app wants is told apart from what the mail says."""
    agent, fake = service("Dear Priya, …")
    agent.draft_reply(MAIL)
    assert fake.calls[0].system == prompts.REPLY_SYSTEM
    assert prompts.REPLY_SYSTEM not in fake.calls[0].prompt


def test_a_draft_that_is_streamed():
    """It is asked for like the whole one, and comes piece by piece."""
    agent, fake = service("Dear Priya, …")
    with agent.draft(MAIL) as stream:
        assert [*stream] == ["Dear ", "Priya, ", "…"]
    agent.draft_reply(MAIL)
    assert fake.calls[0] == fake.calls[1]


def test_a_streamed_draft_begins_anew():
    """A provider that breaks off leaves nothing behind in the next one's draft."""
    broken = FakeProvider(["Dear ", QuotaError()])
    llm = LLMFactory(broken, [FakeProvider("Hello", name="second")], config={})
    with AgentService(llm).draft(MAIL) as stream:
        assert [*stream] == ["Dear ", "", "Hello"]
        assert stream.text == "Hello"


def test_a_failed_draft_is_a_failed_response():
    """A draft that failed says so, and holds no text."""
    response = service(QuotaError())[0].draft_reply(MAIL)
    assert (response.success, response.content) == (False, "")


def test_who_answered_is_logged(caplog):
    """The log tells which provider was used."""
    caplog.set_level(logging.INFO, "example_app")
    service("payment")[0].classify(MAIL)
    assert "Using fake for generation" in caplog.messages


def test_a_failure_is_logged(caplog):
    """The log tells why there was no answer, as an error."""
    service(AuthError())[0].classify(MAIL)
    text = "LLM generation failed: All LLM providers failed: [fake: API key rejected]"
    assert ("example_app.services.agent_service", logging.ERROR, text) in (
        caplog.record_tuples
    )


def test_by_default_the_current_app_is_asked():
    """Without a factory the service uses the current app's."""
    app = Flask(__name__)
    fake = FakeProvider("problem")
    app.config |= {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    with app.app_context():
        assert AgentService().classify(MAIL).label == "problem"
