"""Two calls, timed side by side: what does the second one cost more?

Other work on a machine slows both for a while, so they take turns in small batches, and
what counts is the median of the differences within each round.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import NamedTuple

Call = Callable[[], object]


class Plan(NamedTuple):
    """How often to call.

    Attributes:
        rounds: Rounds that count; each has a batch of one call and one of the other.
        batch: Calls in a batch.
        warm_up: Rounds before them, which do not count.
    """

    rounds: int
    batch: int
    warm_up: int = 3


class Spread(NamedTuple):
    """The median of some figures, and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Return the spread of at least two figures."""
        low, middle, high = quantiles(figures, n=4, method="inclusive")
        return cls(low, middle, high)


class Batch(NamedTuple):
    """Seconds per call: on the clock, and of this process on any CPU."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Paired:
    """The batches of both calls, round by round.

    Attributes:
        base: What ours is compared with.
        ours: What is measured.
    """

    base: Sequence[Batch]
    ours: Sequence[Batch]

    @property
    def added(self) -> Spread:
        """Seconds that ours takes more per call, on the clock."""
        return Spread.of(
            [b.wall - a.wall for a, b in zip(self.base, self.ours, strict=True)]
        )

    @property
    def added_cpu(self) -> float:
        """Seconds of CPU that ours takes more per call, in the middle."""
        return median(b.cpu - a.cpu for a, b in zip(self.base, self.ours, strict=True))

    @property
    def slower(self) -> Spread:
        """The part of the calls per second that ours falls behind."""
        return Spread.of(
            [1 - a.wall / b.wall for a, b in zip(self.base, self.ours, strict=True)]
        )

    @property
    def walls(self) -> tuple[float, float]:
        """Seconds per call of both, in the middle."""
        return median(each.wall for each in self.base), median(
            each.wall for each in self.ours
        )


def paired(base: Call, ours: Call, plan: Plan) -> Paired:
    """Time two calls in turns.

    The garbage collector stays on; each starts with its garbage gone. Every other
    round begins with ours, so that neither profits from its place.

    Args:
        base: What ours is compared with.
        ours: What is measured.
        plan: How often to call them.
    """
    calls = base, ours
    batches: tuple[list[Batch], list[Batch]] = [], []
    gc.collect()
    for number in range(plan.warm_up + plan.rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            batch = _timed(calls[side], plan.batch)
            if number >= plan.warm_up:
                batches[side].append(batch)
    return Paired(*batches)


def _timed(call: Call, times: int) -> Batch:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Batch(wall / times, cpu / times)
