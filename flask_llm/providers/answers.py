"""What a model has said, in one piece or in many, before it is an answer of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import ProviderError
from ..types import LLMResponse
from .thinking import used_up

@contextmanager
def billed(usage: dict[str, int] | None) -> Iterator[None]:
    """Let the error of an answer that is no good tell the tokens that it has cost.

    Args:
        usage: The tokens, as in `LLMResponse.metadata`.
    """
    try:
        yield
    except ProviderError as error:
        error.usage = usage
        raise


class Said(NamedTuple):
    """What a model has said, and how that ended.

    Attributes:
        text: The text; "" if it has been handed out in pieces.
        is_blank: Whether the model has said nothing.
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

    def response(self, provider: str, model: str, remedy: str) -> LLMResponse:
        """Return it as an answer.

        Args:
            provider: Who was asked.
            model: The model that was asked, if it has told no name.
            remedy: The setting that would keep it from thinking, or "".

        Raises:
            BadAnswerError: It ends before its first word.
        """
        if self.is_blank and self.finish_reason == "length":
            with billed(self.usage):
                raise used_up(thought=self.has_thought, remedy=remedy)
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
