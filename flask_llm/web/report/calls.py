"""Calls as they are listed, and one call in full."""

from typing import Any

from ...observe.records import CallRecord
from ...types import Attempt

_SHARED = (
    *("call_id", "purpose", "outcome", "provider", "model", "latency_s"),
    *("input_tokens", "output_tokens", "streamed"),
)
_IN_FULL = (
    *("started_at", "finished_at", "request_id", "error", "fallback"),
    "first_token_s",
)
_TRIED = (
    *("provider", "model", "outcome", "status", "error", "skipped", "started_s"),
    *("latency_s", "cost_usd", "cost_note", "retry_after_s"),
)


def listed(record: CallRecord) -> dict[str, Any]:
    """Return a call as a line of a list."""
    path = ("provider", "outcome", "status", "skipped")
    return _picked(record, _SHARED) | {
        "at": record.finished_at,
        "path": [_picked(each, path) for each in record.attempts],
        "cost_usd": _cost(record),
    }


def in_full(record: CallRecord) -> dict[str, Any]:
    """Return all that is kept of a call, with its attempts."""
    return _picked(record, (*_SHARED, *_IN_FULL)) | {
        "cost_usd": _cost(record),
        "attempts": [_tried(each) for each in record.attempts],
    }


def _tried(attempt: Attempt) -> dict[str, Any]:
    usage = attempt.usage or {}
    return _picked(attempt, _TRIED) | {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
    }


def _cost(record: CallRecord) -> float | None:
    """Return the cost; None if a part is not known, or no tokens were counted."""
    costs = [e.cost_usd for e in record.attempts if e.cost_usd is not None]
    return None if record.unpriced or not costs else sum(costs)


def _picked(thing: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
