"""Lines of the log: their fields, their context, and the texts of calls if wanted.

While a call is made each record has its number and its purpose, whoever writes it: a
filter of the logger adds them. What else applies comes with the line, by `log_line`.
"""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import redact
from ..filters import redacted
from ..types import (
    NOWHERE,
    Attempt,
    CallContext,
    LLMResponse,
    Message,
    Request,
    plain_text,
)

_MOST_CAUSES = 5

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("flask_llm")

current_context: ContextVar[CallContext] = ContextVar(
    "flask_llm.origin", default=NOWHERE
)
"""The context of the call that is made here."""


class _OfCall(Protocol):
    """What belongs to one call."""

    request: Request


S = TypeVar("S", bound=_OfCall)


def within_its_call(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Let all that is logged during a method have the fields of its object's call.

    Args:
        method: Of an object that has the call's `request`.
    """

    @wraps(method)
    def within(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        token = current_context.set(self.request.origin)
        try:
            return method(self, *args, **kwargs)
        finally:
            current_context.reset(token)

    return within


@contextmanager
def within(origin: CallContext) -> Iterator[None]:
    """Let all that is logged meanwhile have the fields of a call.

    Args:
        origin: Of the call.
    """
    token = current_context.set(origin)
    try:
        yield
    finally:
        current_context.reset(token)


def log_line(level: int, sentence: str, *words: object, **fields: object) -> None:
    """Write a record to the log.

    Args:
        level: How loud it is.
        sentence: Its text, with a place for each of `words`.
        words: What stands in these places.
        fields: What else it carries, by names without their "llm_"; None is left out.
    """
    if log.disabled and level >= logging.WARNING:
        _enable()
    if log.isEnabledFor(level):
        known = {
            f"llm_{name}": each for name, each in fields.items() if each is not None
        }
        log.log(level, sentence, *words, extra=known, stacklevel=2)


def _enable() -> None:
    """Switch the logger on again that a configuration of the app's has switched off.

    `logging.config` does that to all loggers that are there before it, unless it is
    told not to; so do Alembic, and `flask db upgrade`. Nobody means it: an outage would
    pass without a word. A level is the way to silence it.
    """
    log.disabled = False
    log.warning(
        'The logger "flask_llm" was disabled, as by logging.config without'
        " disable_existing_loggers=False; it is on again. To silence it set its level"
    )


def of_attempt(attempt: Attempt) -> dict[str, Any]:
    """Return the fields of a line about an attempt."""
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "kind": None if attempt.outcome == "success" else attempt.outcome,
        "latency_s": attempt.latency_s,
        "cost_usd": attempt.cost_usd,
        **_tokens(attempt.usage),
    }


def of_response(response: LLMResponse) -> dict[str, Any]:
    """Return the fields of the line about a call that is over."""
    known = response.metadata
    tries = [each for each in response.attempts if not each.skipped]
    return {
        "provider": response.provider_name,
        "model": tries[-1].model if tries else None,
        "kind": known["error_kind"],
        "attempt": len(tries) or None,
        "latency_s": known["latency_s"],
        "first_token_s": known.get("first_token_s"),
        "cost_usd": known["cost_usd"],
        **_tokens(response.usage_told),
    }


def lines_of(error: BaseException) -> str:
    """Return the traceback of an exception and of those that led to it.

    Without what they say: an SDK's exceptions quote prompts and answers.
    """
    words: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(words) < _MOST_CAUSES:
        lines = "".join(traceback.format_tb(seen.__traceback__))
        words.append(f"{lines}{type(seen).__name__}")
        seen = seen.__cause__ or seen.__context__
    return "\n\nafter\n\n".join(words)


def _tokens(usage: dict[str, int] | None) -> dict[str, int]:
    return {name: usage[name] for name in ("input_tokens", "output_tokens") if usage}


def _with_origin(record: logging.LogRecord) -> bool:
    """Add the fields of the call that is made; what the app has set there stays."""
    origin = current_context.get()
    fields = (
        ("llm_call_id", origin.call_id),
        ("llm_purpose", origin.purpose),
        ("request_id", origin.request_id),
    )
    for name, value in fields:
        if value:
            record.__dict__.setdefault(name, value)
    return True


log.addFilter(_with_origin)


_LONGEST = 4000
"""Characters of a text that are shown."""

_SEARCHED = 10 * _LONGEST
"""Characters in which keys and personal data are looked for, so that the time that this
takes is bounded."""


class Content:
    """Logs what is asked and what is answered, without keys and personal data.

    Args:
        secrets: The keys.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    def asked(self, request: Request) -> None:
        """Log a prompt as it goes to the providers."""
        messages = [_without_images(each) for each in request.messages]
        shown = self.shown(plain_text(request.system, messages))
        log_line(logging.INFO, "Prompt: %r", shown, prompt=shown)

    def answered(self, response: LLMResponse) -> None:
        """Log an answer as the caller gets it."""
        name, shown = response.provider_name, self.shown(response.content)
        log_line(
            logging.INFO, "Answer of %s: %r", name, shown, answer=shown, provider=name
        )

    def shown(self, text: str) -> str:
        """Return a text as it may stand in a log."""
        clean = redacted(redact(text[:_SEARCHED], self._secrets))
        if len(text) > _SEARCHED:
            clean = clean[:-_LONGEST]  # where half a key may stand
        return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


def _without_images(message: Message) -> Message:
    parts = (each if isinstance(each, str) else f"[{each!r}]" for each in message.parts)
    return Message(message.role, tuple(parts))
