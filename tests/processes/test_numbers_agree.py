"""A thousand calls by three workers: whoever is asked tells the same numbers."""

import json
import math
import random
import time
from bisect import bisect_left
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from urllib.request import urlopen

import pytest
from commands import invoke
from faultserver import FaultServer, faults
from gunicorn_server import MUST_RUN, SOON, serving
from wired import settings

from flask_llm.observe.aggregates import BOUNDS_S
from flask_llm.web.charts import NOT_ANSWERED

_NEEDED = ["gunicorn", "sqlalchemy", "prometheus_client", "openai"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (all(map(find_spec, _NEEDED)) or MUST_RUN),
        reason=f"needs {', '.join(_NEEDED)}",
    ),
]

CALLS = 1000
WORKERS = 3
PRICES = {"m-known": {"input": 3.0, "output": 15.0}}
# Of each hundred calls.
MIX = {
    "/whole/fine": 50,
    "/whole/quota": 8,
    "/whole/broken": 6,
    "/whole/unpriced": 8,
    "/number": 8,
    "/stream/fine": 12,
    "/stream/cut": 4,
    "/stream/left": 4,
}


def answers(attempt):
    """Choose what a request gets by the word in its prompt."""
    body = attempt.body.decode()
    fine = faults.OK(model="m-known")
    if "number, please" in body:
        # The correction tells the model what was wrong with its first answer.
        again = "This answer is wrong" in body
        return fine(text='{"number": 7}' if again else '{"number": "seven"}')
    if "quota, please" in body and attempt.wire == "openai":
        return faults.rate_limited()
    if "broken, please" in body:
        return faults.status(500)
    if "unpriced, please" in body:
        return fine(model="m-unheard-of")
    if "cut, please" in body:
        return faults.cut_stream(2, step=fine)
    return fine


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Make the calls; return what each observer tells of them."""
    folder = tmp_path_factory.mktemp("numbers")
    for name in ("metrics", "gunicorn"):
        (folder / name).mkdir()
    paths = [path for path, share in MIX.items() for _ in range(CALLS * share // 100)]
    random.Random(6).shuffle(paths)
    with FaultServer(faults.by_request(answers), keep_alive=True) as server:
        found = settings("openai", server.url, 60) | settings("claude", server.url, 60)
        variables = {key: str(value) for key, value in found.items()}
        variables |= {
            "LLM_PRIMARY_PROVIDER": "openai",
            "LLM_FALLBACK_PROVIDERS": "claude",
            "LLM_MAX_RETRIES": "2",
            "LLM_RETRY_DELAY": "0.001",
            "LLM_BREAKER_REST": "0.05",
            "LLM_BREAKER_MAX_REST": "0.1",
            "LLM_STATE_URL": f"sqlite:///{folder}/state.sqlite3",
            "LLM_USAGE_URL": f"sqlite:///{folder}/usage.sqlite3",
            "LLM_METRICS": "on",
            "LLM_PRICES": json.dumps(PRICES),
            "LLM_OPENAI_MODEL": "m-known",
            "LLM_CLAUDE_MODEL": "m-known",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
            "CALLS_FILE": str(folder / "calls"),
            "NO_PROXY": "127.0.0.1",
        }
        place = (folder / "gunicorn", "gthread", False, [], WORKERS)
        with serving(*place, app="numbers_app:app", **variables) as gunicorn:
            gunicorn.pids(WORKERS)  # or the first one to start would take all calls
            with ThreadPoolExecutor(12) as pool:
                pids = {each["pid"] for each in pool.map(gunicorn.get, paths)}
            metrics = _metrics(gunicorn.url + "/llm/metrics")
            report = _report(gunicorn)
            gunicorn.stop()
        asked = len(server.attempts())
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    usage = f"sqlite:///{folder}/usage.sqlite3"
    assert len(pids) == WORKERS
    return {
        "calls": calls,
        "metrics": metrics,
        "report": report,
        "usage": _usage(usage),
        "command": _command(usage),
        "asked": asked,
    }


def _report(gunicorn):
    """Return the dashboard's numbers, as soon as all calls have been written."""
    address = "/llm/dashboard/data?range=1h"
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if gunicorn.get(address)["tiles"]["calls"] == CALLS:
            break
    # Once more: a report asks several questions, and calls are written in between.
    return gunicorn.get(address)


def _metrics(url):
    """Return each sample of the exposition: its name, labels and value."""
    from prometheus_client.parser import text_string_to_metric_families

    with urlopen(url) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def _usage(url):
    """Return the rows of the usage log's calls and attempts."""
    from sqlalchemy import create_engine, select

    from flask_llm.observe.usage import metadata

    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            name: [
                dict(row._mapping)
                for row in connection.execute(
                    select(metadata.tables[f"flask_llm_{name}"])
                )
            ]
            for name in ("calls", "attempts")
        }
    engine.dispose()
    return rows


def _command(url):
    """Return what `flask llm usage` tells of all calls."""
    settings = {"LLM_USAGE_URL": url, "LLM_DASHBOARD": "off"}
    result = invoke(settings, "usage", "--since", "all", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["total"]


def samples(told, name, *by, **labels):
    """Return the sums of a metric's samples by some of its labels."""
    sums = Counter()
    for each in told["metrics"]:
        if each.name == name and labels.items() <= each.labels.items():
            sums[tuple(each.labels[label] for label in by)] += each.value
    return {key: value for key, value in sums.items() if value}


def test_each_call_is_noted_once(told):
    """The run has all kinds of endings, and one record for each call."""
    assert len({each["call_id"] for each in told["calls"]}) == CALLS
    outcomes = Counter(each["outcome"] for each in told["calls"])
    assert {"success", "transient", "closed"} <= set(outcomes)
    assert any(each["fallback"] for each in told["calls"])
    tries = [a for c in told["calls"] for a in c["attempts"] if not a["skipped"]]
    # One that a resting provider was spared is no request; each other is one.
    assert len(tries) == told["asked"]


def test_the_usage_log_has_the_same_calls(told):
    """Each call has its row, and each of its attempts."""
    rows = {each["call_id"]: each for each in told["usage"]["calls"]}
    assert rows.keys() == {each["call_id"] for each in told["calls"]}
    for call in told["calls"]:
        row = rows[call["call_id"]]
        same = ("purpose", "provider", "outcome", "input_tokens", "output_tokens")
        assert [row[name] for name in same] == [call[name] for name in same]
        assert math.isclose(row["cost_usd"], call["cost_usd"], abs_tol=1e-12)
        assert bool(row["unpriced"]) == call["unpriced"]
    written = Counter(each["call_id"] for each in told["usage"]["attempts"])
    assert written == {c["call_id"]: len(c["attempts"]) for c in told["calls"]}


def test_the_metrics_have_the_same_counts(told):
    """Calls, fallbacks, attempts, tokens and cost, over all workers."""
    calls = told["calls"]
    counted = Counter((c["provider"], c["purpose"], c["outcome"]) for c in calls)
    by = ("provider", "purpose", "outcome")
    assert samples(told, "flask_llm_calls_total", *by) == counted
    fallbacks = Counter((c["provider"],) for c in calls if c["fallback"])
    assert samples(told, "flask_llm_fallbacks_total", "provider") == fallbacks
    unpriced = Counter((c["purpose"],) for c in calls if c["unpriced"])
    assert samples(told, "flask_llm_unpriced_calls_total", "purpose") == unpriced
    tries = [a for c in calls for a in c["attempts"] if not a["skipped"]]
    attempts = Counter((a["provider"], a["outcome"]) for a in tries)
    by = ("provider", "outcome")
    assert samples(told, "flask_llm_attempts_total", *by) == attempts
    for way in ("input", "output"):
        name = f"gen_ai_client_inference_usage_{way}_tokens_total"
        tokens = sum(c[f"{way}_tokens"] for c in calls)
        assert sum(samples(told, name).values()) == tokens
    cost = sum(samples(told, "flask_llm_cost_usd_total").values())
    assert math.isclose(cost, sum(c["cost_usd"] for c in calls))


def test_the_dashboard_shows_the_same_numbers(told):
    """Tiles, breakdown, charts and cards add up to the same."""
    calls, report = told["calls"], told["report"]
    tiles = report["tiles"]
    assert tiles["calls"] == CALLS
    judged = [c for c in calls if c["outcome"] != "closed"]
    answered = sum(c["outcome"] == "success" for c in judged)
    assert math.isclose(tiles["answered"], answered / len(judged))
    assert tiles["unpriced"] == sum(c["unpriced"] for c in calls)
    assert math.isclose(tiles["cost_usd"], sum(c["cost_usd"] for c in calls))
    for name in ("input_tokens", "output_tokens"):
        assert tiles[name] == sum(c[name] for c in calls)
        assert sum(each[name] for each in report["breakdown"]) == tiles[name]
    shown = Counter()
    for each in report["breakdown"]:
        shown[each["purpose"]] += each["calls"]
    assert shown == Counter(c["purpose"] for c in calls)
    charts = report["charts"]
    drawn = {name: sum(points) for name, points in charts["calls"].items()}
    has_answer = {"success", "closed"}
    assert drawn == Counter(
        c["provider"] if c["outcome"] in has_answer else NOT_ANSWERED for c in calls
    )
    tries = [a for c in calls for a in c["attempts"] if not a["skipped"]]
    errors = Counter(
        a["outcome"] for a in tries if a["outcome"] not in {"success", "closed"}
    )
    assert {kind: sum(points) for kind, points in charts["errors"].items()} == errors
    cards = {each["name"]: each["attempts"] for each in report["chain"]}
    assert cards == Counter(a["provider"] for a in tries)


def test_the_command_tells_the_numbers_of_the_tiles(told):
    """Shares and times too are of the same calls, and of the same sums."""
    tiles, total = told["report"]["tiles"], told["command"]
    same = ("calls", "unpriced", "input_tokens", "output_tokens")
    assert [total[name] for name in same] == [tiles[name] for name in same]
    assert total["answered_share"] == tiles["answered"]
    assert total["by_fallback_share"] == tiles["by_fallback"]
    assert math.isclose(total["cost_usd"], tiles["cost_usd"])
    answers = [c for c in told["calls"] if c["outcome"] == "success"]
    assert total["answered"] == len(answers)
    assert total["by_fallback"] == sum(c["fallback"] for c in answers)
    assert total["closed"] == sum(c["outcome"] == "closed" for c in told["calls"])
    assert math.isclose(total["p95_s"], tiles["p95_s"])
    times = sorted(c["latency_s"] for c in answers)
    exact = times[math.ceil(len(times) * 95 / 100) - 1]
    # Its class is known, and it may be at the edge of the next.
    classes = [bisect_left(BOUNDS_S, each) for each in (total["p95_s"], exact)]
    assert abs(classes[0] - classes[1]) <= 1
