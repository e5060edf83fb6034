"""Limits of a provider before it says 429: counters in windows that move.

A window is counted in sixty buckets and one more, so that no time of its length ever
holds more than its limit. One that processes share is kept where they all see it, by
the clock of the store.
"""

import logging
import math
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..errors import let_through
from .clock import SYSTEM, Clock, PerProcess

log = logging.getLogger("flask_llm")

T = TypeVar("T")

BUCKETS = 60
"""Into how many parts a window is counted."""

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_NOTATION = re.compile(
    rf"(\d{{1,12}})\s*(?:/|per)\s*(\d{{0,6}})\s*({'|'.join(_UNITS)})s?", re.IGNORECASE
)


class Rate(NamedTuple):
    """How much there may be in a time.

    Attributes:
        most: Requests, or tokens.
        seconds: The length of the window.
    """

    most: int
    seconds: int

    def __str__(self) -> str:
        """Return the notation, in the longest unit that fits."""
        fitting = [each for each in _UNITS if not self.seconds % _UNITS[each]]
        unit, count = fitting[-1], self.seconds // _UNITS[fitting[-1]]
        return f"{self.most}/{unit}" if count == 1 else f"{self.most}/{count} {unit}s"


def rate(value: Any) -> Rate:
    """Parse a rate such as "60/minute" or "1000 per 2 hours".

    Raises:
        ValueError: With the second half of a sentence that begins with the key.
    """
    found = _NOTATION.fullmatch(str(value).strip())
    most, seconds = 0, 0
    if found:
        most, seconds = int(found[1]), int(found[2] or 1) * _UNITS[found[3].lower()]
    if not (most and 0 < seconds <= _UNITS["day"]):
        raise ValueError("must be a rate such as 60/minute, over a day at most")
    return Rate(most, seconds)


class Charge(NamedTuple):
    """What one request takes of one window.

    Attributes:
        key: The window: of an account and of what is counted.
        rate: What there may be.
        amount: What it takes.
    """

    key: str
    rate: Rate
    amount: int


class Refused(Exception):  # noqa: N818  # says what happened; nothing is wrong
    """There is no room.

    Attributes:
        key: In which window.
        seconds: Until there is room; infinite if there never is.
    """

    def __init__(self, key: str, seconds: float) -> None:
        super().__init__(key, seconds)
        self.key, self.seconds = key, seconds


def width_of(rate: Rate) -> float:
    """Return the seconds of one bucket."""
    return rate.seconds / BUCKETS


def wait_for(charge: Charge, counted: Mapping[int, int], now: float) -> float:
    """Return the seconds until there is room; 0 if there is some, infinite for never.

    Args:
        charge: What is to be taken.
        counted: What was taken, by the number of the bucket.
        now: The time.
    """
    rate = charge.rate
    if charge.amount > rate.most:
        return math.inf
    used, until = sum(counted.values()), now
    for bucket in sorted(counted):
        if used + charge.amount <= rate.most:
            break
        used -= counted[bucket]
        until = gone_at(bucket, rate)
    return max(0.0, until - now)


def gone_at(bucket: int, rate: Rate) -> float:
    """Return when a bucket is no part of the window any more."""
    return (bucket + 1) * width_of(rate) + rate.seconds


def bucket_of(rate: Rate, now: float) -> int:
    """Return the number of the bucket of a time."""
    return int(now // width_of(rate))


class Counters(ABC):
    """Counts what was taken of windows. Used by many threads at once."""

    @abstractmethod
    def take(self, charges: Sequence[Charge]) -> list[int]:
        """Take from several windows, or from none.

        Returns:
            The bucket in each, for `correct`.

        Raises:
            Refused: One of them has no room.
        """

    @abstractmethod
    def correct(self, charge: Charge, bucket: int, more: int) -> None:
        """Add to what was taken, or give some of it back.

        Args:
            charge: What was taken.
            bucket: Where, as `take` has returned it.
            more: How much more it was; negative if it was less.
        """

    @abstractmethod
    def used(self, key: str, rate: Rate) -> int:
        """Return what was taken of a window."""


class MemoryCounters(Counters):
    """Counters of one process; a forked one counts anew.

    Args:
        clock: Where the time is read.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._counted: PerProcess[dict[str, dict[int, int]]] = PerProcess(dict)
        self._lock = PerProcess(lambda: threading.Lock())  # noqa: PLW0108  # gevent's

    def take(self, charges: Sequence[Charge]) -> list[int]:
        """Take from several windows, or from none."""
        now, known = self._clock.time(), self._counted.get()
        with self._lock.get():
            for each in charges:
                counted = known.setdefault(each.key, {})
                for bucket in [b for b in counted if gone_at(b, each.rate) <= now]:
                    del counted[bucket]
                if wait := wait_for(each, counted, now):
                    raise Refused(each.key, wait)
            for each in charges:
                counted, bucket = known[each.key], bucket_of(each.rate, now)
                counted[bucket] = counted.get(bucket, 0) + each.amount
        return [bucket_of(each.rate, now) for each in charges]

    def correct(self, charge: Charge, bucket: int, more: int) -> None:
        """Add to what was taken, or give some of it back."""
        with self._lock.get():
            counted = self._counted.get().setdefault(charge.key, {})
            if bucket in counted:
                counted[bucket] = max(0, counted[bucket] + more)

    def used(self, key: str, rate: Rate) -> int:
        """Return what was taken of a window."""
        now = self._clock.time()
        with self._lock.get():
            counted = self._counted.get().get(key, {})
            return sum(counted[b] for b in counted if gone_at(b, rate) > now)


_DOWN = "The %s store of limits does not answer (%s): each process counts for itself"


class SharedCounters(Counters):
    """Counters in a store; while that does not answer each process counts for itself.

    Args:
        store: Where they are.
        name: What it is called in the log.
        clock: Where the time of this process is read.
    """

    def __init__(self, store: Counters, name: str, clock: Clock = SYSTEM) -> None:
        self._store = store
        self._name = name
        self._own = MemoryCounters(clock)
        self._is_down = PerProcess(threading.Event)

    def take(self, charges: Sequence[Charge]) -> list[int]:
        """Take from several windows, or from none."""
        return self._asked(lambda one: one.take(charges))

    def correct(self, charge: Charge, bucket: int, more: int) -> None:
        """Add to what was taken, or give some of it back."""
        self._asked(lambda one: one.correct(charge, bucket, more))

    def used(self, key: str, rate: Rate) -> int:
        """Return what was taken of a window."""
        return self._asked(lambda one: one.used(key, rate))

    def _asked(self, ask: Callable[[Counters], T]) -> T:
        down = self._is_down.get()
        try:
            answer = ask(self._store)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001  # drivers raise what they like
            let_through(error)
            if not down.is_set():
                down.set()
                log.warning(_DOWN, self._name, type(error).__name__)
            return ask(self._own)
        if down.is_set():
            down.clear()
            log.warning("The %s store of limits answers again", self._name)
        return answer
