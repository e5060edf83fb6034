"""The circuit breakers of the chain, and the report of its status."""

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import CoolingDownError, ProviderError, UnavailableError
from ..resilience.circuit_breaker import (
    CLOSED,
    BreakerPolicy,
    Circuit,
    State,
    without_rest,
)
from ..resilience.clock import Clock, PerProcess
from ..resilience.storage.base import Storage
from ..signals import CircuitChanged, circuit_changed, emit
from .logs import log_line
from .provider_handle import ProviderHandle

ON_TRIAL = "on trial by another call"
"""Why a provider is left out that may be well again: one call is finding out."""

# How often who waits for another process's trial looks at the store.
_LOOK_S = 0.1

# What a probe may take beyond its longest time before its process is taken for dead.
_LEASE_MORE_S = 5.0


class CircuitBreakers:
    """Keeps the circuits of a chain. Holds no lock around a call.

    Args:
        handles: The chain.
        store: Where the circuits are.
        policy: When a circuit opens, and for how long.
        clock: Where the time is read.
        sender: Sender of the signal `circuit_changed`.
    """

    def __init__(
        self,
        handles: Sequence[ProviderHandle],
        store: Storage,
        policy: BreakerPolicy,
        clock: Clock,
        sender: object = None,
    ) -> None:
        self._sender = sender
        self._names = [each.name for each in handles]
        self._keys = [each.circuit_key for each in handles]
        self._store = store
        self._policy = policy
        self._clock = clock
        # Of those who wait for the end of a trial in this process.
        self._waiting: list[threading.Lock] = []
        # The providers that calls of this process try.
        self._trials: PerProcess[set[str]] = PerProcess(set)

    def snapshot(self) -> dict[str, Circuit]:
        """Return the circuit of each provider by its name, in one look at the store."""
        return dict(zip(self._names, self._store.read(self._keys), strict=True))

    def state(self, circuit: Circuit) -> State:
        """Return whether a provider may be asked now."""
        if not circuit.until:
            return State.CLOSED
        return self._policy.state(circuit, self._clock.time())

    def is_tried(self, handle: ProviderHandle, circuit: Circuit) -> bool:
        """Return whether another call is finding out if a provider is well again.

        While the store does not answer, nobody hears how another process's trial ends.
        """
        if not circuit.is_tried(self._clock.time()):
            return False
        return handle.name in self._trials.get() or self._store.is_up

    def circuit(self, handle: ProviderHandle) -> Circuit:
        """Return a provider's circuit, as all who share the store see it now."""
        (circuit,) = self._store.look([handle.circuit_key])
        return circuit

    def error_of(self, handle: ProviderHandle, circuit: Circuit) -> CoolingDownError:
        """Return why a provider is not asked, and when it will be."""
        now = self._clock.time()
        if circuit.trial and not circuit.rests(now):
            return CoolingDownError(reason=ON_TRIAL, provider=handle.name)
        until = circuit.until if circuit.rests(now) else circuit.probe_until
        seconds = max(1, math.ceil(until - now))
        return CoolingDownError(
            reason=f"cooling down after {circuit.reason}, retry after {seconds} s",
            provider=handle.name,
            retry_after=float(seconds),
        )

    def advises_against(
        self, handle: ProviderHandle, failures: int, wait: float
    ) -> bool:
        """Return whether asking again would ignore what is known of a provider.

        Its circuit is open as it asked for; or others have opened its circuit, for
        this call's own failures are what its retry policy allows.

        Args:
            handle: Who was asked.
            failures: This call's own failures there.
            wait: Seconds until it would be asked.
        """
        (circuit,) = self._store.read([handle.circuit_key])
        if circuit.told:
            return circuit.rests(self._clock.time() + wait)
        return circuit.until > 0 and failures < self._policy.failures

    def after_trial(
        self,
        handle: ProviderHandle,
        patience: float,
        is_gone: Callable[[], bool],
    ) -> Circuit:
        """Return a provider's circuit when nobody tries it any more, or time is up.

        Args:
            handle: The provider.
            patience: The most seconds to wait.
            is_gone: Tells whether nobody wants to know any more.
        """
        end = self._clock.monotonic() + patience
        signal = threading.Lock()  # through the module: gevent patches it
        signal.acquire()
        self._waiting.append(signal)
        try:
            while True:
                circuit = self.circuit(handle)
                left = end - self._clock.monotonic()
                if not self.is_tried(handle, circuit) or left <= 0 or is_gone():
                    return circuit
                self._clock.wait(signal, min(left, _LOOK_S))
        finally:
            self._waiting.remove(signal)

    def _ended(self, handle: ProviderHandle) -> None:
        """Let those look who wait for the end of a trial."""
        self._trials.get().discard(handle.name)
        for each in tuple(self._waiting):
            with contextlib.suppress(RuntimeError):  # it was released already
                each.release()

    def acquire_probe(self, handle: ProviderHandle) -> Circuit | None:
        """Return the circuit that this caller may probe; None if it may not.

        One at a time may. The circuit may have opened again since the caller looked:
        what it is now is what an answer closes.
        """
        now = self._clock.time()
        lease = handle.longest_attempt + _LEASE_MORE_S
        claim: Circuit | None = None

        def change(circuit: Circuit) -> Circuit:
            nonlocal claim
            claim = self._policy.claimed(circuit, now, lease)
            return claim or circuit

        self._store.decide(handle.circuit_key, change)
        if claim is not None:
            self._trials.get().add(handle.name)
        return claim

    def release_probe(self, handle: ProviderHandle, *, asked: bool) -> None:
        """Let others probe, for this probe has shown nothing.

        Args:
            handle: Who was to be probed.
            asked: Whether it was; then others wait a little.
        """
        now = self._clock.time()
        self._store.update(
            handle.circuit_key,
            lambda circuit: self._policy.released(circuit, now, asked=asked),
        )
        self._ended(handle)

    def failed(self, handle: ProviderHandle, error: ProviderError) -> Circuit:
        """Note a failure that counts against the provider; log if its circuit opens."""
        now = self._clock.time()
        before = CLOSED

        def change(circuit: Circuit) -> Circuit:
            nonlocal before
            before = circuit
            return self._policy.failed(circuit, error, now)

        after = self._store.update(handle.circuit_key, change)
        self._ended(handle)
        if before.until <= now < after.until:
            _tell(handle, error, after.until - now, news=not before.until)
            known = (after.until, error.kind, error.summary, error.status)
            self._changed(handle, now, *known)
        return after

    def succeeded(self, handle: ProviderHandle, seen: Circuit) -> None:
        """Close the circuit.

        Args:
            handle: Who answered.
            seen: What was known before; nothing is written if that was nothing.
        """
        if seen is CLOSED or seen == CLOSED:
            return
        self._close(handle, seen, lambda _: CLOSED)

    def begun(self, handle: ProviderHandle, seen: Circuit) -> Circuit:
        """Close the circuit of a provider that has begun to answer, and return it.

        The failures before stay counted until the answer is whole: if it breaks off
        the provider is left alone again.

        Args:
            handle: Who answers.
            seen: What was known before.
        """
        return self._close(handle, seen, without_rest)

    def _close(
        self,
        handle: ProviderHandle,
        seen: Circuit,
        closed: Callable[[Circuit], Circuit],
    ) -> Circuit:
        is_closed = False

        def change(now: Circuit) -> Circuit:
            nonlocal is_closed
            # One that opened since then stays open: the answer was under way before.
            is_closed = now.until == seen.until
            return closed(now) if is_closed else now

        after = self._store.update(handle.circuit_key, change)
        self._ended(handle)
        if seen.until and is_closed:
            log_line(logging.INFO, "%s answers again", handle.name, **_who(handle))
            self._changed(handle, self._clock.time())
        return after

    def reset(self, handle: ProviderHandle) -> None:
        """Close the circuit, whatever is known, where all who share the store see it.

        Raises:
            OSError: The shared store does not answer; only this process knows it.
        """
        before = CLOSED

        def change(circuit: Circuit) -> Circuit:
            nonlocal before
            before = circuit
            return CLOSED

        try:
            self._store.settle(handle.circuit_key, change)
        finally:
            self._ended(handle)
            if before.until:
                line = "%s no longer rests: its circuit was reset"
                log_line(logging.INFO, line, handle.name, **_who(handle))
                self._changed(handle, self._clock.time())

    def _changed(self, handle: ProviderHandle, at: float, *known: Any) -> None:
        emit(circuit_changed, self._sender, CircuitChanged(handle.name, at, *known))


def _tell(
    handle: ProviderHandle, error: ProviderError, cooldown: float, *, news: bool
) -> None:
    """Log an open circuit: loudly once if for long, until the provider answers."""
    level = logging.WARNING
    # A refused key is told as an error by other lines already.
    if error.cooldown and error.severity < logging.ERROR:
        level = logging.ERROR if news else logging.DEBUG
    what = error.summary + (f", {error.meaning}" if error.meaning else "")
    words = (handle.name, round(cooldown, 1), what)
    fields = {**_who(handle), "kind": error.kind, "wait_s": cooldown}
    log_line(level, "%s cooling down for %g s after %s", *words, **fields)


def _who(handle: ProviderHandle) -> dict[str, str | None]:
    return {"provider": handle.name, "model": handle.model_name}


def plain(handle: ProviderHandle) -> dict[str, Any]:
    """Return the documented two keys: the name, and whether it could be asked."""
    return {"name": handle.name, "available": handle.unavailable() is None}


def detailed(
    handle: ProviderHandle, breakers: CircuitBreakers, circuit: Circuit
) -> dict[str, Any]:
    """Return all that is known of a provider without asking it.

    Args:
        handle: The provider.
        breakers: Knows whether its circuit is open.
        circuit: Its circuit.
    """
    error = handle.unavailable()
    shown = {
        "name": handle.name,
        "available": error is None,
        "reason": None,
        "model": handle.model_name,
        "state": State.CLOSED.value,
        "until": None,
        "advice": None,
        "kind": None,
        "status": None,
    }
    if error:
        return shown | _unavailable(error)
    state = breakers.state(circuit)
    if state is State.CLOSED:
        return shown
    is_open = state is State.OPEN
    return shown | {
        "reason": breakers.error_of(handle, circuit).summary
        if is_open
        else _back(circuit, on_trial=breakers.is_tried(handle, circuit)),
        "state": state.value,
        "until": circuit.until if is_open else None,
        "advice": circuit.advice or None,
        "kind": circuit.kind or None,
        "status": circuit.status or None,
    }


def _unavailable(error: UnavailableError) -> dict[str, Any]:
    return {
        "reason": error.summary,
        "state": "unavailable",
        "advice": error.advice or None,
        "kind": error.kind,
    }


def _back(circuit: Circuit, *, on_trial: bool) -> str:
    """Return what is known of a provider whose cooldown is over."""
    if on_trial:
        return ON_TRIAL
    return f"rested after {circuit.reason}; the next call tries it"
