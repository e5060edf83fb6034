"""Which providers rest: what a failure or an answer changes in the store."""

import logging
import math
from collections.abc import Sequence

from .circuit import CLOSED, BreakerPolicy, Circuit, State
from .clock import Clock
from .entry import ChainEntry
from .errors import CoolingDownError, ProviderError
from .state.base import Store

log = logging.getLogger("flask_llm")

# What a probe may take beyond its timeout before its process is taken for dead.
_LEASE_MORE_S = 5.0


class Breaker:
    """Keeps the circuits of a chain. Holds no lock around a call.

    Args:
        store: Where the circuits are.
        policy: When a provider rests, and for how long.
        clock: Where the time is read.
    """

    def __init__(self, store: Store, policy: BreakerPolicy, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock

    def look(self, entries: Sequence[ChainEntry]) -> dict[str, Circuit]:
        """Return the circuit of each entry by its name, in one look at the store."""
        found = self._store.read([each.circuit_key for each in entries])
        return {
            each.name: circuit for each, circuit in zip(entries, found, strict=True)
        }

    def state(self, circuit: Circuit) -> State:
        """Return whether a provider may be asked now."""
        if not circuit.until:
            return State.CLOSED
        return self._policy.state(circuit, self._clock.time())

    def resting(self, entry: ChainEntry, circuit: Circuit) -> CoolingDownError:
        """Return why an entry is not asked, and when it will be."""
        left = max(circuit.until, circuit.probe_until) - self._clock.time()
        seconds = max(1, math.ceil(left))
        what = circuit.kind.replace("_", " ")
        return CoolingDownError(
            reason=f"cooling down after {what}, retry after {seconds} s",
            provider=entry.name,
            retry_after=float(seconds),
        )

    def was_opened_by_others(self, entry: ChainEntry, failures: int) -> bool:
        """Return whether not only this call's own failures have opened a circuit.

        Args:
            entry: Who was asked.
            failures: This call's own failures there.
        """
        (circuit,) = self.look([entry]).values()
        guessed = circuit.until > 0 and not circuit.told
        return guessed and failures < self._policy.failures

    def rest_of(self, entry: ChainEntry) -> CoolingDownError | None:
        """Return why an entry would not be asked now; None if it would be."""
        (circuit,) = self.look([entry]).values()
        rests = self.state(circuit) is State.OPEN
        return self.resting(entry, circuit) if rests else None

    def claim(self, entry: ChainEntry) -> bool:
        """Return whether this caller may make the probe; one at a time may."""
        now = self._clock.time()
        won = False

        def change(circuit: Circuit) -> Circuit:
            nonlocal won
            claimed = self._policy.claimed(circuit, now, entry.timeout + _LEASE_MORE_S)
            won = claimed is not None
            return claimed or circuit

        self._store.decide(entry.circuit_key, change)
        return won

    def release(self, entry: ChainEntry) -> None:
        """Let others probe: this probe has shown nothing."""
        self._store.update(entry.circuit_key, self._policy.released)

    def failed(self, entry: ChainEntry, error: ProviderError) -> Circuit:
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
        return after

    def succeeded(self, entry: ChainEntry, seen: Circuit) -> None:
        """Close the circuit.

        Args:
            entry: Who answered.
            seen: What was known before; nothing is written if that was nothing.
        """
        if seen == CLOSED:
            return
        self._store.update(entry.circuit_key, lambda _: CLOSED)
        if seen.until:
            log.info("%s answers again", entry.name)


def _tell(entry: ChainEntry, error: ProviderError, rest: float, *, news: bool) -> None:
    """Log a rest: loudly once if it is a long one, until the provider answers again."""
    level = logging.WARNING
    if error.cooldown:
        level = logging.ERROR if news else logging.DEBUG
    what = error.summary + (f", {error.meaning}" if error.meaning else "")
    log.log(
        level, "%s cooling down for %g s after %s", entry.name, round(rest, 1), what
    )
