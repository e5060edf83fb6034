"""A clock for tests in which somebody is silent for real."""

from collections.abc import Callable

from flask_llm.resilience.clock import Signal, SystemClock

_GLANCE_S = 0.01


class HastyClock(SystemClock):
    """The machine's clock, on which a silence that is meant need not be waited out.

    So a limit can be so long that no busy machine passes it.

    Attributes:
        is_meant: Tells whether who is waited for will say nothing more. The first wait
            that ends so is the last.
        given_up: How long each wait could have been that was not waited out.
    """

    def __init__(self) -> None:
        self.is_meant: Callable[[], bool] = bool
        self.given_up: list[float] = []

    def wait(self, signal: Signal, seconds: float, /) -> bool:
        end = self.monotonic() + seconds
        while not signal.acquire(timeout=_GLANCE_S):
            if self.is_meant():
                self.is_meant = bool
                self.given_up.append(seconds)
                return False
            if self.monotonic() > end:
                return False
        return True
