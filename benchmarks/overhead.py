"""What a call costs above the SDK's own, in three figures that a busy machine spares.

Function calls are counted. CPU time is compared in pairs of batches that follow each
other. Calls per second are those of the best run. So other work on the machine, which
can only slow both sides, hardly shows.
"""

import cProfile
import gc
import os
import pstats
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anthropic
from flask import Flask

from flask_llm import FlaskLLM, LLMFactory

from .measure import Call, Plan, Spread, paired
from .report import Row
from .upstream import fault_server

THREADS = 16

_PROMPT = "Classify this email in one word: please refund my second payment."
_KEY = "sk-ant-of-no-use"

_EARLIER = 5  # calls before the one that is counted
_IN_A_ROW = 20  # calls of one thread in a run

_BATCHES = Plan(rounds=40, batch=10)
_RUNS = Plan(rounds=5, batch=1, warm_up=1)

# What is measured, with which settings, and what is aimed at.
_COUNTS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("Python calls above those of an SDK that makes no spans", {}, 200),
    ("the same with `LLM_DASHBOARD=off`", {"LLM_DASHBOARD": "off"}, 165),
)
# The SDK makes spans, even where nobody collects them. Ours leaves them out there.
_SPANLESS: dict[str, Any] = {"open_telemetry": False}
_TIMES: tuple[tuple[str, dict[str, Any], dict[str, Any], float | None], ...] = (
    ("CPU time, as a multiple of the SDK's", {}, {}, 1.10),
    ("the same with `LLM_DEADLINE=25`", {}, {"LLM_DEADLINE": 25}, 1.13),
    ("CPU time, as a multiple of an SDK's that makes no spans", _SPANLESS, {}, None),
)
_LEAST_PART = 0.92


def calls_above_the_sdk(**config: Any) -> int:
    """Count the function calls of one `generate_content` that are not the SDK's.

    It is the sixth call of an app, outside of any request, less the sixth of a client
    that makes no spans. Calls of built-in functions count too.

    Args:
        config: Settings of the app that are not at their defaults.
    """
    with fault_server() as url:
        return _count(ours(url, **config)) - _count(bare(url, **_SPANLESS))


def rows(plan: Plan | None = None) -> list[Row]:
    """Measure all three figures.

    Args:
        plan: How often to call where time is taken, if not as usual.
    """
    counts = [_count_row(*each) for each in _COUNTS]
    with fault_server() as url:
        times = [_time_row(url, plan or _BATCHES, *each) for each in _TIMES]
        return [*counts, *times, _throughput_row(f"{url}/slow", plan or _RUNS)]


# The two calls --------------------------------------------------------------------


def ours(url: str, **config: Any) -> Call:
    """Return a call of an app that asks Claude only, and is else at its defaults."""
    app = Flask("benchmark")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": "claude",
        "LLM_FALLBACK_PROVIDERS": "none",
        "LLM_CLAUDE_BASE_URL": url,
        "ANTHROPIC_API_KEY": _KEY,
    }
    app.config |= config
    FlaskLLM(app, authorize=lambda: True)
    llm: LLMFactory = app.extensions["llm"]

    def call() -> None:
        response = llm.generate_content(_PROMPT)
        if not response.success:
            raise AssertionError(response.error)

    return call


def bare(url: str, **options: Any) -> Call:
    """Return a call of a client of the SDK, with the very request that ours sends."""
    client = anthropic.Anthropic(api_key=_KEY, base_url=url, max_retries=0, **options)

    def call() -> None:
        client.messages.create(
            model="claude-sonnet-5-5",
            max_tokens=1024,
            messages=[{"role": "user", "content": _PROMPT}],
            thinking={"type": "between_tools"},
            timeout=30.0,
        )

    return call


# The three figures ----------------------------------------------------------------


def _count_row(measure: str, config: dict[str, Any], most: int) -> Row:
    count = calls_above_the_sdk(**config)
    return Row(measure, f"{count:+}", f"≤ {most}", count <= most)


def _count(call: Call) -> int:
    """Return how many functions a call calls once it has settled."""
    for _ in range(_EARLIER):
        call()
    gc.collect()  # so that nothing is finalized meanwhile
    profile = cProfile.Profile()
    profile.runcall(call)
    total: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  # typeshed lacks it
    return total


def _time_row(
    url: str,
    plan: Plan,
    measure: str,
    options: dict[str, Any],
    config: dict[str, Any],
    most: float | None,
) -> Row:
    with _one_core():
        times = paired(bare(url, **options), ours(url, **config), plan)
    pairs = zip(times.base, times.ours, strict=True)
    low, middle, high = Spread.of([b.cpu / a.cpu for a, b in pairs])
    figure = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    if most is None:
        return Row(measure, figure)
    return Row(measure, figure, f"≤ {most:.2f}", middle <= most)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core if the system can.

    Whether a thread that is woken finds itself on another one, with nothing in its
    cache, depends on what else is running; it makes a call half as dear again.
    """
    if sys.platform != "linux":
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _throughput_row(url: str, plan: Plan) -> Row:
    with ThreadPoolExecutor(THREADS) as pool:
        times = paired(_crowd(pool, bare(url)), _crowd(pool, ours(url)), plan)
    base, own = (
        THREADS * _IN_A_ROW / min(each.wall for each in side)
        for side in (times.base, times.ours)
    )
    return Row(
        f"calls/s of {THREADS} threads and an upstream that takes 20 ms,"
        " as a part of the SDK's",
        f"{own / base:.2f} (in the middle {1 - times.slower.median:.2f});"
        f" {base:.0f} → {own:.0f} calls/s",
        f"≥ {_LEAST_PART}",
        own / base >= _LEAST_PART,
    )


def _crowd(pool: ThreadPoolExecutor, call: Call) -> Call:
    """Return a run in which all threads call at once, some times in a row."""

    def in_a_row() -> None:
        for _ in range(_IN_A_ROW):
            call()

    def run() -> None:
        for each in [pool.submit(in_a_row) for _ in range(THREADS)]:
            each.result()

    return run
