"""Answers that an SDK's pydantic models cannot read: errors with status 200, junk."""

from . import classify
from ..errors import BadAnswerError, ProviderError, TransientError
from ..wording import MALFORMED
from .completion import message_of

def unread(exc: Exception) -> ProviderError:
    """Return the error for an answer that could not be read.

    It holds the words of the body's `error`, if it has one, and nothing of an answer,
    which pydantic would quote.

    Args:
        exc: What the SDK raised, by pydantic or otherwise.
    """
    return answered(_told(exc), type(exc).__name__)


def answered(told: str, detail: str = "") -> ProviderError:
    """Return the error for one that came with status 200.

    Args:
        told: Its words, by which it is known; empty if it has none.
        detail: What to tell in their place.
    """
    if not told:
        return TransientError(detail, reason=MALFORMED)
    error = classify.from_text(told)
    if type(error) is ProviderError:
        return BadAnswerError(told, reason="answered with an error")
    return error


def _told(exc: Exception) -> str:
    """Return the words of the error that stands where an answer should be, or ""."""
    errors = getattr(exc, "errors", None)
    for fault in errors() if errors else ():
        # The whole body lacks a field. Deeper ones are an answer's.
        if fault["type"] == "missing" and len(fault["loc"]) == 1:
            return message_of(fault["input"].get("error"))
    return ""
