"""What to say of a name that stands for no provider: which one may be meant."""

import difflib
import re
from collections.abc import Iterable

from .config.parsers import shown

_PROVIDERS = {
    "anthropic": "claude",
    "google": "gemini",
    "google-genai": "genai",
    "vertexai": "vertex",
}
"""Whom a maker's or a package's name may stand for."""

_MODELS = {
    "gpt-": "openai",
    "claude-": "claude",
    "gemini-": "gemini",
    "command-": "cohere",
}
"""Whose models have names that begin so."""


def unknown(name: str, known: Iterable[str]) -> str:
    """Return a fault, the second half of a sentence that begins with a key.

    Args:
        name: A name that nobody has registered.
        known: Those that somebody has.
    """
    if re.search(r"[\s;|\[\]]", name):
        return f"must be names separated by commas, not {shown(name)}"
    known = list(known)
    return (
        f"names no known provider: {shown(name)}{_hint(name, known)}"
        f" (known: {', '.join(known)}; register your own before)"
    )


def _hint(name: str, known: list[str]) -> str:
    """Return which provider may be meant, or "" where there is no telling."""
    lower = name.lower()
    if meant := _PROVIDERS.get(lower):
        return f"; did you mean {meant!r}?"
    # "gemini-3" is like "gemini", but a model of it.
    others = [each for each in known if not lower.startswith(f"{each}-")]
    if close := difflib.get_close_matches(lower, others, n=1, cutoff=0.7):
        return f"; did you mean {close[0]!r}?"
    for start, provider in _MODELS.items():
        if lower.startswith(start):
            return f"; a model? write {provider}:{name}"
    return ""
