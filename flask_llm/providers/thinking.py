"""Thinking before the answer, which counts towards `max_tokens`."""

from ..errors import BadAnswerError

SHORT = 4096
"""The `max_tokens` below which calls think as little as their model allows: below some
pages of text, thinking can leave nothing for the answer."""


def used_up(*, thought: bool, remedy: str = "") -> BadAnswerError:
    """Return the error for an answer that ends before its first word.

    Args:
        thought: Whether the model has thought.
        remedy: The setting that would keep it from that, such as
            "LLM_CLAUDE_THINKING=off"; empty if there is none that helps.
    """
    what = "thinking used up max_tokens" if thought else "max_tokens used up"
    also = f" or set {remedy}" if thought and remedy else ""
    return BadAnswerError(
        reason=f"{what} before any text", advice=f"raise max_tokens{also}"
    )
