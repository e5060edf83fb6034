"""The providers of the chain, each with how it stands and how it did."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...observe.records import SUCCESS
from ...observe.source import Failure
from .advice import advice
from .figures import P50, P95, Row, count, judged, latency, share
from .queries import Findings
from .lately import GOOD, Lately, Standing

def entries(status: Mapping[str, Any]) -> list[Standing]:
    """Return the entries of a chain in order."""
    return [status["primary"], *status["fallbacks"]]


def chain(
    status: Mapping[str, Any], found: Findings, lately: Lately
) -> list[dict[str, Any]]:
    """Return a card for each entry.

    Args:
        status: What `get_provider_status(detail=True)` returns.
        found: What the source tells.
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


def _card(entry: Standing, found: Findings, lately: Lately) -> dict[str, Any]:
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


def _advice(entry: Standing, lately: Lately) -> str | None:
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
