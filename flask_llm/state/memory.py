"""Circuits in the process: the default, and what the other stores fall back on."""

import threading
from collections.abc import Sequence

from ..resilience.circuit_breaker import CLOSED, Circuit
from ..resilience.clock import SYSTEM, Clock
from ..process import PerProcess
from ..resilience.storage.base import Change, Store, unless_stale

class MemoryStore(Store):
    """Circuits in a dict. A forked process goes on with a copy of its own.

    Args:
        clock: Says when circuits are stale.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        # Another thread may hold the lock during a fork: the child makes its own.
        self._lock = PerProcess(_lock)

    def kept(self) -> list[str]:
        """Return the keys of what is kept."""
        return list(self._circuits)

    def read(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys; needs no lock."""
        if not self._circuits:
            return [CLOSED] * len(keys)
        now = self._clock.time()
        return [unless_stale(self._circuits.get(key, CLOSED), now) for key in keys]

    def update(self, key: str, change: Change) -> Circuit:
        """Change one circuit."""
        with self._lock.get():
            known = self._circuits.get(key, CLOSED)
            circuit = change(unless_stale(known, self._clock.time()))
            if circuit == CLOSED:
                self._circuits.pop(key, None)
            else:
                self._circuits[key] = circuit
        return circuit


def _lock() -> threading.Lock:
    return threading.Lock()  # through the module: gevent patches it after our import
