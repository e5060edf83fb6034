"""The signals, and the record that each sends.

A receiver is called as ``receiver(sender, event=record)``. The sender is the Flask app,
or the `LLMFactory` where there is no app. A receiver that fails is logged and does not
disturb the call; one that takes more than a second is logged and left out for a minute,
or for as long as it hangs.
One that is defined inside a function needs ``connect(…, weak=False)``.

The records hold the prompt and the answer: take care where you write them.
"""

import logging
import os
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from blinker import NamedSignal, Namespace

from .types import Attempt, LLMResponse, Request

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


log = logging.getLogger("flask_llm")

SLOW_S = 1.0
"""Seconds that a receiver may take."""

ASIDE_S = 60.0
"""Seconds for which one that takes longer is left out."""

_signals = Namespace()
R = TypeVar("R", bound=Callable[..., Any])

_aside = Aside()
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork either
    os.register_at_fork(after_in_child=_aside.forget_runs)


class GenerationStarted(NamedTuple):
    """A call of `generate_content` or `stream_content` begins.

    Attributes:
        request: What is asked, before any filter; its `origin` has the call's number,
            purpose and time, as has each `request` of these records.
    """

    request: Request


class AttemptStarted(NamedTuple):
    """One provider is about to be asked; an `AttemptMade` follows.

    Of a stream it follows when the stream has ended; of one that is only forgotten,
    and never closed, it does not. A context variable that a receiver sets has its
    value for this attempt only, also in the thread that makes it.

    Attributes:
        request: What is asked.
        provider: Chain entry.
        model: The model that is asked; None if that is not known.
        streamed: Whether the answer is to come piece by piece.
    """

    request: Request
    provider: str
    model: str | None
    streamed: bool = False


class AttemptMade(NamedTuple):
    """One provider was asked once.

    Attributes:
        request: What was asked.
        attempt: Who was asked, how it ended and how long it took.
    """

    request: Request
    attempt: Attempt


class RetryScheduled(NamedTuple):
    """The same provider will be asked again.

    Attributes:
        provider: Chain entry.
        kind: Error kind of the failure.
        reason: The same in a few words.
        failures: Failures of this provider so far in this call.
        wait_s: Seconds to wait first.
        request: What is asked.
    """

    provider: str
    kind: str
    reason: str
    failures: int
    wait_s: float
    request: Request


class ProviderSwitched(NamedTuple):
    """The chain moves on.

    Attributes:
        provider: Chain entry left behind.
        next_provider: Chain entry asked next.
        kind: Error kind that made the chain move.
        reason: The same in a few words.
        request: What is asked.
    """

    provider: str
    next_provider: str
    kind: str
    reason: str
    request: Request


class CircuitChanged(NamedTuple):
    """A provider rests from now on, or rests for longer; or it answers again.

    Sent by the process that has seen it, also if a store shares the rest with others.

    Attributes:
        provider: Chain entry.
        at: When that was, in seconds since 1970.
        until: When its rest ends; None if it has answered, or its circuit was reset.
        kind: Error kind that made it rest; None if it does not.
        reason: The same in a few words; None if it does not.
        status: HTTP status of that failure, if there was one.
    """

    provider: str
    at: float
    until: float | None = None
    kind: str | None = None
    reason: str | None = None
    status: int | None = None


class GenerationFinished(NamedTuple):
    """A call of `generate_content` or `stream_content` is over.

    Attributes:
        request: What was asked.
        response: What the caller gets.
        reason: Why no provider was asked, in our own words; None if one was.
    """

    request: Request
    response: LLMResponse
    reason: str | None = None


generation_started = _signals.signal(
    "generation-started", "Sent with a `GenerationStarted`."
)
attempt_started = _signals.signal("attempt-started", "Sent with an `AttemptStarted`.")
attempt_made = _signals.signal("attempt-made", "Sent with an `AttemptMade`.")
retry_scheduled = _signals.signal("retry-scheduled", "Sent with a `RetryScheduled`.")
provider_switched = _signals.signal(
    "provider-switched", "Sent with a `ProviderSwitched`."
)
circuit_changed = _signals.signal("circuit-changed", "Sent with a `CircuitChanged`.")
generation_finished = _signals.signal(
    "generation-finished", "Sent with a `GenerationFinished`."
)


def lossless(receiver: R) -> R:
    """Mark a receiver, or a method, that must hear everything, however long it takes.

    Such as one that counts, and is quick unless the whole machine stands still.
    """
    receiver.lossless = True  # type: ignore[attr-defined]  # read by `emit`
    return receiver


def emit(signal: NamedSignal, sender: object, event: object) -> None:
    """Send `event` to every receiver; a failing receiver is logged, never raised.

    One that is slow is left out for a while: if it hangs, as on a database that is
    gone, the callers of its first second wait for it, and then nobody else.

    Args:
        signal: One of the signals of this module.
        sender: The Flask app, or the factory.
        event: The signal's record.
    """
    if signal.is_muted:
        return
    for receiver in signal.receivers_for(sender):
        if getattr(receiver, "lossless", False):
            _call(receiver, signal, sender, event)
        elif not _is_left_out(receiver, signal):
            _timed(receiver, signal, sender, event)


def _call(
    receiver: Callable[..., Any], signal: NamedSignal, sender: object, event: object
) -> None:
    try:
        receiver(sender, event=event)
    except Exception:
        log.exception("A receiver of the signal %s failed", signal.name)


def _timed(
    receiver: Callable[..., Any], signal: NamedSignal, sender: object, event: object
) -> None:
    """Call a receiver; leave it out for a while if it takes long."""
    began = monotonic()
    run = _aside.began(receiver, began)
    try:
        _call(receiver, signal, sender, event)
    finally:
        _aside.ended(run)
    took = monotonic() - began
    if took > SLOW_S:
        _leave_out(receiver, signal, f"took {took:.1f} s")


def _is_left_out(receiver: Callable[..., Any], signal: NamedSignal) -> bool:
    if _aside.holds(receiver):
        return True
    if not _aside.hangs(receiver, SLOW_S):
        return False
    # Told once a minute, by whoever comes first.
    _leave_out(receiver, signal, f"has been called for {SLOW_S:g} s")
    return True


def _leave_out(receiver: Callable[..., Any], signal: NamedSignal, why: str) -> None:
    _aside.put(receiver, ASIDE_S)
    line = "A receiver of the signal %s %s, left out for %g s: %s"
    log.warning(line, signal.name, why, ASIDE_S, _name(receiver))


def _name(receiver: Callable[..., Any]) -> str:
    named = receiver if hasattr(receiver, "__qualname__") else type(receiver)
    return f"{named.__module__}.{named.__qualname__}"
