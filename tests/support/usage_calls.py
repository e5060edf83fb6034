"""Calls for the tests of the usage log, and processes that make some."""

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager

from flask_llm.observe.aggregates import ATTEMPTS, CALLS, Tally
from flask_llm.observe.records import CallRecord
from flask_llm.observe.usage.database import Database
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.types import Attempt, LLMResponse

USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
ANSWER = "an answer"

HEAD = f"""if True:
    import logging, os, sys, time
    from flask import Flask
    from flask_llm import FlaskLLM
    from flask_llm.testing import FakeProvider
    logging.basicConfig(format="%(levelname)s %(message)s")
    app = Flask("logged", instance_path=sys.argv[2])
    app.config |= {{
        "LLM_PRIMARY_PROVIDER": FakeProvider(lambda _: {ANSWER!r}),
        "LLM_FALLBACK_PROVIDERS": [],
        "LLM_USAGE": "on", "LLM_USAGE_URL": sys.argv[1], "LLM_DASHBOARD": "off",
    }}
    FlaskLLM(app)
    log = app.extensions["llm.usage"]
    def ask(times, purpose="p"):
        for _ in range(times):
            assert app.llm.generate_content("hello", purpose=purpose).success
"""


def python(code, url, folder, **options):
    """Start a process with an app; its first argument is the log's address."""
    return subprocess.Popen(
        [sys.executable, "-c", code, url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def answer(content=ANSWER, **metadata):
    """Return a provider's answer that has tokens."""
    return LLMResponse(True, content, "fake", metadata={"usage": USAGE, **metadata})


def call(number, at, *attempts, purpose="p", **fields):
    """Return a call of some attempts, by default of one that got an answer."""
    attempts = attempts or (attempt("one"),)
    last = attempts[-1]
    values = {
        "call_id": f"{number:024x}",
        "started_at": at - sum(each.latency_s for each in attempts),
        "finished_at": at,
        "purpose": purpose,
        "request_id": None,
        "provider": last.provider,
        "model": last.model,
        "outcome": last.outcome,
        "error": last.error,
        "fallback": last.outcome == "success" and len(attempts) > 1,
        "streamed": False,
        "latency_s": sum(each.latency_s for each in attempts),
        "first_token_s": None,
        "input_tokens": sum(
            (each.usage or {}).get("input_tokens", 0) for each in attempts
        ),
        "output_tokens": sum(
            (each.usage or {}).get("output_tokens", 0) for each in attempts
        ),
        "cost_usd": sum(each.cost_usd or 0.0 for each in attempts),
        "unpriced": any(each.cost_note for each in attempts),
        "attempts": attempts,
    }
    return CallRecord(**values | fields)


def attempt(provider, outcome="success", latency=0.5, cost=0.25, **fields):
    """Return an attempt; one that got an answer has tokens and a cost."""
    if outcome == "success":
        fields = {"usage": USAGE, "cost_usd": cost, "model": f"{provider}-m"} | fields
    else:
        fields = {"error": f"it was {outcome}"} | fields
    return Attempt(provider, outcome, latency, **fields)


def database_at(url, *, writes=True):
    """Return a connection to a log."""
    return Database(database_url_of(url, ""), writes=writes, patience_s=20)


def query(url, statement):
    """Return the rows of a statement."""
    from sqlalchemy import text

    return database_at(url).run(lambda one: one.execute(text(statement)).fetchall())


def purposes(url):
    """Return how many calls of each purpose are in a log."""
    return dict(query(url, "SELECT purpose, count(*) FROM flask_llm_calls GROUP BY 1"))


def disagreements(url, source):
    """Return the sums of a log that are not those of its calls, in either direction."""
    records = source.recent(1_000_000)
    tally = Tally()
    for each in records:
        tally.add(each)
    found = Counter()
    for table in (CALLS, ATTEMPTS):
        columns = ", ".join(("step", "at", *table.dimensions, *table.measures))
        name = f"flask_llm_{table.name.rstrip('s')}_sums"
        stored = {}
        for step, at, *rest in query(url, f"SELECT {columns} FROM {name}"):
            values, measured = (
                rest[: len(table.dimensions)],
                rest[len(table.dimensions) :],
            )
            stored[step, at, tuple(values)] = dict(
                zip(table.measures, measured, strict=True)
            )
        if stored.keys() != tally.rows(table).keys():
            found["rows"] += 1
        for key, sums in tally.rows(table).items():
            for measure in table.measures:
                if (
                    abs(stored.get(key, {}).get(measure, -1) - sums.get(measure, 0))
                    > 1e-6
                ):
                    found[measure] += 1
    return found


def ask(app, times):
    """Make calls; return the seconds that all of them took."""
    begin = time.monotonic()
    for _ in range(times):
        assert app.llm.generate_content("hello", purpose="p").success
    return time.monotonic() - begin


@contextmanager
def locked(file):
    """Hold the lock of an SQLite file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def soon(what, seconds=20.0):
    """Wait until something is true; return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.02)
    return found
