"""The providers' cards, advice and calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BY_KIND, ProviderError
from ...observe.aggregates import Failure
from ...observe.records import SUCCESS, CallRecord
from ...types import DETAILS, Attempt
from .queries import P50, P95, Findings, Row, count, judged, latency, share
from .status_line import GOOD, Lately, Status

_MEANINGS = {
    "quota": "Its quota is used up for now",
    "transient": "It did not work when it was asked last",
    "auth": "Its key is refused",
    "model_not_found": "It does not have this model",
    "context_length": "The prompt was too long for it",
    "invalid_request": "It refused the request",
    "content_blocked": "It declined to answer",
    "bad_answer": "Its answer was of no use",
    "busy": "It has as many calls as it is allowed",
    "unavailable": "It is not set up",
}
_UNKNOWN = "It failed"

_ITS_WORDS = (
    "read its own words in response.error of a call that nobody answered, or with"
    " LLM_LOG_CONTENT=true in the log at level DEBUG"
)

_REMEDIES = {
    "context_length": "shorten the prompt, or choose a model with a longer context",
    "content_blocked": "LLM_FALLBACK_ON_BLOCKED=on asks the next provider then",
    "invalid_request": _ITS_WORDS,
    "bad_answer": _ITS_WORDS,
    "unavailable": "the line above says what it needs",
}
"""For kinds of which the errors themselves advise nothing."""


def advice(kind: str | None, hint: str | None = None) -> str:
    """Return a sentence: what is wrong, and what to do about it.

    Args:
        kind: The kind of the error.
        hint: What the error itself advises, such as "set ANTHROPIC_API_KEY".
    """
    kind = kind or ProviderError.kind
    told = hint or remedy(kind) or "see its last error"
    return f"{_MEANINGS.get(kind, _UNKNOWN)}; {told}."


def remedy(kind: str) -> str:
    """Return what can be done about errors of a kind; empty if that is not known."""
    return BY_KIND.get(kind, ProviderError).remedy or _REMEDIES.get(kind, "")


def entries(status: Mapping[str, Any]) -> list[Status]:
    """Return the providers of a chain in order."""
    return [status["primary"], *status["fallbacks"]]


def chain(
    status: Mapping[str, Any], found: Findings, lately: Lately
) -> list[dict[str, Any]]:
    """Return a card for each provider.

    Args:
        status: What `get_provider_status(detail=True)` returns.
        found: What the data source has.
        lately: The latest calls: who answers now.
    """
    server = lately.server(entries(status))
    return [
        _card(each, found, lately)
        | {
            "role": "fallback" if place else "primary",
            "current": each is server,
        }
        for place, each in enumerate(entries(status))
    ]


def _card(entry: Status, found: Findings, lately: Lately) -> dict[str, Any]:
    name = entry["name"]
    failure = (found.failures or {}).get(name)
    rows = [row for row in found.attempts if row["provider"] == name]
    return {
        "name": name,
        "model": entry["model"],
        "state": entry["state"],
        "reason": entry["reason"],
        "until": entry["until"],
        "advice": _advice(entry, lately),
        "attempts": count(rows, "attempts") if found.is_readable else None,
        "error_rate": _error_rate(rows),
        "p50_s": latency(rows, P50),
        "p95_s": latency(rows, P95),
        "last_error": failure and _told(failure),
    }


def _error_rate(rows: Sequence[Row]) -> float | None:
    counted = judged(rows)
    failed = [row for row in counted if row["outcome"] != SUCCESS]
    return share(count(failed, "attempts"), count(counted, "attempts"))


def _advice(entry: Status, lately: Lately) -> str | None:
    """Return what to do about what is wrong now."""
    if entry["state"] != "closed":
        return advice(entry["kind"], entry["advice"])
    last = lately.last(entry["name"])
    return advice(last.outcome) if last and last.outcome not in GOOD else None


def _told(failure: Failure) -> dict[str, Any]:
    attempt = failure.attempt
    return {
        "at": failure.at,
        "kind": attempt.outcome,
        "text": attempt.error or "",
        "status": attempt.status,
    }


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
        "apart": {name: usage[name] for name in DETAILS if name in usage},
    }


def _cost(record: CallRecord) -> float | None:
    """Return the cost; None if a part is not known, or no tokens were counted."""
    costs = [e.cost_usd for e in record.attempts if e.cost_usd is not None]
    return None if record.unpriced or not costs else sum(costs)


def _picked(thing: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
