"""What the caller gets: the response of a whole call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .errors import ClosedError, ProviderError, StreamInterrupted
from .fallback.result import Outcome
from .fallback.pricing import NO_TOKENS
from .types import LLMResponse

# What providers call an answer that ends because it may not be longer.
_CUT = {"length", "max_tokens", "max_output_tokens"}


def _metadata(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return metadata in which every key is there, and the attempts alone are known."""
    return {
        "model": None,
        "usage": None,
        "finish_reason": None,
        "request_id": None,
        "error_kind": None,
        "attempts": attempts,
        "warnings": [],
        "cost_usd": None,
        "cost_note": NO_TOKENS,
    }


def is_cut(metadata: Mapping[str, Any]) -> bool:
    """Return whether an answer ends because it may not be longer."""
    finish = metadata.get("finish_reason")
    return finish != "stop" and str(finish).lower() in _CUT


def of_call(outcome: Outcome) -> LLMResponse:
    """Return the response of a walk that is over."""
    attempts = _attempts(outcome)
    if outcome.entry is None or outcome.response is None:
        story = outcome.story(detailed=True)
        response = failure(story, outcome.telling_error(), attempts)
    else:
        response = _succeeded(outcome.entry.name, outcome.response, attempts)
    return _paid(response, outcome)


def of_stream(
    outcome: Outcome, text: str, ending: LLMResponse | ProviderError | None
) -> LLMResponse:
    """Return the response of a stream that is over.

    Args:
        outcome: How the walk went.
        text: The text that came.
        ending: What its provider told of the answer, or why it broke off; None if there
            was no stream at all.
    """
    if isinstance(ending, ProviderError):
        broken = not isinstance(ending, ClosedError)
        told = StreamInterrupted("", ending) if broken else ending
        return _paid(failure(str(told), ending, _attempts(outcome)), outcome)
    if ending is not None:
        outcome.response = replace(ending, content=text)
    return of_call(outcome)


def _attempts(outcome: Outcome) -> list[dict[str, Any]]:
    return [each.as_dict() for each in outcome.attempts]


def _succeeded(
    provider_name: str, response: LLMResponse, attempts: list[dict[str, Any]]
) -> LLMResponse:
    """Return a provider's answer under its name in the chain."""
    metadata = _metadata(attempts)
    metadata.update(response.metadata, attempts=attempts, error_kind=None)
    metadata["usage"] = _total(attempts)
    metadata.pop("first_token_s", None)  # the call's to tell, of streams only
    told = metadata["warnings"]
    metadata["warnings"] = list(told) if isinstance(told, (list, tuple)) else []
    if is_cut(metadata):
        metadata["finish_reason"] = "length"
        metadata["warnings"].append("the answer is cut at max_tokens")
    return LLMResponse(
        success=True,
        content=response.content,
        provider_name=provider_name,
        metadata=metadata,
        parsed=response.parsed,
    )


def failure(
    text: str, error: ProviderError, attempts: Sequence[dict[str, Any]] = ()
) -> LLMResponse:
    """Return the response for a call without an answer."""
    return LLMResponse(
        success=False,
        content="",
        provider_name=error.provider,
        error=text,
        metadata=_metadata(list(attempts))
        | {"error_kind": error.kind, "usage": _total(attempts)},
    )


def _total(attempts: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """Return the tokens of all attempts: answers that were no good cost too."""
    counted = [each["usage"] for each in attempts if each["usage"]]
    if len(counted) < 2:  # noqa: PLR2004  # nothing to add
        return next(iter(counted), None)
    return {name: sum(each[name] for each in counted) for name in counted[0]}


def _paid(response: LLMResponse, outcome: Outcome) -> LLMResponse:
    """Say in a response what all attempts cost together, or why that is not known.

    One price or count that is missing makes the whole unknown: a sum of the others
    would be taken for it.
    """
    notes = [each.cost_note for each in outcome.attempts if each.cost_note]
    costs = [each.cost_usd for each in outcome.attempts if each.cost_usd is not None]
    note = None if costs and not notes else next(iter(notes), NO_TOKENS)
    if costs and note == NO_TOKENS:
        note = "not all tokens were counted"
    cost = sum(costs) if note is None else None
    response.metadata.update(cost_usd=cost, cost_note=note)
    return response
