"""What a caller may set for one call, in place of what the app is configured for."""

from collections.abc import Sequence
from dataclasses import replace

from .resilience.clock import Clock
from .config.settings import LLMConfig
from .resilience.deadline import Deadline
from .resilience.retry import RetryPolicy
from .types import require

# Beyond this a deadline is none; threads cannot wait for much longer either.
_LONGEST_S = 86_400.0 * 30


def policy_of(
    config: LLMConfig, max_retries: int | None, retry_delay: float | None
) -> RetryPolicy:
    """Return when the same provider is asked again.

    Args:
        config: The app's settings.
        max_retries: The most attempts on one provider; None for the app's.
        retry_delay: Seconds of the first wait; None for the app's.

    Raises:
        TypeError: One is no number.
    """
    policy = config.retry
    if max_retries is not None:
        policy = replace(policy, max_attempts=max_retries)
    if retry_delay is not None:
        policy = replace(policy, delay=retry_delay)
    return policy


def deadline_of(config: LLMConfig, seconds: float | None, clock: Clock) -> Deadline:
    """Return the deadline of a call that begins now.

    Args:
        config: The app's settings.
        seconds: For the whole call; None for the app's, ``math.inf`` for no limit.
        clock: Where time is read.

    Raises:
        TypeError: It is no number.
    """
    usual = config.deadline
    if seconds is None:
        return Deadline(usual, clock)
    limit = _limit(seconds)
    hurried = limit is not None and (usual is None or limit < usual)
    return Deadline(limit, clock, hurried=hurried)


def stops_of(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the stop texts of an argument that may be a single one.

    Raises:
        TypeError: It is neither a text nor a list of texts.
    """
    require("stop", stop, str, list, tuple)
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _limit(deadline: float) -> float | None:
    """Return the seconds of a call's own deadline; None for no limit.

    What is left of a caller's time may be nothing: that is a deadline too.
    """
    require("deadline", deadline, int, float)
    if deadline != deadline:  # noqa: PLR0124  # nan; math.isnan() takes no long int
        raise TypeError("deadline must be a number of seconds, not nan")
    return None if deadline > _LONGEST_S else float(max(0.0, deadline))
