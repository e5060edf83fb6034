"""How each provider of a chain stands: whether it could be asked, and why not."""

from typing import Any

from .fallback.health import Breaker
from .resilience.circuit_breaker import Circuit, State
from .fallback.provider_handle import ChainEntry
from .errors import UnavailableError

def plain(entry: ChainEntry) -> dict[str, Any]:
    """Return the documented two keys: the name, and whether it could be asked."""
    return {"name": entry.name, "available": entry.unavailable() is None}


def detailed(entry: ChainEntry, breaker: Breaker, circuit: Circuit) -> dict[str, Any]:
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
