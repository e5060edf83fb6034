"""Time, as the chain sees it; injected, so that tests need not wait."""

import time
from typing import Protocol

class Signal(Protocol):
    """A lock that somebody else releases."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002  # threading's own
        """Wait for it; return whether it came in time."""


class Clock(Protocol):
    """What the package needs to know of time."""

    def monotonic(self) -> float:
        """Return seconds from any fixed moment."""

    def time(self) -> float:
        """Return seconds since 1970: what processes and hosts agree on."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""

    def wait(self, signal: Signal, seconds: float, /) -> bool:
        """Wait for a signal; return whether it came in time."""


class SystemClock:
    """The machine's own time.

    Calls go through the module: gevent patches it after this file was imported.
    """

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)

    def wait(self, signal: Signal, seconds: float, /) -> bool:
        """Wait for a signal; return whether it came in time."""
        return signal.acquire(timeout=max(0.0, seconds))


SYSTEM = SystemClock()
"""The clock used unless another one is given."""
