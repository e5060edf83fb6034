"""What the chunks of a generation by llama.cpp tell."""

from typing import Any

from . import classify
from ..errors import BadAnswerError, ContextLengthError, ProviderError
from ..wording import NO_END
from .thinking import used_up

class Generation:
    """Reads the chunks of one generation, and remembers what they say beside the text.

    Attributes:
        finish_reason: "stop" or "length" once it is complete, else None.
        usage: The tokens, once they are counted.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self._error: dict[str, Any] | None = None
        self._has_text = False
        self._has_thought = False

    def take(self, chunk: dict[str, Any]) -> str:
        """Return the text of a chunk; it may have none.

        Args:
            chunk: What the library calls back with.
        """
        self._error = self._error or chunk.get("error")
        if usage := chunk.get("usage"):
            self.usage = {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
            }
        return "".join(map(self._text, chunk.get("choices", ())))

    def check(self) -> None:
        """Raise unless the generation is complete, and there was room for a text.

        Raises:
            ProviderError: It is not.
        """
        if self._error:
            raise _error(self._error)
        if not self.finish_reason:
            raise BadAnswerError(reason=NO_END)
        if self.finish_reason == "length" and not self._has_text:
            raise used_up(thought=self._has_thought)

    def _text(self, choice: dict[str, Any]) -> str:
        delta = choice["delta"]
        text: str = delta.get("content") or ""
        self._has_text = self._has_text or bool(text.strip())
        self._has_thought = self._has_thought or bool(delta.get("reasoning_content"))
        self.finish_reason = self.finish_reason or choice["finish_reason"]
        return text


def _error(error: dict[str, Any]) -> ProviderError:
    """Translate llama.cpp's own error dict."""
    if error.get("type") == "exceed_context_size_error":
        size, limit = error["n_prompt_tokens"], error["n_ctx"]
        return ContextLengthError(
            reason=f"prompt of {size} tokens, but the context holds {limit}",
            advice="raise LLM_LOCAL_CONTEXT",
        )
    return classify.from_status(int(error["code"]), str(error.get("message", "")))
