"""Receivers of signals that have taken too long, and are left out for a while."""

import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

_Key = tuple[int, int]


class Aside:
    """Receivers that are not called for now. Safe for several threads.

    Keeps no function or object alive, and takes none for another in its place.
    """

    def __init__(self) -> None:
        # A WeakKeyDictionary would need receivers that can be hashed, and would forget
        # a method at once: each look at one makes another object.
        self._until: dict[_Key, tuple[float, Callable[[], object]]] = {}

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
