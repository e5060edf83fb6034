"""A page of the usage log is the page that memory makes of the same calls."""

import os
import random
import time
from importlib.util import find_spec

import pytest
from flask import Flask
from made_calls import attempt, finished
from standings import chain, standing

from flask_llm import FlaskLLM
from flask_llm.observe.memory import Memory
from flask_llm.signals import (
    CircuitChanged,
    circuit_changed,
    emit,
    generation_finished,
)
from flask_llm.testing import FakeProvider
from flask_llm.web.report import in_full, report

pytestmark = pytest.mark.skipif(
    not find_spec("sqlalchemy") and "FLASK_LLM_CI" not in os.environ,
    reason="needs SQLAlchemy",
)

STATUS = chain(standing("gemini"), standing("claude"))
KINDS = ["success"] * 6 + ["quota", "transient", "bad_answer", "closed"]


@pytest.fixture
def app(tmp_path):
    app = Flask("testapp")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": FakeProvider("hi"),
        "LLM_FALLBACK_PROVIDERS": [],
        "LLM_USAGE_URL": f"sqlite:///{tmp_path}/usage.sqlite3",
    }
    FlaskLLM(app)
    yield app
    app.extensions["llm.usage"].flush()


def calls(number, now):
    """Yield calls of the last half hour, of every kind."""
    chance = random.Random(3)
    for _ in range(number):
        first = attempt("gemini", chance.choice(KINDS), latency_s=0.25, status=429)
        attempts = [first]
        if first.outcome not in {"success", "closed"}:
            more = {"skipped": True} if chance.random() < 0.3 else {}
            attempts = [attempt("gemini", "cooldown", **more)] if more else attempts
            attempts.append(attempt("claude", chance.choice(KINDS), started_s=0.5))
        attempts[-1] = attempt(
            attempts[-1].provider,
            attempts[-1].outcome,
            tokens=(chance.randrange(99), chance.randrange(99)),
            **chance.choice([{"cost_usd": 0.25}, {"cost_note": "no price"}]),
        )
        known = {"first_token_s": 0.5} if chance.random() < 0.5 else {}
        yield finished(
            now - chance.uniform(1, 1800),
            *attempts,
            latency=chance.lognormvariate(0, 1),
            purpose=chance.choice(["sort", "draft", ""]),
            **known,
        )


@pytest.mark.parametrize("name", ["15m", "1h"])
def test_both_sources_make_the_same_page(app, name):
    """Counts, tokens, cost, percentiles, rests, failures and the latest calls."""
    now = time.time()
    memory = Memory()
    for event in calls(300, now):
        emit(generation_finished, app, event)
        memory.finished(event)
    for change in (
        CircuitChanged("gemini", now - 300, now - 200, "quota", "quota exceeded", 429),
        CircuitChanged("gemini", now - 240),
    ):
        emit(circuit_changed, app, change)
        memory.changed(change)
    assert app.extensions["llm.usage"].flush()

    log = app.extensions["llm.source"]
    ours, theirs = (
        report(each, STATUS, name, now, is_shared=True) for each in (memory, log)
    )

    assert ours["source"].pop("kind") == "memory"
    assert theirs["source"].pop("kind") == "usage"
    del ours["source"], theirs["source"]
    assert theirs == ours
    number = ours["recent"][0]["call_id"]
    assert in_full(log.find(number)) == in_full(memory.find(number))
