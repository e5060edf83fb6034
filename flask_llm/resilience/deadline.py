"""The time that a call has, over attempts, waits and fallbacks."""

import math

from .clock import Clock

# With less than this left nobody can answer any more.
_TOO_LATE_S = 0.005

# Time enough for most answers: a provider that was silent for so long is to blame.
_FAIR_S = 5.0


class Deadline:
    """A moment by which the caller has an answer.

    Args:
        seconds: From now; None for a call that may take as long as it takes.
        clock: Where time is read.
        hurried: Whether the caller has less patience than the app is configured for.

    Attributes:
        has_cut: Whether it has kept the latest provider from another attempt.
    """

    __slots__ = ("_clock", "_end", "_hurried", "has_cut", "seconds")

    def __init__(
        self, seconds: float | None, clock: Clock, *, hurried: bool = False
    ) -> None:
        self.seconds = seconds
        self.has_cut = False
        self._clock = clock
        self._hurried = hurried
        self._end = math.inf if seconds is None else clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that remain, not below 0; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return max(0.0, self._end - self._clock.monotonic())

    def allows(self, wait: float) -> bool:
        """Return whether there would be time for an attempt after a wait in seconds."""
        allowed = self.left() - wait >= _TOO_LATE_S
        self.has_cut |= not allowed
        return allowed

    def is_over(self) -> bool:
        """Return whether there is no time left to ask anybody."""
        return self.seconds is not None and not self.allows(0.0)

    def share(self, followers: int) -> float:
        """Return the seconds that one attempt may take.

        Two parts for it, one part for each provider that may have to answer in its
        place: two thirds of what remains with one fallback, half with two.

        Args:
            followers: Providers of the chain that could still be asked afterwards.
        """
        return self.left() * 2 / (2 + followers)

    def is_fair(self, limit: float | None, timeout: float, *, hurried: bool) -> bool:
        """Return whether a provider that was silent for so long is to blame.

        Args:
            limit: Seconds that the attempt had; None for as long as it took.
            timeout: Seconds that the provider has when nobody is in a hurry.
            hurried: Whether the attempt had less time than it might have had.
        """
        if limit is None or not (hurried or self._hurried):
            return True
        return limit >= min(timeout / 2, _FAIR_S)
