"""Receivers of signals that take too long, and are left out for a while."""

import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

_Key = tuple[int, int]
_Run = tuple[_Key, float]


class Aside:
    """Receivers that are not called for now. Safe for several threads.

    Keeps no function or object alive, and takes none for another in its place.
    """

    def __init__(self) -> None:
        # A WeakKeyDictionary would need receivers that can be hashed, and would forget
        # a method at once: each look at one makes another object.
        self._until: dict[_Key, tuple[float, Callable[[], object]]] = {}
        # The first run under way of each, no more: one look tells whether it hangs.
        self._runs: dict[_Key, _Run] = {}

    def put(self, receiver: Callable[..., Any], seconds: float) -> None:
        """Leave a receiver out for some seconds."""
        now = monotonic()
        for key, (until, _) in list(self._until.items()):
            if until <= now:
                self._until.pop(key, None)
        self._until[_key(receiver)] = now + seconds, _reference(receiver)

    def holds(self, receiver: Callable[..., Any]) -> bool:
        """Return whether a receiver is left out."""
        if not self._until:
            return False
        until, owner = self._until.get(_key(receiver), _NEVER)
        return monotonic() < until and owner() is _owner(receiver)

    def began(self, receiver: Callable[..., Any], at: float) -> _Run:
        """Note that a receiver is called; to be handed to `ended`.

        Args:
            receiver: Who is called.
            at: When that is, by `time.monotonic`.
        """
        run = _key(receiver), at
        self._runs.setdefault(run[0], run)
        return run

    def ended(self, run: _Run) -> None:
        """Note that a receiver has returned, or failed."""
        if self._runs.get(run[0]) is run:
            self._runs.pop(run[0], None)

    def hangs(self, receiver: Callable[..., Any], seconds: float) -> bool:
        """Return whether another caller has been waiting for it for so long."""
        if not self._runs:
            return False
        run = self._runs.get(_key(receiver))
        return run is not None and monotonic() - run[1] > seconds

    def forget_runs(self) -> None:
        """Forget who is called: in a child, where the threads of its parent are not."""
        self._runs.clear()


_NEVER = 0.0, lambda: None


def _owner(receiver: Callable[..., Any]) -> object:
    """Return the object that a method belongs to, else the receiver itself."""
    return getattr(receiver, "__self__", receiver)


def _key(receiver: Callable[..., Any]) -> _Key:
    return id(_owner(receiver)), id(getattr(receiver, "__func__", None))


def _reference(receiver: Callable[..., Any]) -> Callable[[], object]:
    owner = _owner(receiver)
    try:
        return weakref.ref(owner)
    except TypeError:  # one that blinker holds for good, too
        return lambda: owner
