"""The time that a call has, over attempts, waits and fallbacks."""

import math

from .clock import Clock


class Deadline:
    """A moment by which the caller has an answer.

    Args:
        seconds: From now; None for a call that may take as long as it takes.
        clock: Where time is read.
    """

    __slots__ = ("_clock", "_end", "seconds")

    def __init__(self, seconds: float | None, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = math.inf if seconds is None else clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that remain, not below 0; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return max(0.0, self._end - self._clock.monotonic())

    def share(self, followers: int) -> float:
        """Return the seconds that one attempt may take.

        Two parts for it, one part for each provider that may have to answer in its
        place: two thirds of what remains with one fallback, half with two.

        Args:
            followers: Providers of the chain that could still be asked afterwards.
        """
        return self.left() * 2 / (2 + followers)
