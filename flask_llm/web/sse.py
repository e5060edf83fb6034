"""Server-sent events: how they are written, and what ours say.

The events reach people: they hold our own words only, never a provider's, and no advice
that is meant for the developer.
"""

import json
from collections.abc import Iterable
from typing import Any

from ..errors import BY_KIND, ProviderError
from ..types import Attempt, LLMResponse

HEARTBEAT = ":\n\n"
"""A comment: keeps a connection alive, and tells the server when it is not."""

_MESSAGES = {
    "invalid_request": "This cannot be answered as it was asked.",
    "context_length": "This is too long to be answered.",
    "content_blocked": "The model declined to answer this.",
    "deadline": "The answer took too long.",
}
_NOBODY = "No model can answer now."
_BROKE_OFF = "The answer broke off."


def event(name: str, data: dict[str, Any], event_id: str = "") -> str:
    """Return an event as it is sent.

    Args:
        name: What the browser listens to.
        data: Sent as JSON; ASCII only, so that no text can break a line or an encoding.
        event_id: What a browser that connects again by itself sends back.
    """
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, default=str)}\n\n"


def failed(attempts: Iterable[Attempt]) -> list[dict[str, str]]:
    """Return who has not answered, each once, and why: the kind, and our word for it.

    Args:
        attempts: Every try so far.
    """
    last = {each.provider: each.outcome for each in attempts}
    return [
        {"provider": provider, "kind": kind, "reason": _reason(kind)}
        for provider, kind in last.items()
        if kind != "success"
    ]


def done(response: LLMResponse) -> str:
    """Return the event of an answer that its provider has ended.

    The warnings of its metadata stay out: they name models and parameters.
    """
    known = response.metadata
    data = {
        "provider": response.provider_name,
        "model": response.model,
        "usage": response.usage_told,
        "finish_reason": known.get("finish_reason"),
        "latency_s": known.get("latency_s"),
        "first_token_s": known.get("first_token_s"),
        "failed": failed(response.attempts),
    }
    return event("done", data)


def error(kind: str, attempts: Iterable[Attempt] = (), *, partial: bool = False) -> str:
    """Return the event of an answer that did not come, or broke off.

    Args:
        kind: As in `metadata["error_kind"]`.
        attempts: Every try.
        partial: Whether some text has come, which is no complete answer.
    """
    message = _BROKE_OFF if partial else _MESSAGES.get(kind, _NOBODY)
    data = {"kind": kind, "message": message, "partial": partial}
    return event("error", data | {"failed": failed(attempts)})


def _reason(kind: str) -> str:
    return BY_KIND.get(kind, ProviderError).reason
