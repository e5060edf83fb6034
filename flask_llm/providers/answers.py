"""What a provider has answered, parsed; and answers that were all reasoning."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..config.parsers import Parser, shown
from ..errors import BadAnswerError, ProviderError
from ..types import LLMResponse


class ParsedResponse(NamedTuple):
    """What a model has answered, and how that ended.

    Attributes:
        text: The text; "" if it has been handed out in pieces.
        is_blank: Whether there was no text at all.
        finish_reason: "stop", or "length" if it is cut by `max_tokens`.
        usage: The tokens, if they were counted.
        has_thought: Whether there was thinking, or the usage counts some.
        request_id: What the provider's support asks for.
        model: The model that answered, by the provider's name for it.
    """

    text: str
    is_blank: bool
    finish_reason: str
    usage: dict[str, int] | None
    has_thought: bool
    request_id: str | None
    model: str | None = None

    def response(
        self, provider: str, model: str, remedy: Callable[[], str]
    ) -> LLMResponse:
        """Return it as an answer.

        Args:
            provider: The provider that was asked.
            model: The model that was asked, if the answer names none.
            remedy: Returns the setting that would keep it from thinking, or "".

        Raises:
            BadAnswerError: It ends before its first word.
        """
        if self.is_blank and self.finish_reason == "length":
            error = used_up(thought=self.has_thought, remedy=remedy())
            error.usage = self.usage
            raise error
        return LLMResponse(
            success=True,
            content=self.text,
            provider_name=provider,
            metadata={
                "model": self.model or model,
                "usage": self.usage,
                "finish_reason": self.finish_reason,
                "request_id": self.request_id,
            },
        )


@contextmanager
def billed(usage: dict[str, int] | None) -> Iterator[None]:
    """Put the tokens that an answer has cost into the error that it became.

    Args:
        usage: The tokens, as in `LLMResponse.metadata`.
    """
    try:
        yield
    except ProviderError as error:
        error.usage = usage
        raise


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
