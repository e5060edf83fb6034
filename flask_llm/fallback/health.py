"""The circuit breakers of the chain, and the report of its status."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from ..errors import CoolingDownError, ProviderError, UnavailableError
from ..resilience.circuit_breaker import CLOSED, BreakerPolicy, Circuit, State
from ..resilience.clock import Clock
from ..resilience.storage.base import Storage
from ..signals import CircuitChanged, circuit_changed, emit
from .logs import tell
from .provider_handle import ProviderHandle

# What a probe may take beyond its longest time before its process is taken for dead.
_LEASE_MORE_S = 5.0


class Breaker:
    """Keeps the circuits of a chain. Holds no lock around a call.

    Args:
        entries: The chain.
        store: Where the circuits are.
        policy: When a provider rests, and for how long.
        clock: Where the time is read.
        sender: Sender of the signal `circuit_changed`.
    """

    def __init__(
        self,
        entries: Sequence[ProviderHandle],
        store: Storage,
        policy: BreakerPolicy,
        clock: Clock,
        sender: object = None,
    ) -> None:
        self._sender = sender
        self._names = [each.name for each in entries]
        self._keys = [each.circuit_key for each in entries]
        self._store = store
        self._policy = policy
        self._clock = clock

    def look(self) -> dict[str, Circuit]:
        """Return the circuit of each entry by its name, in one look at the store."""
        return dict(zip(self._names, self._store.read(self._keys), strict=True))

    def state(self, circuit: Circuit) -> State:
        """Return whether a provider may be asked now."""
        if not circuit.until:
            return State.CLOSED
        return self._policy.state(circuit, self._clock.time())

    def resting(self, entry: ProviderHandle, circuit: Circuit) -> CoolingDownError:
        """Return why an entry is not asked, and when it will be."""
        left = max(circuit.until, circuit.probe_until) - self._clock.time()
        seconds = max(1, math.ceil(left))
        return CoolingDownError(
            reason=f"cooling down after {circuit.reason}, retry after {seconds} s",
            provider=entry.name,
            retry_after=float(seconds),
        )

    def advises_against(
        self, entry: ProviderHandle, failures: int, wait: float
    ) -> bool:
        """Return whether asking again would ignore what is known of a provider.

        It will still rest as it said itself; or others have opened its circuit, for
        this call's own failures are what its retry policy allows.

        Args:
            entry: Who was asked.
            failures: This call's own failures there.
            wait: Seconds until it would be asked.
        """
        (circuit,) = self._store.read([entry.circuit_key])
        if circuit.told:
            return circuit.rests(self._clock.time() + wait)
        return circuit.until > 0 and failures < self._policy.failures

    def rest_of(self, entry: ProviderHandle) -> CoolingDownError | None:
        """Return why an entry would not be asked now; None if it would be."""
        (circuit,) = self._store.read([entry.circuit_key])
        rests = self.state(circuit) is State.OPEN
        return self.resting(entry, circuit) if rests else None

    def claim(self, entry: ProviderHandle) -> bool:
        """Return whether this caller may make the probe; one at a time may."""
        now = self._clock.time()
        lease = entry.longest_attempt + _LEASE_MORE_S
        won = False

        def change(circuit: Circuit) -> Circuit:
            nonlocal won
            claimed = self._policy.claimed(circuit, now, lease)
            won = claimed is not None
            return claimed or circuit

        self._store.decide(entry.circuit_key, change)
        return won

    def release(self, entry: ProviderHandle, *, asked: bool) -> None:
        """Let others probe, for this probe has shown nothing.

        Args:
            entry: Who was to be probed.
            asked: Whether it was; then others wait a little.
        """
        now = self._clock.time()
        self._store.update(
            entry.circuit_key,
            lambda circuit: self._policy.released(circuit, now, asked=asked),
        )

    def failed(self, entry: ProviderHandle, error: ProviderError) -> Circuit:
        """Note a failure that counts against the provider; tell if it rests now."""
        now = self._clock.time()
        before = CLOSED

        def change(circuit: Circuit) -> Circuit:
            nonlocal before
            before = circuit
            return self._policy.failed(circuit, error, now)

        after = self._store.update(entry.circuit_key, change)
        if before.until <= now < after.until:
            _tell(entry, error, after.until - now, news=not before.until)
            known = (after.until, error.kind, error.summary, error.status)
            self._changed(entry, now, *known)
        return after

    def succeeded(self, entry: ProviderHandle, seen: Circuit) -> None:
        """Close the circuit.

        Args:
            entry: Who answered.
            seen: What was known before; nothing is written if that was nothing.
        """
        if seen is CLOSED or seen == CLOSED:
            return
        # A rest that began since then stays: the answer was under way before it.
        self._store.update(
            entry.circuit_key,
            lambda now: CLOSED if now.until == seen.until else now,
        )
        if seen.until:
            tell(logging.INFO, "%s answers again", entry.name, **_who(entry))
            self._changed(entry, self._clock.time())

    def reset(self, entry: ProviderHandle) -> None:
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
            self._store.settle(entry.circuit_key, change)
        finally:
            if before.until:
                line = "%s no longer rests: its circuit was reset"
                tell(logging.INFO, line, entry.name, **_who(entry))
                self._changed(entry, self._clock.time())

    def _changed(self, entry: ProviderHandle, at: float, *known: Any) -> None:
        emit(circuit_changed, self._sender, CircuitChanged(entry.name, at, *known))


def _tell(
    entry: ProviderHandle, error: ProviderError, rest: float, *, news: bool
) -> None:
    """Log a rest: loudly once if it is a long one, until the provider answers again."""
    level = logging.WARNING
    # A refused key is told as an error by other lines already.
    if error.cooldown and error.severity < logging.ERROR:
        level = logging.ERROR if news else logging.DEBUG
    what = error.summary + (f", {error.meaning}" if error.meaning else "")
    told = (entry.name, round(rest, 1), what)
    fields = {**_who(entry), "kind": error.kind, "wait_s": rest}
    tell(level, "%s cooling down for %g s after %s", *told, **fields)


def _who(entry: ProviderHandle) -> dict[str, str | None]:
    return {"provider": entry.name, "model": entry.model_name}


def plain(entry: ProviderHandle) -> dict[str, Any]:
    """Return the documented two keys: the name, and whether it could be asked."""
    return {"name": entry.name, "available": entry.unavailable() is None}


def detailed(
    entry: ProviderHandle, breaker: Breaker, circuit: Circuit
) -> dict[str, Any]:
    """Return all that is known of an entry without asking it.

    Args:
        entry: The link of the chain.
        breaker: Knows whether its circuit is open.
        circuit: Its circuit.
    """
    error = entry.unavailable()
    shown = {
        "name": entry.name,
        "available": error is None,
        "reason": None,
        "model": entry.model_name,
        "state": State.CLOSED.value,
        "until": None,
        "advice": None,
        "kind": None,
        "status": None,
    }
    if error:
        return shown | _unavailable(error)
    state = breaker.state(circuit)
    if state is State.CLOSED:
        return shown
    rests = state is State.OPEN
    return shown | {
        "reason": breaker.resting(entry, circuit).summary if rests else _back(circuit),
        "state": state.value,
        "until": circuit.until if rests else None,
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


def _back(circuit: Circuit) -> str:
    """Return what is known of a provider whose rest is over."""
    return f"rested after {circuit.reason}; the next call tries it"
