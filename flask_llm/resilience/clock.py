"""Time as it can be injected, and values that each process has of its own."""

import os
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


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

    What gevent or tests patch after this file was imported goes through the module.
    """

    monotonic = staticmethod(time.monotonic)

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


T = TypeVar("T")


# The number of this process: cheaper than to ask the system in each call.
_process = [os.getpid()]


def _note_process() -> None:
    _process[0] = os.getpid()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(after_in_child=_note_process)


class PerProcess(Generic[T]):
    """An object made on first use, once in each process.

    A client used before `fork` shares its sockets with the child, which can then read
    another process's answer. So the child makes its own, and the inherited one is kept
    untouched: collecting it might close what the parent still uses.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's object."""
        pid = _process[0]
        try:
            return self._made[pid]
        except KeyError:
            # Two threads may both make one; the first to store it wins. A lock would
            # have to survive fork and gevent's patching.
            return self._made.setdefault(pid, self._make())

    def made(self) -> T | None:
        """Return this process's object if there is one already."""
        return self._made.get(_process[0])
