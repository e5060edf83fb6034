"""What is known of a provider's health, and how it changes. Arithmetic; no clock.

A circuit breaker as Nygard describes it ("Release It!", 2007): closed while things go
well, open after repeated failures, half-open when one caller may try again.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import NamedTuple, Self

from ..errors import ProviderError

# Longer than any window in which failures are counted.
_KEPT_S = 86_400.0

# A clock that is this much ahead still counts as the same time.
_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """One provider's recent failures. Times are seconds since 1970.

    Attributes:
        failures: Failures in a row.
        since: When the last of them was.
        until: The provider rests until then; 0 if the circuit is closed.
        rest: How long that rest was meant to be, in seconds.
        told: Whether the provider itself named that time.
        reason: What made it rest, in a few words.
        kind: The kind of that error; empty if it is not known.
        status: Its HTTP status; 0 if there was none.
        advice: What the developer can do about it.
        openings: How often in a row it had to rest, for the growth of the rest.
        probe_until: Nobody else tries before then.
        lease: How long that was meant to be, in seconds.
        trial: Whether a call is trying it until then; else it is a pause.
    """

    failures: int = 0
    since: float = 0.0
    until: float = 0.0
    rest: float = 0.0
    told: bool = False
    reason: str = ""
    openings: int = 0
    probe_until: float = 0.0
    lease: float = 0.0
    kind: str = ""
    status: int = 0
    advice: str = ""
    trial: bool = False

    def rests(self, now: float) -> bool:
        """Return whether the rest is not over; a clock that was wrong ends it too."""
        return now < self.until <= now + self.rest + _SKEW

    def is_probed(self, now: float) -> bool:
        """Return whether somebody else is trying, or has just tried."""
        return now < self.probe_until <= now + self.lease + _SKEW

    def is_tried(self, now: float) -> bool:
        """Return whether somebody else is trying, whose outcome may be waited for."""
        return self.trial and self.is_probed(now)

    def dumps(self) -> str:
        """Return the circuit as JSON, for a store."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str | bytes | None) -> Self:
        """Return the circuit of a JSON text; a closed one for what makes no sense."""
        try:
            known = cls(**json.loads(text or "{}"))
            sane = all(map(known._is_sane, cls.__slots__))
        except (TypeError, ValueError, OverflowError, RecursionError):
            # Another version's, or nobody's.
            return cls()
        return known if sane else cls()

    def _is_sane(self, name: str) -> bool:
        """Return whether an attribute is of its default's kind, and finite."""
        value, usual = getattr(self, name), getattr(type(self)(), name)
        if isinstance(usual, float):
            return isinstance(value, int | float) and 0 <= float(value) < math.inf
        return type(value) is type(usual)

    def stale_at(self) -> float:
        """Return when a store may forget it."""
        return max(self.since, self.until, self.probe_until) + _KEPT_S


CLOSED = Circuit()


def without_rest(circuit: Circuit) -> Circuit:
    """Return the circuit closed, with the failures that were counted."""
    return Circuit(failures=circuit.failures, since=circuit.since)


class State(Enum):
    """Whether a provider may be asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerPolicy(NamedTuple):
    """When a provider rests, and for how long.

    Attributes:
        failures: Failures in a row that open the circuit; 0 for never.
        window: The most seconds from one to the next.
        rest: Seconds of the first rest; doubles each time that a probe fails. Also
            the pace of probes where nobody else is left to ask.
        max_rest: The longest rest in seconds that is our own guess.
        max_cooldown: The longest rest in seconds of any other cause, such as what the
            provider asked for.
    """

    failures: int = 5
    window: float = 300.0
    rest: float = 5.0
    max_rest: float = 20.0
    max_cooldown: float = 3600.0

    def state(self, circuit: Circuit, now: float) -> State:
        """Return whether a provider may be asked now.

        A time that the provider itself has named is over for everybody when it is
        over. Of one that is our own guess a single call finds out.
        """
        if not circuit.until:
            return State.CLOSED
        if circuit.rests(now):
            return State.OPEN
        return State.CLOSED if circuit.told else State.HALF_OPEN

    def failed(self, circuit: Circuit, error: ProviderError, now: float) -> Circuit:
        """Return what is known after a failure that counts; the longest rest wins."""
        if circuit.until > now and not circuit.rests(now):
            circuit = replace(circuit, until=now)
        counted = self._counted(circuit, error, now)
        asked_for = min(error.retry_after or 0.0, self.max_cooldown)
        rest = max(asked_for, min(error.cooldown, self.max_cooldown))
        if error.trips and self._is_too_much(counted):
            rest = max(rest, self._guess(circuit, now))
        if not rest:
            return counted if counted.rests(now) else without_rest(counted)
        return self._resting(counted, error, now, rest, told=rest == asked_for)

    def claimed(self, circuit: Circuit, now: float, lease: float) -> Circuit | None:
        """Return the circuit with a probe under way; None if another one is.

        Args:
            circuit: What is known.
            now: The time.
            lease: Seconds after which the prober is taken for dead.
        """
        if circuit.is_probed(now):
            return None
        return replace(circuit, probe_until=now + lease, lease=lease, trial=True)

    def released(self, circuit: Circuit, now: float, *, asked: bool) -> Circuit:
        """Return the circuit after a probe that showed nothing.

        Args:
            circuit: What is known.
            now: The time.
            asked: Whether the provider was asked at all; then the next probe has to
                keep the pace.
        """
        pace = self.rest if asked else 0.0
        return replace(circuit, probe_until=now + pace, lease=pace, trial=False)

    def _counted(self, circuit: Circuit, error: ProviderError, now: float) -> Circuit:
        if not error.trips:
            return circuit
        in_a_row = now - circuit.since <= self.window
        failures = circuit.failures + 1 if in_a_row else 1
        return replace(circuit, failures=failures, since=now)

    def _is_too_much(self, circuit: Circuit) -> bool:
        if not self.failures:
            return False
        is_probe = circuit.until > 0 and not circuit.told
        return is_probe or circuit.failures >= self.failures

    def _guess(self, circuit: Circuit, now: float) -> float:
        """Return the seconds to rest; longer each time that a probe has failed."""
        times = circuit.openings if now >= circuit.until else circuit.openings - 1
        return float(min(self.rest * 2 ** min(max(times, 0), 32), self.max_rest))

    def _resting(
        self,
        circuit: Circuit,
        error: ProviderError,
        now: float,
        rest: float,
        *,
        told: bool,
    ) -> Circuit:
        guessed_again = now >= circuit.until and not told
        pace = min(rest, self.rest)
        openings = circuit.openings + guessed_again
        circuit = replace(
            circuit,
            openings=openings,
            probe_until=now + pace,
            lease=pace,
            trial=False,
        )
        until = now + rest
        if circuit.until >= until:
            return circuit
        return replace(
            circuit,
            until=until,
            rest=rest,
            told=told,
            reason=error.reason,
            kind=error.kind,
            status=error.status or 0,
            advice=error.advice or error.remedy,
        )
