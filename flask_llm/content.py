"""Prompts and answers in the log, for an app that asks for them by LLM_LOG_CONTENT."""

import logging

from .fallback.logs import tell
from .messages import Message, plain_text
from .personal import redacted
from .redact import redact
from .types import LLMResponse, Request

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
        tell(logging.INFO, "Prompt: %r", shown, prompt=shown)

    def answered(self, response: LLMResponse) -> None:
        """Log an answer as the caller gets it."""
        name, shown = response.provider_name, self.shown(response.content)
        tell(logging.INFO, "Answer of %s: %r", name, shown, answer=shown, provider=name)

    def shown(self, text: str) -> str:
        """Return a text as it may stand in a log."""
        clean = redacted(redact(text[:_SEARCHED], self._secrets))
        if len(text) > _SEARCHED:
            clean = clean[:-_LONGEST]  # where half a key may stand
        return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


def _without_images(message: Message) -> Message:
    parts = (each if isinstance(each, str) else f"[{each!r}]" for each in message.parts)
    return Message(message.role, tuple(parts))
