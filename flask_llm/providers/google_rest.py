"""What Google's SDKs share: the facts in their errors, and what the models take."""

import re
from collections.abc import Callable, Container, Iterator
from datetime import date
from typing import Any

from . import classify
from .classify import PER_DAY
from ..errors import BadAnswerError, ContentBlockedError, ProviderError
from ..types import counted
from .base import Retirement
from .thinking import SHORT, words_or_tokens

API_KEY_NAMES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")

HOME = "https://generativelanguage.googleapis.com"
"""Where Google takes API keys."""

DEFAULT_MODEL = "gemini-3.8-flash"

_LEVELS = ("minimal", "low", "medium", "high")

# Gemini 3 is told how hard to think; 2.5 how many tokens that may take.
_WITH_BUDGET, _WITH_LEVELS = (2, 5), (3, 0)
_LEAST_OF_2_5_PRO = 128  # which cannot leave it

Refuses = Callable[[str], bool]

# Of aliases such as gemini-flash-latest.
_NEWEST = (99, 0)

# Since this version `temperature` is deprecated: low values can make a model loop.
_NO_TEMPERATURE = (3, 6)

# Neither SDK knows of them. https://ai.google.dev/gemini-api/docs/deprecations, as of
# November 2026; Google Cloud has dates of its own.
_END_OF_2_0 = date(2026, 6, 1)
_END_OF_2_5 = date(2026, 12, 1)
_RETIRED = {
    "gemini-2.0-flash": Retirement(_END_OF_2_0, "gemini-3.5-flash"),
    "gemini-2.0-flash-001": Retirement(_END_OF_2_0, "gemini-3.5-flash"),
    "gemini-2.0-flash-lite": Retirement(_END_OF_2_0, "gemini-3.1-flash-lite"),
    "gemini-2.0-flash-lite-001": Retirement(_END_OF_2_0, "gemini-3.1-flash-lite"),
    "gemini-2.5-flash": Retirement(_END_OF_2_5, "gemini-3.5-flash-lite"),
    "gemini-2.5-pro": Retirement(_END_OF_2_5, "gemini-3.8-flash"),
}


def retirement(model: str) -> Retirement | None:
    """Return when a model of the Gemini API ends, if Google has said so."""
    return _RETIRED.get(model.removeprefix("models/"))


def version(model: str) -> tuple[int, int] | None:
    """Return a Gemini model's version, an alias's as the newest; None for others."""
    name = model.rpartition("/")[2]
    if not name.startswith("gemini-"):
        return None
    found = re.match(r"gemini-(\d+)(?:\.(\d+))?", name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def refused(model: str) -> tuple[str, ...]:
    """Return the optional parameters that a model is known not to take."""
    known = version(model)
    return ("temperature",) if known and known >= _NO_TEMPERATURE else ()


parse_thinking = words_or_tokens("off", "auto", *_LEVELS)
"""Parses how a Gemini model may think: a word, or the most tokens to think with."""


def thinking(
    asked: str | int, model: str, max_tokens: int, refuses: Refuses
) -> dict[str, Any]:
    """Return what a request says of thinking; nothing for the model's own habit.

    Args:
        asked: What `parse_thinking` returned.
        model: The model.
        max_tokens: The most tokens of the answer, thinking included.
        refuses: Whether the model is known not to take a parameter.
    """
    known = version(model)
    if known is None or known < _WITH_BUDGET:
        return {}
    if isinstance(asked, int):
        return {"thinking_budget": min(asked, max_tokens // 2)}
    if asked in _LEVELS:
        return {"thinking_level": asked}
    if asked == "off" or max_tokens < SHORT:
        return least_thinking(model, refuses)
    return {}


def least_thinking(model: str, refuses: Refuses) -> dict[str, Any]:
    """Return what makes a model think as little as it can, as far as is known."""
    known = version(model)
    if known is None or known < _WITH_BUDGET or refuses("thinking_budget"):
        return {}
    if known < _WITH_LEVELS:
        return {"thinking_budget": _LEAST_OF_2_5_PRO if "-pro" in model else 0}
    for level in _LEVELS[:2]:
        if not refuses(f"thinking_level.{level}"):
            return {"thinking_level": level}
    return {}


def candidate(answer: Any) -> Any:
    """Return the first candidate of an answer; a chunk of a stream may lack it.

    Raises:
        ContentBlockedError: There is none, since the prompt is blocked.
    """
    if answer.candidates:
        # Where there is only one, its number may be left out.
        return next((each for each in answer.candidates if not each.index), None)
    feedback = answer.prompt_feedback
    if feedback and feedback.block_reason:
        why = f"prompt blocked ({feedback.block_reason.name})"
        raise ContentBlockedError(reason=why)
    return None


def check(
    finish: str | int | None, finished: Container[object], blocked: Container[object]
) -> None:
    """Raise unless a candidate is complete, or cut by `max_tokens`.

    Args:
        finish: Its finish reason.
        finished: The finish reasons of complete ones and of those that are cut.
        blocked: The finish reasons of safety filters.

    Raises:
        ContentBlockedError: A safety filter stopped it.
        BadAnswerError: It is incomplete for another reason.
    """
    if finish in blocked:
        raise ContentBlockedError(reason="answer blocked by a safety filter")
    if finish not in finished:
        raise BadAnswerError(reason=f"incomplete answer (finish reason: {finish})")


def usage(told: Any) -> dict[str, int] | None:
    """Return the tokens of an answer's usage metadata, if it tells them."""
    total = getattr(told, "total_token_count", None)
    asked = getattr(told, "prompt_token_count", None)
    if not total or asked is None:
        return None
    # Hidden thinking is in the total, and it is paid for as output.
    return counted(asked, total - asked)


def explain(exc: Exception, details: object, message: object) -> ProviderError:
    """Return the error of an exception that carries a status.

    Args:
        exc: The SDK's exception.
        details: The `details` of Google's error body, should be a list of objects.
        message: Google's message, or whatever the server sent in its place.
    """
    return classify.from_exception(
        exc,
        detail=_words(message),
        code=PER_DAY if _is_per_day(details) else detail(details, "reason"),
        # RetryInfo mostly comes without a Retry-After header, and is more exact.
        retry_after=_seconds(detail(details, "retryDelay")),
    )


def detail(details: object, name: str) -> str | None:
    """Return a text out of the list of details that Google puts into its errors."""
    for each in _dicts(details):
        if isinstance(each.get(name), str):
            return str(each[name])
    return None


def _words(message: object) -> str:
    """Return a message; nothing of a proxy's page."""
    if not isinstance(message, str) or message.lstrip().startswith("<"):
        return ""
    return message


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of what should be a list of them."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each


def _is_per_day(details: object) -> bool:
    """Return whether a day's quota is used up, which Google's text does not tell."""
    return any(
        "PerDay" in str(violation.get("quotaId"))
        for each in _dicts(details)
        for violation in _dicts(each.get("violations"))
    )


def _seconds(duration: str | None) -> float | None:
    """Return the seconds of a protobuf duration in JSON, such as "37.5s"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", duration or "")
    return float(found[1]) if found else None
