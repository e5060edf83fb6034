"""Reads chat completions, as OpenAI's API answers them, and all who copied it."""

import re
from typing import Any

from .. import classify
from ..errors import BadAnswerError, ContentBlockedError, TransientError
from ..types import counted
from ..wording import MALFORMED

# Finish reasons that end an answer: OpenAI's own, Together's "eos", the two others of
# Hugging Face's TGI, and Mistral's word for a full context.
_FINISHED = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "model_length": "length",
}

# Where a model's thinking stands beside the text: vLLM, DeepSeek and llama.cpp have the
# first name, OpenRouter and Groq the other.
_THOUGHTS = ("reasoning_content", "reasoning")


class AnsweredError(Exception):
    """An error that came with status 200; has the attributes of openai's errors.

    Args:
        body: What the answer calls its `error`.
    """

    def __init__(self, body: Any) -> None:
        super().__init__()
        told = body if isinstance(body, dict) else {}
        self.body = body
        code = told.get("code")
        status = re.fullmatch(r"\d{3}", str(code), re.ASCII)
        self.code = int(status[0]) if status else code  # a number, or a word
        self.param = told.get("param")


class Completion:
    """A chat completion that holds an answer.

    Args:
        answer: What the SDK returned, of whatever shape.

    Raises:
        AnsweredError: It is an error.
        ProviderError: It is not the text of a model, or not the whole of it.

    Attributes:
        text: The text.
        finish_reason: "stop", or "length" if it is cut by `max_tokens`.
        usage: The tokens, if they were counted.
    """

    text: str
    finish_reason: str
    usage: dict[str, int] | None

    def __init__(self, answer: Any) -> None:
        choice = _choice(answer)
        _check(choice.finish_reason, choice.message)
        self.text = choice.message.content or ""
        self.finish_reason = _FINISHED[choice.finish_reason]
        self.usage = counted(
            getattr(answer.usage, "prompt_tokens", None),
            getattr(answer.usage, "completion_tokens", None),
        )
        self._answer = answer

    @property
    def has_thought(self) -> bool:
        """Whether it holds thinking, or its usage counts some."""
        message = self._answer.choices[0].message
        if any(getattr(message, name, None) for name in _THOUGHTS):
            return True
        details = getattr(self._answer.usage, "completion_tokens_details", None)
        return bool(getattr(details, "reasoning_tokens", None))


def message_of(body: Any) -> str:
    """Return the words of an error body, but nothing of a web page."""
    message = body.get("message") if isinstance(body, dict) else body
    if not isinstance(message, str) or message.lstrip().startswith("<"):
        return ""
    return message


def code_of(body: Any) -> Any:
    """Return what of an error body says without doubt what it is."""
    told = body if isinstance(body, dict) else {}
    codes = (told.get("code"), told.get("type"))
    return next(filter(classify.knows, codes), None)


def _choice(answer: Any) -> Any:
    """Return the first choice of an answer, or raise what it says instead."""
    if error := getattr(answer, "error", None):
        raise AnsweredError(error)
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        # A web page with status 200 comes back as str, other JSON as all None.
        raise TransientError(reason=MALFORMED)
    if not choices:
        raise BadAnswerError(reason="answer without a choice")
    if error := getattr(choices[0], "error", None):
        raise AnsweredError(error)
    return choices[0]


def _check(finish: str | None, message: Any) -> None:
    """Raise unless the answer is text that is complete, or cut by `max_tokens`."""
    if message.refusal:
        raise ContentBlockedError(message.refusal, reason="refused to answer")
    if finish == "content_filter":
        raise ContentBlockedError
    if finish not in _FINISHED:
        raise BadAnswerError(reason=f"incomplete answer (finish reason: {finish})")
    if not isinstance(message.content, str | None):
        raise TransientError(reason=MALFORMED)
