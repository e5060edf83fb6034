"""How a provider's error is told: on one line, without keys, with advice."""

import math
from typing import TypeVar

from .config.settings import ProviderSettings
from .errors import AuthError, ModelNotFoundError, ProviderError, UnreachableError, encodable, text_of
from .redact import redact

# A provider's own words, cut: some put a whole web page into an error.
_LONGEST_DETAIL = 300

E = TypeVar("E", bound=ProviderError)


def presentable(
    error: E, name: str, settings: ProviderSettings | None, secrets: tuple[str, ...]
) -> E:
    """Return a copy that may be logged and shown.

    Args:
        error: What a provider raised or returned.
        name: The chain entry.
        settings: What it is configured to be, for the advice which key to look at.
        secrets: What must be in no text.
    """
    try:
        return error.copy(
            provider=name,
            reason=_line(error.reason, secrets),
            detail=_line(error.detail, secrets),
            advice=error.advice or _advice(error, settings),
            status=error.status if isinstance(error.status, int) else None,
            retry_after=_seconds(error.retry_after),
        )
    except Exception:  # noqa: BLE001  # a stranger's subclass, with ideas of its own
        why = f"failed ({type(error).__name__})"
        return ProviderError(reason=why, provider=name)  # type: ignore[return-value]  # a base of E


def _advice(error: ProviderError, settings: ProviderSettings | None) -> str:
    """Return which configuration key to look at, where one is to blame."""
    if settings is None:
        return ""
    if isinstance(error, AuthError) and "@" in (settings.base_url or ""):
        return f"check {settings.base_url_key}"  # its user is sent, and no key
    if isinstance(error, AuthError) and settings.api_key_name:
        return f"{'check' if settings.api_key else 'set'} {settings.api_key_name}"
    if isinstance(error, UnreachableError) and settings.base_url:
        return f"check {settings.base_url_key}"
    if isinstance(error, ModelNotFoundError) and settings.model_key:
        return _of_model(settings, error.detail)
    return ""


def _of_model(settings: ProviderSettings, detail: str) -> str:
    """Return what to change if there is no such model, or no such address."""
    if not settings.base_url:
        return f"set {settings.model_key}"
    if "model" in detail.lower():
        return f"set {settings.model_key}, or check {settings.base_url_key}"
    # A server that does not speak of models may not know the path either.
    return f"check {settings.base_url_key}, or set {settings.model_key}"


def _seconds(value: object) -> float | None:
    """Return a stranger's retry_after, such as a header's text, as a number."""
    try:
        seconds = float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None


def _line(text: object, secrets: tuple[str, ...]) -> str:
    """Return a text that can be encoded, on one line, without keys and not too long."""
    line = " ".join(redact(encodable(text_of(text)), secrets).split())
    return line if len(line) <= _LONGEST_DETAIL else line[: _LONGEST_DETAIL - 1] + "…"
