import logging
import queue
import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from blinker import NamedSignal

from flask_llm import signals
from flask_llm.errors import QuotaError, TransientError
from flask_llm.factory import LLMFactory
from flask_llm.testing import FakeProvider
from flask_llm.types import Attempt, Request

PAGE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()


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
        signals.AttemptMade(
            request,
            Attempt(
                "second", "success", started_s=5.0, cost_note="no tokens were counted"
            ),
        ),
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


def test_the_page_names_every_signal_and_every_field():
    """It is the contract: who adds or takes something away tells it there."""
    things = vars(signals).items()
    sent = {name for name, each in things if isinstance(each, NamedSignal)}
    records = {
        name: [*each._fields]
        for name, each in things
        if hasattr(each, "_fields") and each.__module__ == signals.__name__
    }
    told = re.findall(r"(?m)^\| `([a-z_]+)` \| `(\w+)` \| ", PAGE)
    shown = re.findall(r"(?m)^\| `([A-Z]\w+)` \| (.+) \|$", PAGE)

    assert {name for name, _ in told} == sent
    assert {record for _, record in told} == records.keys()
    assert {name: re.findall(r"`(\w+)`", row) for name, row in shown} == records


def test_the_code_of_the_page_runs(app):
    """The counter counts, and the queue gets each attempt."""
    saved, done = [], threading.Event()

    def save(*attempt):
        saved.append(attempt)
        done.set()

    first, second = re.findall(r"(?ms)^```python\n(.+?)^```", PAGE)
    scope = {"app": app, "counts": Counter(), "save": save}
    exec(first, scope)
    exec(second, scope)
    response = app.llm.generate_content("hello", purpose="greet")

    assert scope["counts"] == {("greet", "answered"): 1}
    assert done.wait(60)
    assert saved == [(response.metadata["call_id"], response.attempts[0])]
    assert isinstance(scope["waiting"], queue.SimpleQueue)
