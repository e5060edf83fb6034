"""How long to wait before asking the same provider again. Arithmetic; never sleeps."""

from dataclasses import dataclass

from .errors import ProviderError
from .types import require

# Beyond this the doubling is over any sensible cap; 2.0 ** 1024 would overflow.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff on one provider, as the documents describe it.

    Attributes:
        max_attempts: The most attempts on one provider; 0 and 1 both mean one.
        delay: Seconds of the first wait; each further one doubles.
        max_delay: The longest wait in seconds.

    Raises:
        TypeError: An argument is no number.
    """

    max_attempts: int = 5
    delay: float = 5.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        require("max_retries", self.max_attempts, int)
        require("retry_delay", self.delay, int, float)

    def wait(self, error: ProviderError, failures: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None to move on.

        Args:
            error: The latest failure.
            failures: Failures of this provider so far in this call, at least 1.
        """
        if not error.retryable or failures >= self.max_attempts:
            return None
        growth = 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        if self.delay > self.max_delay / growth:
            return self.max_delay
        return max(0.0, self.delay * growth)
