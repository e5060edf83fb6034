"""Reports of calls made by hand, with what tests look at in them."""

import json

import pytest
from made_calls import attempt, finished
from standings import chain, standing

from flask_llm.observe.memory import Memory
from flask_llm.web.report import report

WELL = chain(standing("gemini"), standing("claude"))


@pytest.fixture
def memory(clock):
    return Memory(clock)


@pytest.fixture
def now(clock):
    return clock.time()


def made(memory, now, name="1h", status=WELL, *, is_shared=True):
    """Return the report of a source, which is fit for JSON."""
    found = report(memory, status, name, now, is_shared=is_shared)
    json.dumps(found, allow_nan=False)
    return found


def picked(row, *names):
    """Return some values of a dict."""
    return tuple(row[each] for each in names)


def card(found, name):
    """Return the card of a provider."""
    return next(each for each in found["chain"] if each["name"] == name)


def drawn(found, chart):
    """The points of a chart at which something is, by line: {epoch: value}."""
    moments = found["charts"]["at"]
    return {
        name: {at: value for at, value in zip(moments, line, strict=True) if value}
        for name, line in found["charts"][chart].items()
    }


@pytest.fixture
def some(memory, now):
    """Six calls: two well, one by the fallback, one failed, one left, one re-asked."""
    quota = attempt(
        "gemini", "quota", status=429, latency_s=0.1, error="quota exceeded"
    )
    again = attempt(
        "claude", "bad_answer", tokens=(7, 3), cost_usd=0.5, error="no JSON"
    )
    skipped = attempt("gemini", "cooldown", skipped=True)
    for event in (
        finished(
            now - 30, attempt("gemini", tokens=(10, 2), cost_usd=1.0, latency_s=1)
        ),
        finished(now - 20, attempt("gemini", tokens=(1, 1), cost_note="no price")),
        finished(now - 200, quota, attempt("claude", tokens=(5, 5), cost_usd=0.25)),
        finished(now - 100, skipped, attempt("claude", "transient"), purpose="draft"),
        finished(now - 90, attempt("gemini", "closed"), first_token_s=0.2),
        finished(now - 80, skipped, again, attempt("claude", tokens=(9, 1))),
    ):
        memory.finished(event)
    return memory
