import logging

import pytest

from flask_llm import signals
from flask_llm.errors import QuotaError, TransientError
from flask_llm.factory import LLMFactory
from flask_llm.testing import FakeProvider
from flask_llm.types import Attempt, Request


@pytest.fixture
def heard():
    """Everything sent, as (sender, event)."""
    events = []

    def hear(sender, event):
        events.append((sender, event))

    all_signals = [
        signals.attempt_made,
        signals.retry_scheduled,
        signals.provider_switched,
        signals.generation_finished,
    ]
    for each in all_signals:
        each.connect(hear)
    yield events
    for each in all_signals:
        each.disconnect(hear)


def test_a_call_tells_its_story_in_order(heard, clock):
    """One record for each thing that happens, sent by the factory without an app."""
    first = FakeProvider(TransientError(), QuotaError(), name="first")
    factory = LLMFactory(first, [FakeProvider("hi", name="second")], clock=clock)

    response = factory.generate_content("hello")

    request = Request("hello")
    assert [event for _, event in heard] == [
        signals.AttemptMade(
            request, Attempt("first", "transient", 0.0, "temporary failure")
        ),
        signals.RetryScheduled(
            "first", "transient", "temporary failure", 1, 5.0, request
        ),
        signals.AttemptMade(
            request, Attempt("first", "quota", 0.0, "quota exceeded", started_s=5.0)
        ),
        signals.ProviderSwitched("first", "second", "quota", "quota exceeded", request),
        signals.AttemptMade(request, Attempt("second", "success", started_s=5.0)),
        signals.GenerationFinished(request, response),
    ]
    assert {sender for sender, _ in heard} == {factory}


def test_the_app_is_the_sender(heard, app):
    """A receiver can be bound to one app of several."""
    app.llm.generate_content("hello")

    assert {sender for sender, _ in heard} == {app}


def test_a_failing_receiver_is_logged_and_disturbs_nobody(heard, app, caplog):
    """No metric may break a prompt, nor keep the next receiver from hearing."""

    def broken(sender, event):
        raise RuntimeError("no disk")

    with signals.generation_finished.connected_to(broken):
        response = app.llm.generate_content("hello")

    assert response.success
    assert any(isinstance(e, signals.GenerationFinished) for _, e in heard)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "A receiver of the signal generation-finished failed"


def test_records_are_frozen():
    """Receivers share one record."""
    with pytest.raises(AttributeError):
        signals.RetryScheduled("x", "quota", "why", 1, 5.0, Request("?")).wait_s = 0
