"""Objects that belong to one process."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


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
        pid = os.getpid()
        try:
            return self._made[pid]
        except KeyError:
            # Two threads may both make one; the first to store it wins. A lock would
            # have to survive fork and gevent's patching.
            return self._made.setdefault(pid, self._make())

    def made(self) -> T | None:
        """Return this process's object if there is one already."""
        return self._made.get(os.getpid())
