"""What the usage log keeps, and what is read out of it."""

import random
import time

import pytest
from usage_calls import (
    answer,
    attempt,
    call,
    database_at,
    disagreements,
    purposes,
    query,
)

from flask_llm.errors import QuotaError, TransientError
from flask_llm.observe.aggregates import ATTEMPTS, CALLS, RANGES, Failure, Span
from flask_llm.observe.records import CallRecord
from flask_llm.observe.usage import metadata
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import change_row
from flask_llm.observe.usage.writer import Writer, write
from flask_llm.signals import CircuitChanged, generation_finished
from flask_llm.testing import FakeProvider, StubServer, reply

NOW = 1_800_000_000.0
CANARY = "sk-canary-0123456789abcdef"


def put(url, *records, changes=()):
    rows = [change_row(f"{place}", each) for place, each in enumerate(changes)]
    database_at(url).run(lambda one: write(one, records, rows))


def span(name="1h", now=NOW):
    each = RANGES[name]
    return Span((now - each.seconds) // each.width * each.width, now, each)


def test_a_call_comes_back_as_it_was_heard(app_of, url, source):
    """Every field of the record and of its attempts, for an answer by fallback."""
    first = FakeProvider(QuotaError(status=429, retry_after=3.0), name="first")
    app = app_of(url, first, FakeProvider(answer(), name="second"))
    heard = []

    def hear(sender, event):
        heard.append(CallRecord.of(event))

    with generation_finished.connected_to(hear, app):
        response = app.llm.generate_content("hello", purpose="greet")
    assert app.extensions["llm.usage"].flush()

    found = source.find(response.metadata["call_id"])
    assert [found] == heard
    assert (found.purpose, found.fallback, found.input_tokens) == ("greet", True, 7)
    assert [each.outcome for each in found.attempts] == ["quota", "success"]
    assert found.attempts[0].retry_after_s == 3.0
    assert source.find("nobody") is None


def test_a_stream_and_a_failure_come_back_too(app_of, url, source):
    """The time of the first text, and the reason why there was no answer."""
    app = app_of(url, FakeProvider("one two", TransientError()), LLM_MAX_RETRIES=1)
    with app.llm.stream_content("hello") as stream:
        assert "".join(stream) == "one two"
    app.llm.generate_content("hello")
    assert app.extensions["llm.usage"].flush()

    last, first = source.recent(5)
    assert first.streamed
    assert first.first_token_s > 0
    assert (last.outcome, last.error) == ("transient", "fake: temporary failure")


def test_a_call_that_asked_nobody_comes_back(app_of, url, source):
    """It is that of no provider, in its row as in the sums, and nobody has failed."""
    app = app_of(url, FakeProvider(name="first", available=False))
    app.llm.generate_content("hello")
    app.llm.generate_content(" ")
    assert app.extensions["llm.usage"].flush()

    for found in source.recent(5):
        assert (found.provider, found.model, found.fallback) == ("", None, False)
    sums = source.sums(CALLS, ("provider", "model"), span(now=time.time()))
    assert [(row["provider"], row["model"], row["calls"]) for row in sums] == [
        ("", "", 2)
    ]
    assert source.failures() == {}
    assert not disagreements(url, source)


def test_the_app_has_the_source_of_its_pages(app_of, url):
    """What was written can be read through `app.extensions["llm.source"]`."""
    app = app_of(url)
    source = app.extensions["llm.source"]
    assert source.about().since is None
    assert source.recent(5) == source.changes(0) == []
    assert source.sums(CALLS, (), span()) == []
    assert source.failures() == {}

    app.llm.generate_content("hello")
    app.extensions["llm.usage"].flush()

    about = source.about()
    assert (about.kind, about.error, about.lost) == ("usage", None, 0)
    assert about.since == source.recent(1)[0].finished_at


def test_sums_are_those_of_the_calls(url, source):
    """In three batches, over all steps, dimensions and measures."""
    chance = random.Random(3)
    records = [
        call(
            number,
            NOW - chance.random() * 4000,
            attempt("one", chance.choice(["quota", "transient"]), chance.random()),
            attempt("two", latency=chance.expovariate(1), cost=chance.random()),
            attempt("three", "cooldown", skipped=True),
            purpose=chance.choice("pq"),
            streamed=number % 2 == 0,
            first_token_s=chance.random(),
        )
        for number in range(300)
    ]
    for begin in range(0, 300, 100):
        put(url, *records[begin : begin + 100])

    assert not disagreements(url, source)
    (total,) = source.sums(ATTEMPTS, (), span("24h"))
    assert (total["attempts"], total["input_tokens"]) == (600, 2100)
    assert total["cost_usd"] == pytest.approx(sum(each.cost_usd for each in records))
    assert all(type(value) in {int, float} for value in total.values())


def test_sums_are_told_apart_as_asked(url, source):
    """By dimensions and by points of a chart, in the order that was asked for."""
    put(
        url,
        call(1, NOW - 10, attempt("b")),
        call(2, NOW - 100, attempt("a", "auth", cost=None)),
        call(3, NOW - 110, attempt("a")),
        call(4, NOW - 4000, attempt("a")),
    )

    rows = source.sums(CALLS, ("provider", "outcome"), span())
    assert [(row["provider"], row["outcome"], row["calls"]) for row in rows] == [
        ("a", "auth", 1),
        ("a", "success", 1),
        ("b", "success", 1),
    ]
    points = source.sums(ATTEMPTS, ("at", "provider"), span())
    assert [(row["at"], row["provider"], row["attempts"]) for row in points] == [
        (NOW - 120, "a", 2),
        (NOW - 60, "b", 1),
    ]
    assert set(rows[0]) == {"provider", "outcome", *CALLS.measures}
    assert source.sums(CALLS, (), span())[0]["calls"] == 3


def test_what_is_written_twice_counts_once(url, source):
    """Also where only some of it was there: a commit whose answer was lost."""
    records = [call(number, NOW) for number in range(5)]
    change = CircuitChanged("one", NOW)
    put(url, *records[:3], changes=[change])
    put(url, *records, changes=[change])

    assert purposes(url) == {"p": 5}
    assert not disagreements(url, source)
    assert source.sums(CALLS, (), span())[0]["calls"] == 5
    assert source.changes(0) == [change]


def test_the_latest_calls_and_those_before(url, source):
    """The last one first; a page goes on with those that were over before."""
    put(url, *(call(number, NOW + number) for number in (3, 1, 2)))

    assert [each.finished_at - NOW for each in source.recent(2)] == [3, 2]
    assert [each.finished_at - NOW for each in source.recent(9, before=NOW + 3)] == [
        2,
        1,
    ]


def test_the_latest_failure_of_each_provider(url, source):
    """Neither successes, nor who was skipped, nor a caller who went away."""
    failed = attempt("one", "quota", 2.0, status=429)
    put(
        url,
        call(1, NOW, attempt("one", "auth")),
        call(2, NOW + 10, failed, attempt("two", started_s=2.0)),
        call(3, NOW + 20, attempt("one"), attempt("three", "cooldown", skipped=True)),
        call(4, NOW + 30, attempt("four", "closed")),
        call(5, NOW + 40, attempt("two", "transient")),
    )

    found = source.failures()
    assert list(found) == ["one", "two"]
    assert found["one"] == Failure(NOW + 10 - 2.5 + 2.0, failed)
    assert found["two"].attempt.outcome == "transient"


def test_changes_of_circuits_are_kept(app_of, url, source):
    """From the signal to the page, in the order of their times."""
    app = app_of(
        url, FakeProvider(*[TransientError()] * 2), LLM_BREAKER_FAILURES=1,
        LLM_MAX_RETRIES=1,
    )  # fmt: skip
    begin = time.time()
    app.llm.generate_content("hello")
    app.extensions["llm.usage"].flush()

    (opened,) = source.changes(begin - 1)
    assert (opened.provider, opened.kind) == ("fake", "transient")
    assert opened.until > opened.at >= begin - 1
    assert source.changes(time.time() + 60) == []


def test_texts_that_a_database_does_not_take(url, source):
    """Zero bytes, half characters and long texts are stored as far as they can be."""
    odd = attempt("one", "auth", model="m\0\ud800" + "x" * 500, error="e" * 5000)
    put(url, call(1, NOW, odd, purpose="ä\0\ud83d", error="\0" + "s" * 9000))

    found = source.find(f"{1:024x}")
    assert found.purpose == "ä?"
    assert found.attempts[0].model == "m?" + "x" * 198
    assert (len(found.error), len(found.attempts[0].error)) == (2000, 500)
    assert source.sums(CALLS, ("purpose",), span())[0]["purpose"] == "ä?"


def test_a_row_that_is_refused_does_not_hold_up_the_others(url, lines):
    """It is lost and counted; all others are written."""
    writer = Writer(database_url_of(url, ""), None)
    for number in range(5):
        writer.put(call(number, NOW, input_tokens=1 << 70 if number == 2 else 1))
    assert writer.flush(20)
    writer.end(1)

    assert purposes(url) == {"p": 4}
    assert writer.outage.lost == 1
    assert len(lines("WARNING.*a call is lost, since its row is refused")) == 1


def test_no_key_is_in_any_row(app_of, url):
    """A server repeats the key in its error, which the call's error tells in part."""
    body = {"error": {"type": "authentication_error", "message": f"bad {CANARY}"}}
    with StubServer(reply(body, 401)) as server:
        config = {"LLM_CLAUDE_BASE_URL": server.url, "ANTHROPIC_API_KEY": CANARY}
        app = app_of(url, "claude", **config)
        failed = app.llm.generate_content(f"my key is {CANARY}", purpose="p")
    app.extensions["llm.usage"].flush()

    assert failed.metadata["error_kind"] == "auth"
    for table in metadata.tables:
        rows = query(url, f"SELECT * FROM {table}")
        assert rows
        assert CANARY not in str(rows)
