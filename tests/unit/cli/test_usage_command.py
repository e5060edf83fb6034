"""`flask llm usage`: figures that were worked out by hand, and those of the page."""

import csv
import io
import json
import re
import time
from datetime import UTC, datetime

import pytest
from commands import invoke
from usage_calls import attempt, call, database_at

from flask_llm.observe.aggregates import BOUNDS_S
from flask_llm.observe.usage.writer import write
from flask_llm.web.report import report

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400
MANY = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
ALL = ("--since", "2026-11-01", "--until", "2026-12-01")

CALLS = [
    # answered by the first
    call(1, NOON, attempt("one", latency=1.0, cost=0.5), purpose="sort"),
    call(2, NOON + 1, attempt("one", latency=2.0, cost=0.5), purpose="sort"),
    # answered by the second, after an answer of the first that was no good and cost
    call(
        3,
        NOON + 2,
        attempt("one", "bad_answer", 3.0, usage=MANY, cost_usd=0.125, model="one-m"),
        attempt("two", latency=4.0, cost=0.25),
        purpose="draft",
    ),
    # the day after: answered by the second for a price that is not known
    call(
        4,
        NOON + DAY_S,
        attempt("one", "cooldown", 0.0, skipped=True),
        attempt("two", latency=1.0, cost=None, cost_note="not known"),
        purpose="draft",
    ),
    # answered by nobody, after a long time
    call(5, NOON + DAY_S, attempt("one", "auth", 9.0), purpose="draft"),
]  # fmt: skip


@pytest.fixture
def usage_of(url):
    """Return what runs the command on a log with some calls."""

    def wrote(*calls):
        database_at(url).run(lambda one: write(one, calls, []))
        settings = {"LLM_USAGE_URL": url, "LLM_DASHBOARD": "off"}
        return lambda *args: invoke(settings, "usage", *args)

    return wrote


@pytest.fixture
def usage(usage_of):
    """Return what runs the command on a log with the calls above."""
    return usage_of(*CALLS)


def about(seconds):
    """Return what equals a time that is told by its class only."""
    return pytest.approx(seconds, rel=BOUNDS_S[1] / BOUNDS_S[0] - 1)


def figures(result, *names):
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return [
        tuple(row[name] for name in ("name", *names))
        for row in (*found["rows"], found["total"])
    ]


def test_all_in_one_line(usage):
    """Every figure of the total."""
    found = json.loads(usage(*ALL, "--json").stdout)

    assert found["since"] == "2026-11-01T00:00:00+00:00"
    assert found["rows"] == []
    assert found["total"] == {
        "name": "total",
        "calls": 5,
        "closed": 0,
        "attempts": 6,
        "answered": 4,
        "answered_share": 4 / 5,
        "by_fallback": 2,
        "by_fallback_share": 2 / 4,
        "input_tokens": 7 * 4 + 100,
        "output_tokens": 3 * 4 + 50,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.5 + 0.5 + 0.125 + 0.25,
        "unpriced": 1,
        "p95_s": about(7.0),
    }


def test_what_a_cache_had_has_a_column_of_its_own(usage_of):
    """Only where there is something in it."""
    counts = {"input_tokens": 50, "output_tokens": 9, "total_tokens": 59}
    usage = usage_of(
        call(1, NOON, attempt("one", usage=counts | {"cached_tokens": 40})),
        call(2, NOON, attempt("two")),
    )
    lines = usage(*ALL, "--by", "provider").stdout.splitlines()
    assert re.search(r"tokens in +cached +tokens out", lines[2])
    figures_of = [re.split(r" {2,}", line) for line in lines[3:5]]
    assert [each[5:8] for each in figures_of] == [["50", "40", "9"], ["7", "0", "3"]]
    assert figures(usage(*ALL, "--json"), "cached_tokens") == [("total", 40)]


def test_a_failed_attempt_costs_its_own_provider(usage):
    """Calls that ended with it, and its own answers, tokens, cost and times."""
    names = ("calls", "attempts", "answered", "by_fallback", "input_tokens")
    total = ("total", 5, 6, 4, 2, 128)
    rows = figures(usage(*ALL, "--by", "provider", "--json"), *names)
    assert rows == [("one", 3, 4, 2, 0, 114), ("two", 2, 2, 2, 2, 14), total]
    more = ("cost_usd", "unpriced", "p95_s")
    assert figures(usage(*ALL, "--by", "provider", "--json"), *more)[:2] == [
        ("one", 1.125, 0, about(2.0)),
        ("two", 0.25, 1, about(4.0)),
    ]
    assert figures(usage(*ALL, "--by", "model", "--json"), "calls", "cost_usd") == [
        ("one-m", 2, 1.125),
        ("two-m", 2, 0.25),
        ("", 1, None),
        ("total", 5, 1.375),
    ]


def test_by_purpose_and_by_day(usage):
    """Whole calls; a day is one of UTC."""
    names = ("calls", "answered", "cost_usd", "p95_s")
    assert figures(usage(*ALL, "--by", "purpose", "--json"), *names) == [
        ("draft", 3, 2, 0.375, about(7.0)),
        ("sort", 2, 2, 1.0, about(2.0)),
        ("total", 5, 4, 1.375, about(7.0)),
    ]
    assert figures(usage(*ALL, "--by", "day", "--json"), *names) == [
        ("2026-11-10", 3, 3, 1.375, about(7.0)),
        ("2026-11-11", 2, 1, None, about(1.0)),
        ("total", 5, 4, 1.375, about(7.0)),
    ]


def test_only_a_part_of_the_time(usage):
    """In whole hours: from the first one on, and until just before the end."""
    begin, end = "2026-11-10T12:20", "2026-11-11T12:00+00:00"
    result = usage("--since", begin, "--until", end, "--json")
    assert figures(result, "calls") == [("total", 3)]
    assert json.loads(result.stdout)["since"] == "2026-11-10T12:00:00+00:00"
    assert figures(usage("--since", "all", "--json"), "calls") == [("total", 5)]
    assert figures(usage("--since", "1h", "--json"), "calls", "p95_s") == [
        ("total", 0, None)
    ]


def test_what_was_a_short_time_ago_is_told_finely(usage_of):
    """A quarter of a minute of the last two hours, five minutes of two days."""
    now = time.time()
    times = [now - 200, now - 100, now - 30 * 3600 - 900, now - 30 * 3600]
    usage = usage_of(*(call(number, at) for number, at in enumerate(times)))

    assert figures(usage("--since", "2m", "--json"), "calls") == [("total", 1)]
    hours = ("--since", "1805m", "--until", "1h", "--json")
    assert figures(usage(*hours), "calls") == [("total", 1)]
    assert figures(usage("--since", "7d", "--json"), "calls") == [("total", 4)]


def test_the_page_shows_the_same_figures(usage_of, source):
    """Both are made of the same sums."""
    now = time.time()
    usage = usage_of(
        *(call(each, now - each, *CALLS[each].attempts) for each in range(5))
    )
    status = {"primary": {"name": "one", "model": None, "state": "closed"}}
    status["primary"] |= dict.fromkeys(("reason", "until", "kind", "advice"))
    page = report(source, status | {"fallbacks": []}, "1h", now, is_shared=False)
    total = json.loads(usage("--since", "1h", "--json").stdout)["total"]

    assert total["calls"] == 5
    same = ("calls", "cost_usd", "unpriced", "input_tokens", "output_tokens", "p95_s")
    assert [page["tiles"][name] for name in same] == [total[name] for name in same]
    assert page["tiles"]["answered"] == total["answered_share"]
    assert page["tiles"]["by_fallback"] == total["by_fallback_share"]


def test_the_table_for_people(usage):
    """Columns below each other, and a sign where some cost is not known."""
    result = usage(*ALL, "--by", "provider")

    lines = result.stdout.splitlines()
    assert lines[0] == "2026-11-01 00:00 to 2026-12-01 00:00 UTC"
    assert lines[2].split("  ")[0] == "provider"
    assert {len(line) for line in lines[2:7]} == {len(lines[2])}
    assert [" ".join(line.split()) for line in lines[3:7]] == [
        "one 3 4 50.0 % 0.0 % 114 56 1.1250 2.07 s",
        "two 2 2 100.0 % 100.0 % 14 6 0.2500+ 4.06 s",
        "-" * len(lines[2]),
        "total 5 6 80.0 % 50.0 % 128 62 1.3750+ 7.73 s",
    ]
    assert lines[7].startswith("+ some tokens have a cost that is not known")


def test_purposes_have_no_attempts(usage):
    """The sums of attempts do not know them."""
    rows = figures(usage(*ALL, "--by", "purpose", "--json"), "attempts")
    assert rows == [("draft", None), ("sort", None), ("total", 6)]
    line = usage(*ALL, "--by", "purpose").stdout.splitlines()[3]
    assert line.split()[:3] == ["draft", "3", "-"]


def test_csv_for_a_spreadsheet(usage):
    """A line of names, and one for each row."""
    rows = list(csv.DictReader(io.StringIO(usage(*ALL, "--by", "day", "--csv").stdout)))

    names = ("name", "calls", "by_fallback", "by_fallback_share", "cost_usd")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("2026-11-10", "3", "1", str(1 / 3), "1.375"),
        ("2026-11-11", "2", "1", "1.0", ""),
    ]


def test_a_cost_of_which_nothing_is_known(usage):
    """It is never shown as nothing, and a line says what stands there instead."""
    one_day = ("--since", "2026-11-11", "--until", "2026-11-12")
    assert figures(usage(*one_day, "--json"), "cost_usd", "unpriced") == [
        ("total", None, 1)
    ]
    lines = usage(*one_day, "--by", "purpose").stdout.splitlines()
    assert " ".join(lines[-2].split()) == "total 2 2 50.0 % 100.0 % 7 3 - 1.07 s"
    assert lines[-1] == (
        "- as a cost: no tokens were counted, or no price of them is known."
    )


def test_a_cost_of_no_tokens(usage_of):
    """It is nothing where the price is nothing, and not known where nobody counted."""
    free = attempt("here", cost=0.0)
    usage = usage_of(call(1, NOON, free), call(2, NOON, attempt("away", "transient")))

    assert figures(usage(*ALL, "--by", "provider", "--json"), "cost_usd") == [
        ("away", None),
        ("here", 0.0),
        ("total", 0.0),
    ]


def test_a_call_that_its_caller_left(usage_of):
    """It is neither answered nor failed, and how long it took says nothing."""
    left = call(2, NOON, attempt("one", "closed", 9.0))
    usage = usage_of(call(1, NOON, attempt("one", latency=1.0)), left)

    names = ("calls", "closed", "answered", "answered_share", "p95_s")
    for by in ("provider", "purpose", "day"):
        (_, *told), (_, *total) = figures(usage(*ALL, "--by", by, "--json"), *names)
        assert told == total == [2, 1, 1, 1.0, about(1.0)]
    assert "100.0 %" in usage(*ALL).stdout


def test_without_an_answer_there_are_no_shares_of_answers(usage_of):
    """Nor times: a bar stands for what is not there."""
    usage = usage_of(call(1, NOON, attempt("one", "quota")))

    names = ("answered_share", "by_fallback_share", "p95_s")
    assert figures(usage(*ALL, "--json"), *names) == [("total", 0.0, None, None)]
    line = usage(*ALL).stdout.splitlines()[3]
    assert " ".join(line.split()) == "total 1 1 0.0 % - 0 0 - -"


def test_calls_in_which_nobody_was_asked(usage_of):
    """They have a row of their own where it is told who was asked; it is the last."""
    resting = attempt("one", "cooldown", 0.0, skipped=True)
    unasked = [
        call(number, NOON, resting, provider="", model=None) for number in (1, 2)
    ]
    usage = usage_of(call(3, NOON, attempt("one")), *unasked)

    names = ("calls", "attempts", "answered_share")
    rest = [("(nobody asked)", 2, 0, 0.0), ("total", 3, 1, 1 / 3)]
    for by, name in (("provider", "one"), ("model", "one-m")):
        rows = figures(usage(*ALL, "--by", by, "--json"), *names)
        assert rows == [(name, 1, 1, 1.0), *rest]
    assert "\n(nobody asked)  " in usage(*ALL, "--by", "provider").stdout


def test_a_log_that_was_never_written(tmp_path):
    """There is no call in it, which is no error; where it would be is said apart."""
    settings = {"LLM_USAGE_URL": f"sqlite:///{tmp_path}/log.db", "LLM_DASHBOARD": "off"}
    result = invoke(settings, "usage", "--json")

    assert result.exit_code == 0
    assert result.stderr == f"Nothing was written yet to {tmp_path}/log.db\n"
    assert json.loads(result.stdout)["total"]["calls"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_database_url_of_a_log_is_told_without_a_password(
    postgres_url, postgres_server
):
    """Of a server too that was never written to."""
    settings = {"LLM_USAGE_URL": f"{postgres_url}?sslmode=disable"}
    told = invoke(settings, "usage").stderr

    assert told.startswith("Nothing was written yet to postgresql")
    assert f"@127.0.0.1:{postgres_server.port}/" in told
    assert postgres_server.password not in told


@pytest.mark.parametrize(
    ("settings", "args", "told"),
    [
        ({}, (), "The usage log is off: set LLM_USAGE=on"),
        ({"LLM_USAGE": "on"}, ("--since", "yesterday"), "neither an age"),
        ({"LLM_USAGE": "on"}, ("--json", "--csv"), "exclude each other"),
        (
            {"LLM_USAGE": "on"},
            ("--by", "provider", "--by", "model"),
            "'--by': it may be given once only.",
        ),
        (
            {"LLM_USAGE": "on"},
            ("--since", "2026-02-01", "--until", "2026-01-01"),
            "--since must be before --until",
        ),
        (
            {"LLM_USAGE_URL": "postgresql://u:secret-0123@127.0.0.1:1/db"},
            (),
            "The usage log cannot be read: OperationalError: connection",
        ),
    ],
)
def test_errors_are_said_in_words(settings, args, told):
    """Without a traceback, and without a password."""
    result = invoke({"LLM_DASHBOARD": "off", **settings}, "usage", *args)

    assert result.exit_code != 0
    assert told in result.output
    assert "secret-0123" not in result.output
