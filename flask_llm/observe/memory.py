"""The calls of the last hour, in this process.

A call only leaves its record, and waits for nobody: the adding up is for a reader,
or for one call of many.

Nothing is kept, and little imported, before the first call of a process.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from flask import Flask

from ..factory import LLMFactory
from ..resilience.clock import SYSTEM, Clock, PerProcess
from ..signals import (
    CircuitChanged,
    GenerationFinished,
    circuit_changed,
    generation_finished,
)
from .aggregates import ATTEMPTS, CALLS, About, Failure, Key, Span, Sums, Table, Tally
from .records import CLOSED, SUCCESS, CallEnd, CallRecord

HOUR_S = 3600.0

OTHERS = "(others)"
"""Models and purposes that came when there was no more room for their own rows."""

MOST_CALLS = 500
"""Calls that are kept whole."""

MOST_CHANGES = 1000
"""Circuits that opened or closed that are kept."""

MOST_ROWS = 16_000
"""Sums that are kept; above it models and purposes have no rows of their own."""

_STEP_S = 15

# The points of a chart begin before its hour does.
_KEPT_S = HOUR_S + 60.0

# Calls that wait to be added up, when nobody looks.
_BATCH = 100

# Characters; it is a provider's word, and may be any text.
_LONGEST_MODEL = 200

T = TypeVar("T")


class Memory:
    """The `DataSource` of the calls that it is given. For several threads at once.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        # Appending needs no lock; whoever takes out of them holds it.
        self._told: deque[CallEnd] = deque()
        self._told_changes: deque[CircuitChanged] = deque()
        self._lock = threading.Lock()  # through the module, for gevent
        self._tally = Tally((_STEP_S,))
        self._forgotten_at = 0.0
        self._latest: deque[CallRecord] = deque(maxlen=MOST_CALLS)
        self._failures: dict[str, Failure] = {}
        self._changes: deque[CircuitChanged] = deque(maxlen=MOST_CHANGES)

    def finished(self, event: GenerationFinished) -> None:
        """Keep a call that is over."""
        self._told.append(CallEnd.of(event))
        if len(self._told) >= _BATCH and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def changed(self, event: CircuitChanged) -> None:
        """Keep that a circuit has opened or closed."""
        self._told_changes.append(event)

    def about(self) -> About:
        """Return what is covered."""
        with self._lock:
            self._settle()
            begun = (at for _, at, _ in self._tally.rows(CALLS))
            return About("memory", since=min(begun, default=None))

    def sums(self, table: Table, by: Sequence[str], span: Span) -> list[dict[str, Any]]:
        """Return sums of a span, as far as it is kept."""
        with self._lock:
            self._settle()
            return _grouped(self._tally.rows(table), table, by, span)

    def recent(self, limit: int, *, before: float | None = None) -> list[CallRecord]:
        """Return the latest calls, the last one first."""
        with self._lock:
            self._settle()
            known = [
                each
                for each in self._latest
                if before is None or each.finished_at < before
            ]
        known.sort(key=lambda each: each.finished_at, reverse=True)
        return known[:limit]

    def find(self, call_id: str) -> CallRecord | None:
        """Return one call, if it is among the latest."""
        with self._lock:
            self._settle()
            same = (each for each in self._latest if each.call_id == call_id)
            return next(same, None)

    def failures(self) -> dict[str, Failure]:
        """Return the latest failed attempt at each provider that ever had one."""
        with self._lock:
            self._settle()
            return dict(self._failures)

    def changes(self, since: float) -> list[CircuitChanged]:
        """Return the circuits that opened or closed since then, in their order."""
        with self._lock:
            self._settle()
            known = [each for each in self._changes if each.at >= since]
        return sorted(known, key=lambda each: each.at)

    def _settle(self) -> None:
        """Add what has come until now, and drop what is old."""
        for end in _taken(self._told):
            self._add(CallRecord.made(end))
        self._changes.extend(_taken(self._told_changes))
        now = self._clock.time()
        if not 0 <= now - self._forgotten_at < _STEP_S:
            self._tally.forget(now - _KEPT_S)
            self._forgotten_at = now

    def _add(self, record: CallRecord) -> None:
        record = _bounded(record)
        self._latest.append(record)
        for failure in _failures(record):
            name = failure.attempt.provider
            known = self._failures.get(name)
            if known is None or known.at <= failure.at:
                self._failures[name] = failure
        rows = len(self._tally.rows(CALLS)) + len(self._tally.rows(ATTEMPTS))
        self._tally.add(record if rows < MOST_ROWS else _folded(record))


def _taken(queue: deque[T]) -> Iterator[T]:
    """Take out what is in a queue now; what comes meanwhile is for the next time."""
    for _ in range(len(queue)):
        yield queue.popleft()


def _failures(record: CallRecord) -> Iterator[Failure]:
    """Yield the attempts for whose end the provider is to blame."""
    for each in record.attempts:
        if not each.skipped and each.outcome not in {SUCCESS, CLOSED}:
            yield Failure(record.started_at + each.started_s + each.latency_s, each)


def _bounded(record: CallRecord) -> CallRecord:
    """Return a record without a name that is as long as a text."""
    models = (record.model, *(each.model for each in record.attempts))
    if all(len(each or "") <= _LONGEST_MODEL for each in models):
        return record
    return _renamed(record, lambda model: model[:_LONGEST_MODEL])


def _folded(record: CallRecord) -> CallRecord:
    """Return a record that needs no new row but for its provider and outcome."""
    return _renamed(replace(record, purpose=OTHERS), lambda _: OTHERS)


def _renamed(record: CallRecord, model: Callable[[str], str]) -> CallRecord:
    """Return a record whose models have other names; one that is not known has none."""
    attempts = (
        replace(each, model=each.model and model(each.model))
        for each in record.attempts
    )
    named = record.model and model(record.model)
    return replace(record, model=named, attempts=tuple(attempts))


def _grouped(
    rows: Mapping[Key, Sums], table: Table, by: Sequence[str], span: Span
) -> list[dict[str, Any]]:
    """Return rows added up by some dimensions and points of time."""
    places = [(table.dimensions.index(each), each) for each in by if each != "at"]
    width = span.range.width
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (_, at, values), sums in rows.items():
        if span.since <= at <= span.until:
            shown: dict[str, Any] = {name: values[place] for place, name in places}
            shown["at"] = at // width * width
            key = tuple(shown[each] for each in by)
            if key not in groups:
                empty = dict.fromkeys(table.measures, 0)
                groups[key] = dict(zip(by, key, strict=True)) | empty
            group = groups[key]
            for name, value in sums.items():
                group[name] += value
    return [groups[key] for key in sorted(groups)]


SOURCE = "llm.source"
"""Under this name an app's extensions have where its pages take their numbers from."""


def install(app: Flask, factory: LLMFactory) -> None:  # noqa: ARG001  # as of each part
    """Keep an app's calls in memory for an hour.

    Args:
        app: The app, which sends the signals.
        factory: Its factory.
    """
    window = Window()
    # A signal holds its receivers weakly, and the app holds them.
    app.extensions[SOURCE] = window
    generation_finished.connect(window.finished, app)
    circuit_changed.connect(window.changed, app)


class Window:
    """The `DataSource` of what this process has seen; a forked one begins anew."""

    def __init__(self) -> None:
        self._memory = PerProcess(Memory)

    def finished(self, sender: object, event: GenerationFinished) -> None:  # noqa: ARG002  # blinker's own
        """Keep a call that is over."""
        self._memory.get().finished(event)

    def changed(self, sender: object, event: CircuitChanged) -> None:  # noqa: ARG002  # blinker's own
        """Keep that a circuit has opened or closed."""
        self._memory.get().changed(event)

    def about(self) -> About:
        """Return what is covered."""
        return self._memory.get().about()

    def sums(self, table: Table, by: Sequence[str], span: Span) -> list[dict[str, Any]]:
        """Return sums of a span."""
        return self._memory.get().sums(table, by, span)

    def recent(self, limit: int, *, before: float | None = None) -> list[CallRecord]:
        """Return the latest calls, the last one first."""
        return self._memory.get().recent(limit, before=before)

    def find(self, call_id: str) -> CallRecord | None:
        """Return one call."""
        return self._memory.get().find(call_id)

    def failures(self) -> dict[str, Failure]:
        """Return the latest failed attempt at each provider."""
        return self._memory.get().failures()

    def changes(self, since: float) -> list[CircuitChanged]:
        """Return the circuits that opened or closed since then."""
        return self._memory.get().changes(since)
