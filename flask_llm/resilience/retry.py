"""How long to wait before asking the same provider again. Arithmetic; never sleeps."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import ProviderError
from ..types import require

# Beyond this the doubling is over any sensible cap; 2.0 ** 1024 would overflow.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff on one provider; as it is, the one of the documents.

    Attributes:
        max_attempts: The most attempts on one provider; 0 and 1 both mean one.
        delay: Seconds of the first wait; each further one doubles.
        max_delay: The longest wait in seconds.
        jitter: The part of each wait that is left to chance, from 0 to 1, so that
            callers who failed together do not come back together.
        max_retry_after: The longest Retry-After in seconds that is waited out, once,
            instead of moving on. 0 for never: then the header is not heeded here.
        retry_timeouts: Whether a provider that was silent is asked again.

    Raises:
        TypeError: An argument is no number.
    """

    max_attempts: int = 5
    delay: float = 5.0
    max_delay: float = 60.0
    jitter: float = 0.0
    max_retry_after: float = 0.0
    retry_timeouts: bool = True

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int:
            require("max_retries", self.max_attempts, int)
        if type(self.delay) is not float:
            require("retry_delay", self.delay, int, float)

    def wait(
        self,
        error: ProviderError,
        failures: int,
        chance: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to move on.

        Args:
            error: The latest failure.
            failures: Failures of this provider so far in this call, at least 1.
            chance: Returns a number from 0 to 1.
        """
        if failures >= self.max_attempts:
            return None
        if error.at_once:
            return 0.0
        if self._heeds(error):
            asked_for = error.retry_after or 0.0
            short = asked_for <= self.max_retry_after and failures == 1
            return asked_for if short else None
        if not error.retryable or (error.silent and not self.retry_timeouts):
            return None
        return self._backoff(failures) * (1 - self.jitter * chance())

    def _heeds(self, error: ProviderError) -> bool:
        """Return whether the provider's own wish decides."""
        passing = error.trips and not error.cooldown
        return bool(error.retry_after and self.max_retry_after and passing)

    def _backoff(self, failures: int) -> float:
        growth = 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        if self.delay > self.max_delay / growth:
            return self.max_delay
        return max(0.0, self.delay * growth)


ONCE = RetryPolicy(max_attempts=1)
"""For a probe: one attempt and no wait."""


class StreamLimits(NamedTuple):
    """How long a stream may be silent, whatever it sends besides text.

    Attributes:
        first_token: Seconds until its first text; None for the provider's timeout.
        stall: Seconds between two texts; None for the provider's timeout.
    """

    first_token: float | None = None
    stall: float | None = None


class Preset(NamedTuple):
    """The numbers that belong together for one kind of work.

    Attributes:
        retry: How long to insist on one provider.
        deadline: Seconds for a whole call; None for no limit.
        limits: How long a stream may be silent.
    """

    retry: RetryPolicy
    deadline: float | None
    limits: StreamLimits


PRESETS = {
    "patient": Preset(RetryPolicy(), None, StreamLimits()),
    "web": Preset(
        RetryPolicy(
            max_attempts=2,
            delay=0.25,
            max_delay=3.0,
            jitter=0.5,
            max_retry_after=3.0,
            retry_timeouts=False,
        ),
        25.0,
        StreamLimits(first_token=10.0, stall=10.0),
    ),
}
"""By name: `patient` for background work, `web` for code inside a request."""
