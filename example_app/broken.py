"""The switch on the page: what happens when the primary provider fails."""

import time
from collections.abc import Generator
from typing import Any

from flask import current_app

from flask_llm import LLMFactory, LLMProvider, LLMResponse, Request
from flask_llm.errors import QuotaError
from flask_llm.web import AppFactory

CHOICES = {
    "": "works",
    "quota": "has no quota left",
    "midway": "breaks off after some words",
}
"""What the primary does, as the page offers it; "" is the app's own chain."""

_WORDS = "Thank you for your message. We have looked into it and would like"
_PAUSE_S = 0.1  # so that one sees them come


class BrokenProvider(LLMProvider):
    """Fails as a provider does whose quota is used up.

    After five failures in a row the chain leaves it out for a while, like any other.

    Args:
        name: Its name in the chain.
        text: What it says before it fails, seen only by those who read along.
    """

    needs_key = False

    def __init__(self, name: str, text: str = "") -> None:
        self._name = name
        self._text = text

    def get_provider_name(self) -> str:
        """Return its name in the chain."""
        return self._name

    def is_available(self) -> bool:
        """Say that it can be asked."""
        return True

    def generate_content(self, *_: Any, **__: Any) -> LLMResponse:
        """Fail."""
        raise QuotaError

    def stream(self, _: Request) -> Generator[str, None, LLMResponse]:
        """Say some words, and fail."""
        for word in self._text.split():
            time.sleep(_PAUSE_S)
            yield f"{word} "
        raise QuotaError


def chain(choice: str) -> LLMFactory:
    """Return the current app's chain, its primary as the visitor wants it.

    Args:
        choice: One of `CHOICES`; anything else is the chain as it is.
    """
    usual: LLMFactory = current_app.extensions["llm"]
    if not choice or choice not in CHOICES:
        return usual
    # Kept, so that its models are loaded and its connections made only once.
    made = current_app.extensions.setdefault("example_app.broken", {})
    if choice not in made:
        text = _WORDS if choice == "midway" else ""
        broken = BrokenProvider(f"broken-{usual.entries[0].name}", text)
        # Sent by the app, its signals reach the dashboard too.
        made[choice] = AppFactory(
            broken, config=current_app.config, sender=usual.sender
        )
    return made[choice]  # type: ignore[no-any-return]  # app.extensions is untyped
