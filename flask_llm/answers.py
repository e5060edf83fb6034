"""What the caller gets: the response of a whole call."""

from typing import Any

from .errors import ProviderError
from .types import LLMResponse

# What providers call an answer that ends because it may not be longer.
_CUT = {"length", "max_tokens", "max_output_tokens"}


def _metadata(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return metadata in which every key is there, and nothing is known yet."""
    return {
        "model": None,
        "usage": None,
        "finish_reason": None,
        "request_id": None,
        "error_kind": None,
        "attempts": attempts,
        "warnings": [],
    }


def success(
    provider_name: str, response: LLMResponse, attempts: list[dict[str, Any]]
) -> LLMResponse:
    """Return a provider's answer under its name in the chain."""
    metadata = _metadata(attempts)
    metadata.update(response.metadata, attempts=attempts, error_kind=None)
    told, finish = metadata["warnings"], metadata["finish_reason"]
    metadata["warnings"] = list(told) if isinstance(told, (list, tuple)) else []
    if finish != "stop" and str(finish).lower() in _CUT:
        metadata["finish_reason"] = "length"
        metadata["warnings"].append("the answer is cut at max_tokens")
    return LLMResponse(
        success=True,
        content=response.content,
        provider_name=provider_name,
        metadata=metadata,
    )


def failure(
    text: str, error: ProviderError, attempts: list[dict[str, Any]]
) -> LLMResponse:
    """Return the response for a call without an answer."""
    return LLMResponse(
        success=False,
        content="",
        provider_name=error.provider,
        error=text,
        metadata=_metadata(attempts) | {"error_kind": error.kind},
    )
