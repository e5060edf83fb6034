"""Reads chat completions, as OpenAI's API answers them, and all who copied it."""

import re
from typing import Any

from . import classify
from ..errors import BadAnswerError, ContentBlockedError, TransientError
from ..types import counted
from ..wording import MALFORMED
from .answers import Said, billed

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


def completed(answer: Any) -> Said:
    """Return what an answer in one piece holds.

    Args:
        answer: What the SDK returned, of whatever shape.

    Raises:
        AnsweredError: It is an error.
        ProviderError: It is not the text of a model, or not the whole of it.
    """
    choice = _choice(answer)
    message = choice.message
    with billed(usage_of(answer)):
        finish = finished(choice.finish_reason, message.refusal)
    text = text_in(message)
    return Said(
        text=text,
        is_blank=not text.strip(),
        finish_reason=finish,
        usage=usage_of(answer),
        has_thought=has_thought(message) or has_counted_thought(answer),
        request_id=getattr(answer, "_request_id", None),
        model=answer.model,
    )


def finished(finish: str | None, refusal: str | None) -> str:
    """Return why an answer ended, if it is complete, or cut by `max_tokens`.

    Args:
        finish: The API's word for it.
        refusal: Why the model does not want to answer.

    Raises:
        ProviderError: It ended in another way.
    """
    if refusal:
        raise ContentBlockedError(refusal, reason="refused to answer")
    if finish == "content_filter":
        raise ContentBlockedError
    if finish not in _FINISHED:
        raise BadAnswerError(reason=f"incomplete answer (finish reason: {finish})")
    return _FINISHED[finish]


def text_in(message: Any) -> str:
    """Return the text of a message, or of a piece of one."""
    content = getattr(message, "content", None) or ""
    told = [each.get("text") for each in _parts(message) if each.get("type") == "text"]
    texts: list[Any] = told if isinstance(content, list) else [content]
    if not all(isinstance(each, str) for each in texts):
        raise TransientError(reason=MALFORMED)
    return "".join(texts)


def _parts(message: Any) -> list[dict[str, Any]]:
    """Return the parts of a content, which Mistral's models that think have."""
    content = getattr(message, "content", None)
    parts = content if isinstance(content, list) else []
    if not all(isinstance(each, dict) for each in parts):
        raise TransientError(reason=MALFORMED)
    return parts


def has_thought(message: Any) -> bool:
    """Return whether a message, or a piece of one, holds thinking."""
    kinds = [each.get("type") for each in _parts(message)]
    return "thinking" in kinds or any(
        getattr(message, name, None) for name in _THOUGHTS
    )


def has_counted_thought(answer: Any) -> bool:
    """Return whether the usage counts thinking."""
    details = getattr(answer.usage, "completion_tokens_details", None)
    return bool(getattr(details, "reasoning_tokens", None))


def usage_of(answer: Any) -> dict[str, int] | None:
    """Return the tokens, if they were counted."""
    return counted(
        getattr(answer.usage, "prompt_tokens", None),
        getattr(answer.usage, "completion_tokens", None),
    )


def message_of(body: Any) -> str:
    """Return the words of an error body, but nothing of a web page."""
    told = body
    for name in ("message", "detail"):  # the second is FastAPI's
        told = told.get(name, told) if isinstance(told, dict) else told
    if isinstance(told, list):
        told = "; ".join(_fault(each) for each in told if isinstance(each, dict))
    if not isinstance(told, str) or told.lstrip().startswith("<"):
        return ""
    return told


def _fault(told: dict[str, Any]) -> str:
    """Return what pydantic says is wrong, without the `input`: the prompt."""
    return f"{'.'.join(map(str, told.get('loc', ())))}: {told.get('msg')}"


def code_of(body: Any) -> Any:
    """Return what of an error body says without doubt what it is."""
    told = body if isinstance(body, dict) else {}
    codes = (told.get("code"), told.get("type"))
    return next(filter(classify.knows, codes), None)


def _choice(answer: Any) -> Any:
    """Return the first choice of an answer, or raise what it says instead."""
    check_error(answer)
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        # A web page with status 200 comes back as str, other JSON as all None.
        raise TransientError(reason=MALFORMED)
    for choice in first_choice(choices):
        check_error(choice)
        return choice
    raise BadAnswerError(reason="answer without a choice")


def first_choice(choices: list[Any]) -> list[Any]:
    """Return the choices that are the answer, of several answers: one or none."""
    # A server that gives one answer may leave the number out.
    return [each for each in choices if not getattr(each, "index", None)][:1]


def check_error(told: Any) -> None:
    """Raise what an answer, or a choice of it, says instead."""
    if error := getattr(told, "error", None):
        raise AnsweredError(error)
