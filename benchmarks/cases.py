"""What is measured: a row for each case, with the two calls that it compares.

The bare call is what a user of the SDK would write, with the request that ours sends.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import anthropic
from flask import Flask, current_app

from flask_llm import FlaskLLM, LLMFactory, LLMProvider
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.resilience.clock import SYSTEM, Clock, SystemClock
from flask_llm.testing import FakeProvider

from . import observers
from .measure import Call, Paired, Plan, Spread
from .report import Row
from .upstream import CHUNKS, Upstream

PROMPT = "Classify this email in one word: please refund my second payment."
TIMEOUT_S = 30.0
THREADS = 16

_KEY = "sk-ant-of-no-use"
_MODEL = ClaudeProvider.default_model
_MAX_TOKENS = 1024
_STORE_AWAKES_S = 0.1


class Skipped(Exception):  # noqa: N818  # nothing is wrong
    """A case that cannot be measured here; the text says why."""


class Pair(NamedTuple):
    """Two calls: `ours` is compared with `base`."""

    base: Call
    ours: Call


class Case(NamedTuple):
    """One row of the table.

    Attributes:
        measure: What is measured.
        pair: Prepares the two calls.
        told: Candidates the times into figure, target and verdict, with `limit`.
        limit: The most that is aimed at, in seconds or as a part; None for no aim.
        plan: How often to call.
    """

    measure: str
    pair: Callable[[Upstream], Pair]
    told: Callable[[Paired, float | None], tuple[str, str, bool | None]]
    limit: float | None
    plan: Plan

    def row(self, times: Paired) -> Row:
        """Return the row of the table."""
        return Row(self.measure, *self.told(times, self.limit))


# How a row tells its figure -------------------------------------------------------


def added(times: Paired, limit: float | None) -> tuple[str, str, bool | None]:
    """Tell what ours takes more per call."""
    spread = times.added
    base, ours = times.walls
    figure = (
        f"{_us(spread.median, '+')} µs ({_us(spread.low)} to {_us(spread.high)}),"
        f" CPU {_us(times.added_cpu, '+')} µs; {_us(base)} → {_us(ours)} µs"
    )
    if limit is None:
        return figure, "", None
    return figure, f"≤ {_us(limit)} µs", spread.median <= limit


def added_per_chunk(times: Paired, limit: float | None) -> tuple[str, str, bool | None]:
    """Tell what ours takes more for each chunk of a stream."""
    low, middle, high = (each * 1e6 / CHUNKS for each in times.added)
    base, ours = (each * 1e6 / CHUNKS for each in times.walls)
    cpu = times.added_cpu * 1e6 / CHUNKS
    figure = (
        f"{middle:+.1f} µs ({low:.1f} to {high:.1f}), CPU {cpu:+.1f} µs;"
        f" {base:.0f} → {ours:.0f} µs"
    )
    if limit is None:
        return figure, "", None
    return figure, f"≤ {_us(limit)} µs", times.added.median <= limit * CHUNKS


def falls_behind(times: Paired, limit: float | None) -> tuple[str, str, bool | None]:
    """Tell how many calls per second ours makes less."""
    spread = Spread(*(-100 * each for each in times.slower))
    base, ours = (THREADS * _IN_A_ROW / each for each in times.walls)
    figure = (
        f"{spread.median:+.1f} % ({spread.high:+.1f} to {spread.low:+.1f});"
        f" {base:.0f} → {ours:.0f} calls/s"
    )
    if limit is None:
        return figure, "", None
    return figure, f"≥ -{100 * limit:g} %", times.slower.median <= limit


def _us(seconds: float, sign: str = "-") -> str:
    return f"{seconds * 1e6:{sign}.0f}"


# What the calls are made of -------------------------------------------------------


@cache  # a client takes 50 ms to make
def client_at(url: str) -> anthropic.Anthropic:
    """Return a client of the SDK itself, set up as in `ClaudeProvider`."""
    return anthropic.Anthropic(
        api_key=_KEY, base_url=url, timeout=TIMEOUT_S, max_retries=0
    )


def bare(url: str) -> Call:
    """Return a call of the SDK itself, as `ClaudeProvider` makes it."""
    client = client_at(url)

    def call() -> str:
        message = client.messages.create(
            model=str(_MODEL),
            max_tokens=_MAX_TOKENS,
            messages=[{"role": "user", "content": PROMPT}],
            thinking={"type": "between_tools"},
        )
        (block,) = message.content
        return block.text if block.type == "text" else ""

    return call


def bare_stream(url: str) -> Call:
    """Return a call that reads a stream of the SDK itself to its end."""
    client = client_at(url)

    def call() -> None:
        events = client.messages.create(
            model=str(_MODEL),
            max_tokens=_MAX_TOKENS,
            messages=[{"role": "user", "content": PROMPT}],
            thinking={"type": "between_tools"},
            stream=True,
        )
        with events:
            _all_there(
                sum(
                    each.type == "content_block_delta"
                    and each.delta.type == "text_delta"
                    and bool(each.delta.text)
                    for each in events
                )
            )

    return call


def our_stream(llm: LLMFactory, **arguments: Any) -> Call:
    """Return a call that reads a stream of `stream_content` to its end."""

    def call() -> None:
        with llm.stream_content(PROMPT, **arguments) as stream:
            _all_there(sum(1 for _ in stream))

    return call


def _all_there(chunks: int) -> None:
    if chunks != CHUNKS:
        raise AssertionError(f"{chunks} chunks of {CHUNKS}")


def failing(call: Call, kind: type[Exception]) -> Call:
    """Return a call that is known to fail, with its error caught."""

    def caught() -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    return caught


def both(first: Call, second: Call) -> Call:
    """Return two calls, one after the other."""

    def call() -> None:
        first()
        second()

    return call


@cache
def claude(url: str) -> ClaudeProvider:
    """Return our provider for the same server."""
    return ClaudeProvider(_KEY, base_url=url, timeout=TIMEOUT_S)


def chain(
    primary: LLMProvider,
    *fallbacks: LLMProvider,
    config: Mapping[str, Any] | None = None,
    clock: Clock = SYSTEM,
) -> LLMFactory:
    """Return a chain of these providers, with every other setting at its default."""
    return LLMFactory(primary, fallbacks, config=config or {}, clock=clock)


def asked(llm: LLMFactory, tries: int = 1, **arguments: Any) -> Call:
    """Return a call of `generate_content`, which must end as expected.

    Args:
        llm: Who is asked.
        tries: How many attempts stand in the answer, skipped providers included.
        arguments: For `generate_content`.
    """

    def call() -> None:
        response = llm.generate_content(PROMPT, **arguments)
        if not response.success or len(response.metadata["attempts"]) != tries:
            raise AssertionError(f"{response.error}: {response.metadata['attempts']}")

    return call


# The cases ------------------------------------------------------------------------


def overhead(to: Upstream) -> Pair:
    """Compare one successful call with the SDK's."""
    return Pair(bare(to.healthy), asked(chain(claude(to.healthy))))


def app_overhead(_: Upstream) -> Pair:
    """Compare a call through an app with the provider itself, which takes no time."""
    fake = FakeProvider()
    app = Flask("benchmark")
    app.config |= {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    context = app.app_context()

    def ours() -> None:
        with context:
            current_app.llm.generate_content(PROMPT)  # type: ignore[attr-defined]  # FlaskLLM's

    return Pair(lambda: fake.generate_content(PROMPT), ours)


def deadline(to: Upstream) -> Pair:
    """Compare a call with a deadline, which a thread of a pool makes, with one without.

    The target calls it "no measurable cost": there is no number to hold it to.
    """
    llm = chain(claude(to.healthy))
    return Pair(asked(llm), asked(llm, deadline=25))


# The primary is asked each time, and once.
_PERSISTENT = {"LLM_BREAKER_FAILURES": 0, "LLM_MAX_RETRIES": 1}


def after_429(to: Upstream) -> Pair:
    """Compare a switch after a 429 with two calls of the SDK."""
    refused = failing(bare(to.limited), anthropic.RateLimitError)
    llm = chain(claude(to.limited), claude(to.healthy), config=_PERSISTENT)
    return Pair(both(refused, bare(to.healthy)), asked(llm, 2))


def after_refused(to: Upstream) -> Pair:
    """Compare a switch after a refused connection with two calls of the SDK."""
    refused = failing(bare(to.closed), anthropic.APIConnectionError)
    llm = chain(claude(to.closed), claude(to.healthy), config=_PERSISTENT)
    return Pair(both(refused, bare(to.healthy)), asked(llm, 2))


def open_circuit(to: Upstream) -> Pair:
    """Compare a chain whose primary rests with one that has only the fallback."""
    llm = chain(claude(to.resting), claude(to.healthy))
    llm.generate_content(PROMPT)
    return Pair(asked(chain(claude(to.healthy))), asked(llm, 2))


def open_circuit_alone(to: Upstream) -> Pair:
    """Compare the same with a fallback that takes no time, and so no noise."""
    llm = chain(claude(to.resting), FakeProvider())
    llm.generate_content(PROMPT)
    return Pair(asked(chain(FakeProvider())), asked(llm, 2))


def sqlite(to: Upstream) -> Pair:
    """Compare a store in a file with memory, while calls follow each other."""
    return _store(to, _sqlite_url(to), SYSTEM)


def sqlite_each(to: Upstream) -> Pair:
    """Compare them with a look into the file before each call."""
    return _store(to, _sqlite_url(to), Hasty())


def redis(to: Upstream) -> Pair:
    """Compare a store in Redis with memory, while calls follow each other."""
    return _store(to, _redis_url(to), SYSTEM)


def redis_each(to: Upstream) -> Pair:
    """Compare them with a look at Redis before each call."""
    return _store(to, _redis_url(to), Hasty())


class Hasty(SystemClock):
    """A clock that goes on by a second before each call once it `runs`.

    What a process has seen of its shared store is old after half a second: so each call
    looks again, as the calls of an app do that come one by one.
    """

    def __init__(self) -> None:
        self.runs = False
        self._ahead = 0.0

    def monotonic(self) -> float:
        """Return seconds that jump between calls only."""
        return super().monotonic() + self._ahead

    def jump(self) -> None:
        """Let a second pass."""
        self._ahead += self.runs


def _store(to: Upstream, url: str, clock: Clock) -> Pair:
    shared = chain(claude(to.healthy), config={"LLM_STATE_URL": url}, clock=clock)
    call = asked(shared)
    call()
    time.sleep(_STORE_AWAKES_S)  # its first connection is made in the background
    call()
    if not isinstance(clock, Hasty):
        return Pair(asked(chain(claude(to.healthy))), call)
    clock.runs = True
    return Pair(asked(chain(claude(to.healthy))), both(clock.jump, call))


def _sqlite_url(to: Upstream) -> str:
    return f"sqlite:///{to.folder / 'benchmark.db'}"


def _redis_url(to: Upstream) -> str:
    if to.redis is None:
        raise Skipped("no redis-server here")
    return to.redis


_IN_A_ROW = 10  # calls of one thread in a batch


def threads(to: Upstream) -> Pair:
    """Compare what many threads get through while each answer takes 20 ms."""
    pool = ThreadPoolExecutor(THREADS)
    base, ours = bare(to.slow), asked(chain(claude(to.slow)))

    def all_at_once(call: Call) -> Call:
        def in_a_row() -> None:
            for _ in range(_IN_A_ROW):
                call()

        def run() -> None:
            for each in [pool.submit(in_a_row) for _ in range(THREADS)]:
                each.result()

        return run

    return Pair(all_at_once(base), all_at_once(ours))


def chunks(to: Upstream) -> Pair:
    """Compare a stream with the SDK's."""
    return Pair(bare_stream(to.chunks), our_stream(chain(claude(to.chunks))))


def nobody_watches(_: Upstream) -> Pair:
    """Compare an app all of whose observers are off with a factory alone."""
    return Pair(observers.plain(), observers.watched(**observers.OFF))


def metrics(_: Upstream) -> Pair:
    """Compare an app with metrics with one without any observer."""
    off = observers.watched(**observers.OFF)
    return Pair(off, observers.watched(**observers.METRICS))


def dashboard(_: Upstream) -> Pair:
    """Compare an app as it is by default with one without any observer."""
    return Pair(observers.watched(**observers.OFF), observers.watched())


def everybody_watches(to: Upstream) -> Pair:
    """Compare an app with all observers and a usage log with one without any."""
    off = observers.watched(**observers.OFF)
    return Pair(off, observers.watched(**observers.everything(to)))


_WIRE = Plan(rounds=400, batch=5)
_MEMORY = Plan(rounds=300, batch=50)
_LOAD = Plan(rounds=40, batch=1, warm_up=1)
_LONG = Plan(rounds=12, batch=1, warm_up=1)

CASES = (
    Case("a successful call, beside the bare SDK", overhead, added, 50e-6, _WIRE),
    Case(
        "the same in an app, beside a `FakeProvider`",
        app_overhead,
        added,
        None,
        _MEMORY,
    ),
    Case("a deadline on a healthy call", deadline, added, None, _WIRE),
    Case(
        "a chunk of a stream, beside the bare SDK",
        chunks,
        added_per_chunk,
        50e-6,
        _LONG,
    ),
    Case("failover after a 429, beside two bare calls", after_429, added, 1e-3, _WIRE),
    Case(
        "failover after a refused connection, beside two bare calls",
        after_refused,
        added,
        1e-3,
        _WIRE,
    ),
    Case("an open circuit skipped", open_circuit_alone, added, 20e-6, _MEMORY),
    Case(
        "the same, to the answer of a fallback over HTTP",
        open_circuit,
        added,
        None,
        _WIRE,
    ),
    Case("`sqlite:///`, a call after the other", sqlite, added, 300e-6, _WIRE),
    Case(
        "`sqlite:///`, each call looks into the file", sqlite_each, added, 300e-6, _WIRE
    ),
    Case("`redis://`, a call after the other", redis, added, 500e-6, _WIRE),
    Case("`redis://`, each call asks the server", redis_each, added, 500e-6, _WIRE),
    Case("an app with all observers off", nobody_watches, added, 5e-6, _MEMORY),
    Case("metrics alone", metrics, added, 60e-6, _MEMORY),
    Case("the dashboard alone, as by default", dashboard, added, None, _MEMORY),
    Case(
        "usage log in SQLite, metrics, traces, costs",
        everybody_watches,
        added,
        1.5e-3,
        _MEMORY,
    ),
    Case(
        f"{THREADS} threads and an upstream that takes 20 ms",
        threads,
        falls_behind,
        0.03,
        _LOAD,
    ),
)
