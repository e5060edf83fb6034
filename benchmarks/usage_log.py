"""Fill a usage log with calls as an app makes them; time questions to it and pages.

python -m benchmarks.usage_log URL [--calls 1000000] [--hours 168] [--only-ask]
"""

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.observe.aggregates import ATTEMPTS, CALLS, RANGES, Span
from flask_llm.observe.records import CallRecord
from flask_llm.observe.usage.database import Database
from flask_llm.observe.usage.queries import UsageSource
from flask_llm.observe.usage.settings import database_url_of
from flask_llm.observe.usage.tables import change_row
from flask_llm.observe.usage.writer import pieces, write
from flask_llm.signals import CircuitChanged
from flask_llm.testing import FakeProvider
from flask_llm.types import Attempt

_CHAIN = (
    ("gemini", "gemini-3.8-flash", 0.93),
    ("claude", "claude-sonnet-5-5", 0.97),
    ("claude:claude-haiku-5-5", "claude-haiku-5-5", 0.99),
)
_PURPOSES = ("classify_email", "draft_reply", "summary", "inbox.show", "search", "tags")
_KINDS = ("quota", "transient", "transient", "auth", "bad_answer")
_BATCH = 5000
_OPENINGS = 50


def calls(number: int, hours: float, until: float) -> Iterator[CallRecord]:
    """Yield calls in the order of their time, more of them by day than by night."""
    chance = random.Random(7)  # noqa: S311  # the same calls each time
    step = hours * 3600 / number
    for place in range(number):
        yield _call(chance, place, until - (number - place) * step)


def _call(chance: random.Random, place: int, at: float) -> CallRecord:
    attempts, began = [], 0.0
    for name, model, share in _CHAIN:
        answered = chance.random() < share
        latency = min(chance.lognormvariate(0.2, 0.7), 60.0)
        usage = {"input_tokens": chance.randrange(2000), "output_tokens": 200}
        usage["total_tokens"] = sum(usage.values())
        attempts.append(
            Attempt(
                name,
                "success" if answered else chance.choice(_KINDS),
                latency,
                None if answered else "quota exceeded",
                usage=usage if answered else None,
                model=model,
                started_s=began,
                cost_usd=0.001 if answered else None,
            )
        )
        began += latency
        if answered:
            break
    last = attempts[-1]
    return CallRecord(
        call_id=f"{place:024x}",
        started_at=at - began,
        finished_at=at,
        purpose=chance.choice(_PURPOSES),
        request_id=None,
        provider=last.provider,
        model=last.model,
        outcome=last.outcome,
        error=last.error,
        fallback=last.outcome == "success" and len(attempts) > 1,
        streamed=place % 3 == 0,
        latency_s=began,
        first_token_s=0.3 if place % 3 == 0 else None,
        input_tokens=sum(each.usage["input_tokens"] for each in attempts if each.usage),
        output_tokens=200,
        cost_usd=0.001,
        unpriced=False,
        attempts=tuple(attempts),
    )


def fill(link: Database, number: int, hours: float) -> None:
    """Write so many calls, and a change of a circuit for each thousand."""
    batch: list[CallRecord] = []
    begun, now = time.monotonic(), time.time()
    for place, record in enumerate(calls(number, hours, now), 1):
        batch.append(record)
        if len(batch) == _BATCH or place == number:
            change = CircuitChanged("gemini", record.finished_at)
            rows = [change_row(record.call_id, change)]
            link.run(lambda one, batch=batch, rows=rows: write(one, batch, rows))  # type: ignore[misc]  # mypy cannot tell the lambda's type
            batch = []
            for piece in pieces(now, None):
                while link.run(piece):
                    pass
    sys.stdout.write(f"{number} calls written in {time.monotonic() - begun:.0f} s\n")


def questions(source: UsageSource) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield all that a page may ask."""
    now = time.time()
    for name, each in RANGES.items():
        since = (now - each.seconds) // each.width * each.width
        span = Span(since, now, each)
        for table, by in (
            (CALLS, ()),
            (CALLS, ("provider", "at")),
            (CALLS, ("purpose", "outcome")),
            (ATTEMPTS, ("provider", "model", "outcome", "at")),
        ):
            yield (
                f"sums {table.name} {'+'.join(by)} {name}",
                lambda table=table, by=by, span=span: source.sums(table, by, span),  # type: ignore[misc]  # as above
            )
    yield "about", source.about
    yield "recent 50", lambda: source.recent(50)
    yield "recent 50, before", lambda: source.recent(50, before=now - 40_000)
    yield "find", lambda: source.find(f"{123_456:024x}")
    yield "failures", source.failures
    yield "changes of 7 days", lambda: source.changes(now - 604_800)


def time_questions(source: UsageSource) -> None:
    """Print how long each question takes, and what all of them need of memory."""
    source.about()
    before = _peak_mb()
    for name, ask in questions(source):
        _print_times(name, [_seconds(ask) for _ in range(3)])
    sys.stdout.write(f"questions: {_peak_mb() - before:.1f} MB more at the peak\n")


def time_pages(url: str) -> None:
    """Print how long the rendered dashboard takes, and what is kept of many of them."""
    app = Flask("dashboard")
    app.config |= {
        "LLM_PRIMARY_PROVIDER": FakeProvider("yes", name=_CHAIN[0][0]),
        "LLM_FALLBACK_PROVIDERS": [
            FakeProvider("yes", name=each[0]) for each in _CHAIN[1:]
        ],
        "LLM_USAGE_URL": url,
    }
    FlaskLLM(app, authorize=lambda: True)
    for name in RANGES:
        _print_times(f"page {name}", [_open(app, name) for _ in range(5)])
    before, times = _resident_mb(), [_open(app, "7d") for _ in range(_OPENINGS)]
    _print_times(f"page 7d, {_OPENINGS} times", times)
    after = _resident_mb()
    sys.stdout.write(f"memory: {before:.1f} MB before these, {after:.1f} MB after\n")


def _open(app: Flask, range_name: str) -> float:
    """Open the page; return the seconds that it took."""
    client = app.test_client()
    path = f"/llm/dashboard?range={range_name}"
    begun = time.perf_counter()
    answer = client.get(path, headers={"Accept": "text/html"})
    took = time.perf_counter() - begun
    assert answer.status_code == HTTPStatus.OK, answer.text
    assert "cannot be read" not in answer.text
    return took


def _print_times(name: str, times: list[float]) -> None:
    best, worst = min(times) * 1000, max(times) * 1000
    sys.stdout.write(f"{name:<55} {best:8.1f} ms, at worst {worst:8.1f} ms\n")


def _seconds(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return time.perf_counter() - begun


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--hours", type=float, default=168)
    parser.add_argument("--only-ask", action="store_true")
    options = parser.parse_args()
    place = database_url_of(options.url, ".")
    if not options.only_ask:
        fill(Database(place, writes=True, patience_s=600), options.calls, options.hours)
    time_questions(UsageSource(place, patience_s=60))
    time_pages(options.url)


if __name__ == "__main__":
    main()
