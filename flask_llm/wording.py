"""What the words of an error text mean, where there is nothing better to go by."""

import re

from .errors import (
    AuthError,
    ContentBlockedError,
    ContextLengthError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    TransientError,
)

TIMEOUT = "timeout"
CONNECTION = "connection error"


def _words(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that matches whole words; `_` and `-` count as spaces."""
    spaced = pattern.replace(" ", r"[\s_-]+")
    return re.compile(rf"(?<![a-z0-9])(?:{spaced})(?![a-z0-9])", re.IGNORECASE)


_CONTEXT = _words(
    r"context (?:length|window|limit|size)|maximum context|prompt is too long"
    r"|input token count|too many (?:input )?tokens|request too large"
)
_BLOCKED = _words(r"content (?:filter(?:ing)?|policy|blocked)|blocked by safety")
_KEY = _words(
    r"api key (?:not valid|invalid|expired)|(?:invalid|incorrect) (?:x )?api key"
    r"|unauthori[sz]ed|unauthenticated|authentication|permission denied|forbidden"
)
_CREDIT = _words(r"credit balance|billing|usage limits?|spend limit|spending limit")
_INDICATORS = _words(
    r"quotas?|rate limit(?:s|ed|ing)?|ratelimit(?:error)?|resource exhausted"
)
# A number inside an id ("req-429-7") or a bigger number ("1,429") is no status.
_STATUS_429 = re.compile(r"(?<![\w.,-])429(?![\w-]|[.,]\d)")
_MODEL = _words(r"model not found|unknown model|no such model|not found error")
_TIMEOUT = _words(r"time(?:d )?out|timeouts?|deadline exceeded")
_CONNECTION = _words(r"connection|connect|network|unreachable|reset by peer")
_SERVER = _words(
    r"overloaded|unavailable|internal server error|bad gateway|server error"
)
_STATUS_IN_TEXT = re.compile(
    r"(?:^\W*|\b(?:error|code|status|https?(?:/[\d.]+)?)\W{1,3})([45]\d\d)\b(?![.,]?\d)",
    re.IGNORECASE,
)

_Rule = tuple[re.Pattern[str], type[ProviderError], str | None]

# What may hide behind a 400. Only words that name the cause without doubt.
_IN_A_400: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (_CONTEXT, ContextLengthError),
    (_BLOCKED, ContentBlockedError),
    (_words(r"api key (?:not valid|invalid|expired)"), AuthError),
    (_CREDIT, QuotaError),
    (_INDICATORS, QuotaError),
)

# What a text without a number may mean; the documented quota indicators come first.
_IN_A_TEXT: tuple[_Rule, ...] = (
    (_STATUS_429, QuotaError, None),
    (_INDICATORS, QuotaError, None),
    (_CONTEXT, ContextLengthError, None),
    (_BLOCKED, ContentBlockedError, None),
    (_KEY, AuthError, None),
    (_CREDIT, QuotaError, None),
    (_MODEL, ModelNotFoundError, None),
    (_TIMEOUT, TransientError, TIMEOUT),
    (_CONNECTION, TransientError, CONNECTION),
    (_SERVER, TransientError, "server error"),
)


def status_in(text: str) -> int | None:
    """Return the HTTP status that a text names as such, or None."""
    found = _STATUS_IN_TEXT.search(text)
    return int(found[1]) if found else None


def cause_of(text: str) -> tuple[type[ProviderError], str | None]:
    """Return the error class that a text tells of, and a reason where it is known.

    The documented indicators (429, quota, rate limit, resource exhausted) are matched
    as words: "4290 tokens" is no quota error.
    """
    for pattern, cls, reason in _IN_A_TEXT:
        if pattern.search(text):
            return cls, reason
    return ProviderError, None


def cause_of_400(text: str) -> type[ProviderError] | None:
    """Return the class that the text of a 400 names without doubt, or None."""
    return next((cls for pattern, cls in _IN_A_400 if pattern.search(text)), None)
