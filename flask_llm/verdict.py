"""Whether what a provider returned is an answer."""

from dataclasses import replace

from .providers import classify
from .errors import BY_KIND, BadAnswerError, BusyError, ContentBlockedError, CoolingDownError, DeadlineError, ProviderError, text_of
from .types import LLMResponse

# What providers call an answer that a filter stopped half-way.
_BLOCKED = {"content_filter", "safety", "refusal"}

# What another factory says of all its providers, where one stands in this chain.
_SAID_OF_A_CHAIN = {BusyError, CoolingDownError, DeadlineError}


def fault_of(response: object) -> ProviderError | None:
    """Return what keeps a provider's response from being an answer, or None."""
    if not isinstance(response, LLMResponse):
        kind = type(response).__name__
        return BadAnswerError(reason=f"returned {kind} instead of an LLMResponse")
    metadata: object = response.metadata
    if not isinstance(metadata, dict):
        return BadAnswerError(reason=f"metadata is {type(metadata).__name__}, no dict")
    if not response.success:
        fault: ProviderError | None = _returned_error(response)
    else:
        fault = _content_fault(response)
    if fault is not None:
        fault.usage = response.usage_told
    return fault


def fault_of_stream(response: object) -> ProviderError | None:
    """Return what keeps the end of a stream from being one of an answer, or None.

    Args:
        response: What the provider's generator has returned.
    """
    if isinstance(response, LLMResponse) and response.success:
        # The text has gone its own way.
        return fault_of(replace(response, content=response.content or "streamed"))
    return fault_of(response)


def _content_fault(response: LLMResponse) -> ProviderError | None:
    """Return what keeps a response that claims success from being one, or None."""
    content: object = response.content  # a stranger may put anything there
    if not isinstance(content, str):
        return BadAnswerError(reason=f"content is {type(content).__name__}, no text")
    if not content.strip():
        return BadAnswerError(reason="empty answer")
    if str(response.metadata.get("finish_reason")).lower() in _BLOCKED:
        return ContentBlockedError(reason="answer cut by a content filter")
    return None


def _returned_error(response: LLMResponse) -> ProviderError:
    """Return the error of a failed response, by its kind or else by its text."""
    message = text_of(response.error or "")
    named = response.metadata.get("error_kind")
    kind = BY_KIND.get(named) if isinstance(named, str) else None
    if kind in _SAID_OF_A_CHAIN:
        return ProviderError(message)
    return kind(message) if kind else classify.from_text(message)
