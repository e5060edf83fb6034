"""Thinking before the answer, which counts towards `max_tokens`."""

import re
from typing import Any

from ..errors import BadAnswerError
from ..config.parsers import Parser, shown

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


HELD = "thinking is held to half of max_tokens"
"""The warning of an answer whose `max_tokens` did not leave the configured room."""


def words_or_tokens(*words: str, least: int = 0) -> Parser[str | int]:
    """Return a parser of how a model may think: a word, or the most tokens for it.

    Args:
        words: The words that are known.
        least: The fewest tokens that the API takes.
    """

    def parse(value: Any) -> str | int:
        plain = str(value).strip().lower()
        if plain in words:
            return plain
        if isinstance(value, bool) or not re.fullmatch(r"\d+", plain, re.ASCII):
            known = ", ".join(words)
            raise ValueError(
                f"must be {known} or a number of tokens, not {shown(value)}"
            )
        if int(plain) < least:
            raise ValueError(f"must be {least} tokens or more, not {plain}")
        return int(plain)

    return parse
