"""What the words of an error text mean, where there is nothing better to go by."""

import re
from collections.abc import Callable
from functools import cached_property

from .errors import AuthError, ContentBlockedError, ContextLengthError, ModelNotFoundError, ProviderError, QuotaError, TimedOutError, TransientError, UsedUpError

TIMEOUT = "timeout"
CONNECTION = "connection error"
MALFORMED = "malformed answer"
NO_END = "stream without an end"


class _Pattern:
    """A regular expression that is compiled on first use.

    All together take 7 ms, which no start of an app should cost.
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._pattern = pattern
        self._flags = flags

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """Find it in a text."""
        return re.compile(self._pattern, self._flags).search


class _Words(_Pattern):
    """Phrases that match as whole words; `_` and `-` count as spaces."""

    def __init__(self, *phrases: str) -> None:
        spaced = "|".join(phrases).replace(" ", r"[\s_-]+")
        super().__init__(rf"(?<![a-z0-9])(?:{spaced})(?![a-z0-9])", re.IGNORECASE)


# The four indicators of the documents, and what providers say instead.
_QUOTA = _Words(
    r"quotas?",
    r"rate limit(?:s|ed|ing)?",
    r"ratelimit(?:ed)?",
    r"resource exhausted",
    r"too many requests",
    r"throttl(?:ed|ing)(?: exception)?",
)
# "500 tokens" counts something; "500." may end a sentence.
_NO_COUNT = (
    r"(?![\w-]|[.,]\d|\s+(?:tokens|words|characters|bytes|requests|ms|seconds)\b)"
)
# A number inside an id ("req-429-7") or a bigger number ("1,429") is no status.
_STATUS_429 = _Pattern(rf"(?<![\w.,-])429{_NO_COUNT}")
_CREDIT = _Words(
    r"credit balance",
    r"insufficient (?:credits?|balance|funds)",
    r"billing (?:account|hard limit|details|not active|limit)",
    r"usage limits?",
    r"spend(?:ing)? limit",
    r"exceeded your budget",
    r"requires a subscription",
)
# A quota of a day or longer, a credit, an amount of money. Not "billing details", which
# Google names for every minute's limit.
_USED_UP = _Words(
    r"(?:per |/ )(?:day|month)",
    r"(?:daily|weekly|monthly) (?:\w+ )?(?:limit|quota)",
    r"credit balance",
    r"insufficient (?:quota|credits?|balance|funds)",
    r"billing (?:hard limit|not active)",
    r"spend(?:ing)? limit",
    r"exceeded your budget",
    r"credits? (?:(?:is|are|have been) )?(?:depleted|exhausted|used up)",
)
_MINUTES = _Words(r"(?:per |/ )(?:second|minute|hour)")
_CONTEXT = _Words(
    r"context (?:length|window|limit|size)",
    r"maximum context",
    r"(?:prompt|input) is too long",
    r"maximum prompt length",
    r"input token count",
    r"too many (?:input )?tokens",
    r"request too large",
)
_BLOCKED = _Words(
    r"content (?:filter(?:ing)?|policy|blocked)",
    r"blocked by safety",
    r"safety system",
    r"flagged (?:for safety|as potentially violating)",
)
_BAD_KEY = _Words(r"api key (?:not valid|invalid|expired)")
_KEY = _Words(
    r"(?:invalid|incorrect|no|missing) (?:x )?api (?:key|token)",
    r"api key not found",
    r"provide an api key",
    r"unauthori[sz]ed",
    r"unauthenticated",
    r"authentication (?:error|failed)",
    r"permission denied",
    r"forbidden",
)
_MODEL = _Words(
    r"(?:unknown|no such) model",
    r"model \S{0,80} ?(?:was )?not found",
    r"model \S{1,80} does not exist",
    r"model not found",
)
_TIMEOUT = _Words(r"timed out", r"timeouts?", r"read timeout", r"deadline exceeded")
_CONNECTION = _Words(
    r"connection (?:error|refused|reset|aborted|closed|failed|lost)",
    r"(?:failed|unable|cannot|could not) to connect",
    r"(?:upstream )?connect error",
    r"network is unreachable",
    r"(?:host|server) (?:is )?unreachable",
    r"no route to host",
    r"broken pipe",
    r"reset by peer",
    r"server disconnected",
    r"closed (?:the )?connection",
    r"incomplete read",
    r"name or service not known",
    r"name resolution",
    r"eof occurred",
)
_MALFORMED = _Words(r"expecting value: line \d+")
_SERVER = _Words(
    r"overloaded",
    r"(?:service|server|temporarily) (?:is )?(?:currently )?unavailable",
    r"internal server error",
    r"bad gateway",
    r"server error",
)

# A status is named as one, stands first or behind a class's name, and counts nothing.
_STATUS = _Pattern(
    r"(?:^\W*|^\w+: |(?:error|code|status|https?(?:/[\d.]+)?)\W{1,3})"
    rf"(40[0-9]|413|422|42[59]|50[0-4]|52[0-9]){_NO_COUNT}",
    re.IGNORECASE,
)
# Some SDKs print the response's headers, whose names speak of rate limits.
_HEADERS = re.compile(r"headers: \{[^}]*\},?")
# "ResourceExhausted: …" and "RateLimitError" hold words too.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_Rules = tuple[tuple[_Pattern, type[ProviderError]], ...]

# What may hide behind a status that providers use for several things. Only words that
# name the cause without doubt.
_BEHIND_400: _Rules = (
    (_CONTEXT, ContextLengthError),
    (_BLOCKED, ContentBlockedError),
    (_BAD_KEY, AuthError),
    (_CREDIT, UsedUpError),
    (_QUOTA, QuotaError),
)
AMBIGUOUS: dict[int, _Rules] = {
    400: _BEHIND_400,
    403: ((_CREDIT, UsedUpError), (_QUOTA, QuotaError)),
    422: _BEHIND_400,
}
"""Statuses whose meaning a code or the words may refine."""

# What a text without a number may mean; the documented indicators come first.
_IN_A_TEXT: tuple[tuple[_Pattern, type[ProviderError], str | None], ...] = (
    (_STATUS_429, QuotaError, None),
    (_QUOTA, QuotaError, None),
    (_CONTEXT, ContextLengthError, None),
    (_BLOCKED, ContentBlockedError, None),
    (_BAD_KEY, AuthError, None),
    (_KEY, AuthError, None),
    (_CREDIT, QuotaError, None),
    (_MODEL, ModelNotFoundError, None),
    (_TIMEOUT, TimedOutError, TIMEOUT),
    (_CONNECTION, TransientError, CONNECTION),
    (_MALFORMED, TransientError, MALFORMED),
    (_SERVER, TransientError, "server error"),
)


def status_in(text: str) -> int | None:
    """Return the HTTP status that a text names as such, or None."""
    found = _STATUS.search(_HEADERS.sub("", text))
    return int(found[1]) if found else None


def cause_of(text: str) -> tuple[type[ProviderError], str | None]:
    """Return the error class that a text tells of, and a reason where it is known.

    The documented indicators (429, quota, rate limit, resource exhausted) are matched
    as words: "4290 tokens" is no quota error.
    """
    spelled = _CAMEL.sub(" ", _HEADERS.sub("", text))
    for pattern, cls, reason in _IN_A_TEXT:
        if pattern.search(spelled):
            used_up = cls is QuotaError and names_used_up(text)
            return (UsedUpError if used_up else cls), reason
    return ProviderError, None


def names_used_up(text: str) -> bool:
    """Return whether a quota's text names a day's limit or the credit without doubt."""
    spelled = _CAMEL.sub(" ", text)
    return bool(_USED_UP.search(spelled)) and not _MINUTES.search(spelled)


def cause_of_status(status: int, text: str) -> type[ProviderError] | None:
    """Return what the text of an ambiguous status names without doubt, or None."""
    rules = AMBIGUOUS[status]
    return next((cls for pattern, cls in rules if pattern.search(text)), None)
