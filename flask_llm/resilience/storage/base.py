"""What a storage is, and the one in memory."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from uuid import uuid4

from ..circuit_breaker import CLOSED, Circuit
from ..clock import SYSTEM, Clock, PerProcess

Change = Callable[[Circuit], Circuit]
"""Makes the new circuit out of the stored one. Pure: it may be called again."""


class Storage(ABC):
    """Keeps one `Circuit` under each key. Used by many threads at once.

    A key that is not there is a closed circuit, and a closed circuit is not kept.
    """

    @abstractmethod
    def read(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys, in their order."""

    def look(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the same as all who share the store see it now."""
        return self.read(keys)

    @property
    def is_up(self) -> bool:
        """Whether what others do is known here at the moment."""
        return True

    @abstractmethod
    def update(self, key: str, change: Change) -> Circuit:
        """Change one circuit atomically, over all who share the store.

        Returns:
            What is stored now.
        """

    def decide(self, key: str, change: Change) -> Circuit:
        """Change one circuit where only one of all who share the store may win.

        A store in front of another one waits for that one here, and only here does
        the last call of `change` count, so a closure may note whether it won.

        Returns:
            What is stored now.
        """
        return self.update(key, change)

    def settle(self, key: str, change: Change) -> Circuit:
        """Change one circuit where all see it, even if that takes a second.

        Returns:
            What is stored now.

        Raises:
            OSError: A store that others share does not answer; the circuit is changed
                here only.
        """
        return self.update(key, change)

    def check(self) -> None:
        """Write, read and remove something harmless; raises what goes wrong.

        Raises:
            OSError: The store forgets.
        """
        key, mark = f"(check {uuid4()})", Circuit(since=time.time())
        self.update(key, lambda _: mark)
        if self.read([key]) != [mark]:
            raise OSError("it does not keep what is written")
        self.update(key, lambda _: CLOSED)


def unless_stale(circuit: Circuit, now: float) -> Circuit:
    """Return the circuit; a closed one as soon as stores may have forgotten it."""
    return CLOSED if circuit.stale_at() <= now else circuit


class MemoryStorage(Storage):
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
