"""Which error it is: by HTTP status, code, exception class, and words.

A status number or a machine-readable code decides first, the class of a transport error
next, and wording last: only for a 400, which providers use for everything, for unknown
exceptions, and for the text of a response with ``success=False``.

Works on attributes and class names, so that no SDK is imported: the anthropic, Google,
openai, cohere, httpx and requests trees all carry what is looked for here.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ..errors import (
    AccessDeniedError,
    AuthError,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UnreachableError,
    UsedUpError,
    causes,
    text_of,
)
from .retry_hints import reset_of, retry_after_of, told_in

TIMEOUT = "timeout"
CONNECTION = "connection error"
MALFORMED = "malformed answer"
NO_END = "stream without an end"

_LIMITED = 429

PER_DAY = "per_day_quota"
"""The code that a provider class passes for a day's quota that no text names."""

_BY_STATUS: dict[int, type[ProviderError]] = {
    **dict.fromkeys((400, 405, 414, 415, 422, 431), InvalidRequestError),
    401: AuthError,
    402: UsedUpError,
    403: AccessDeniedError,
    404: ModelNotFoundError,
    408: TransientError,
    409: TransientError,
    410: ModelNotFoundError,
    413: ContextLengthError,
    425: TransientError,
    429: QuotaError,
    498: TransientError,  # Groq: no capacity at the moment
    499: TransientError,  # Google: CANCELLED, by load of its own
}

# The providers' own words for a cause, from their API references.
_BY_CODE: dict[str, type[ProviderError]] = {
    "api_key_invalid": AuthError,
    "authentication_error": AuthError,
    "invalid_api_key": AuthError,
    "permission_error": AuthError,
    # Of Google's ErrorInfo, where the key or its project may not ask at all.
    **dict.fromkeys(
        (
            "api_key_http_referrer_blocked",
            "api_key_ip_address_blocked",
            "api_key_service_blocked",
            "consumer_invalid",
            "consumer_suspended",
            "iam_permission_denied",
            "service_disabled",
            "user_project_denied",
        ),
        AuthError,
    ),
    "billing_disabled": UsedUpError,  # Google Cloud's ErrorInfo
    "billing_error": UsedUpError,
    "billing_hard_limit_reached": UsedUpError,
    "billing_not_active": UsedUpError,
    "contract_spend_limit_reached": UsedUpError,
    "enforced_spend_limit_reached": UsedUpError,
    "insufficient_quota": UsedUpError,
    "linked_organization_spend_limit_reached": UsedUpError,
    PER_DAY: UsedUpError,
    "rate_limit_error": QuotaError,
    "rate_limit_exceeded": QuotaError,
    "resource_exhausted": QuotaError,
    "context_length_exceeded": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,  # llama.cpp
    "request_too_large": ContextLengthError,
    "string_above_max_length": ContextLengthError,  # OpenAI, Azure
    "1261": ContextLengthError,  # GLM
    "content_filter": ContentBlockedError,  # OpenAI, Azure, Kimi
    "content_policy_violation": ContentBlockedError,
    "responsibleaipolicyviolation": ContentBlockedError,  # Azure
    "data_inspection_failed": ContentBlockedError,  # Alibaba
    "datainspectionfailed": ContentBlockedError,  # Alibaba, by its own API
    "1301": ContentBlockedError,  # GLM
    "arrearage": UsedUpError,  # Alibaba
    "1113": UsedUpError,  # GLM
    "exceeded_current_quota_error": UsedUpError,  # Kimi
    "rate_limit_reached_error": QuotaError,  # Kimi
    "1302": QuotaError,  # GLM: too many at once
    "1303": QuotaError,  # GLM: too often
    "throttling.ratequota": QuotaError,  # Alibaba, as the next
    "throttling.allocationquota": QuotaError,
    "service_tier_capacity_exceeded": QuotaError,  # Mistral
    "capacity_exceeded": TransientError,  # Groq
    "engine_overloaded_error": TransientError,  # Kimi
    "model_decommissioned": ModelNotFoundError,  # Groq
    "model_not_available": ModelNotFoundError,  # Together
    "invalid_model": ModelNotFoundError,  # Mistral
    "resource_not_found_error": ModelNotFoundError,  # Kimi
    "model_not_found": ModelNotFoundError,
    "not_found_error": ModelNotFoundError,
    "api_error": TransientError,
    "overloaded_error": TransientError,
    "server_error": TransientError,
    "timeout_error": TransientError,
}

_TRANSPORT: dict[str, str] = {
    "APITimeoutError": TIMEOUT,
    "Timeout": TIMEOUT,
    "TimeoutError": TIMEOUT,
    "TimeoutException": TIMEOUT,
    "APIConnectionError": CONNECTION,
    "ConnectionError": CONNECTION,
    "ChunkedEncodingError": CONNECTION,
    "HTTPException": CONNECTION,  # http.client, under urllib and requests
    "TransportError": CONNECTION,  # httpx and httpx2
    "gaierror": CONNECTION,
    "ContentDecodingError": MALFORMED,  # requests: what is no gzip
    "DecodingError": MALFORMED,  # httpx and httpx2
    "JSONDecodeError": MALFORMED,
    "ParseError": MALFORMED,  # google.protobuf.json_format
}

# Of httpx and httpx2, which raise them for an unknown host name too.
_UNREACHED = {"ConnectError", "ConnectionRefusedError"}

# The request never left: its key or its address is malformed, so no retry can help.
_NEVER_SENT: dict[str, type[ProviderError]] = {
    "LocalProtocolError": AuthError,
    "InvalidHeader": AuthError,
    "InvalidURL": InvalidRequestError,
    "UnsupportedProtocol": InvalidRequestError,
}


def from_status(
    status: int,
    detail: str = "",
    *,
    code: object = None,
    retry_after: float | None = None,
) -> ProviderError:
    """Return the error for an HTTP status.

    Args:
        status: The number; 2xx means a success that could not be read.
        detail: The provider's own words.
        code: Its machine-readable cause, which refines a 400, 403, 422, 429 or 451.
        retry_after: Seconds after which the provider wants to be asked again.
    """
    cls, reason = _BY_STATUS.get(status, ProviderError), None
    if status in AMBIGUOUS:
        cls = _by_code(code) or cause_of_status(status, detail) or cls
    elif status >= 500:
        cls, reason = TransientError, f"server error {status}"
    elif status < 300:
        cls, reason = TransientError, MALFORMED
    elif status < 400:
        # Not followed: it could take the key astray.
        cls, reason = InvalidRequestError, f"redirected ({status})"
    elif status == 408:
        reason = TIMEOUT  # but no TimedOutError: the server did answer
    if issubclass(cls, QuotaError):
        retry_after = retry_after or told_in(detail)
        cls = _quota(cls, code, detail, told=retry_after is not None)
    if cls is ProviderError:
        reason = f"error {status}"
    return cls(detail, reason=reason, status=status, retry_after=retry_after)


def _quota(
    cls: type[ProviderError], code: object, detail: str, *, told: bool
) -> type[ProviderError]:
    """Return whether a quota is used up for long, by its code and its words.

    What a server says of the time outranks our guess of an hour for a day's limit. A
    credit comes back by nobody's clock.
    """
    if not (cls is UsedUpError or _is_used_up(code, detail)):
        return cls
    if cls is UsedUpError or _by_code(code) is UsedUpError or not told:
        return UsedUpError
    return (
        QuotaError
        if _PERIOD.search(_spaced(_CAMEL.sub(" ", detail[:_LOOKED_AT])))
        else UsedUpError
    )


def from_text(text: str) -> ProviderError:
    """Return the error that a text without any structure names.

    The documented indicators (429, quota, rate limit, resource exhausted) are matched
    as words: "4290 tokens" is no quota error.
    """
    status = status_in(text)
    if status is not None:
        return from_status(status, text)
    cls, reason = cause_of(text)
    return cls(text, reason=reason)


def from_exception(
    exc: BaseException,
    *,
    detail: str | None = None,
    code: object = None,
    retry_after: float | None = None,
) -> ProviderError:
    """Return the error for any exception out of a provider.

    Args:
        exc: A `ProviderError` (returned as it is), an SDK's exception, or any other.
        detail: The provider's own words, where `str(exc)` is not the best of them.
        code: The machine-readable cause, where the provider class knows it.
        retry_after: Seconds to wait, where they are not in a header.
    """
    if isinstance(exc, ProviderError):
        return exc
    detail = text_of(exc) if detail is None else detail
    if (status := status_of(exc)) is not None:
        if retry_after is None:
            headers = headers_of(exc)
            limited = reset_of(headers) if status == _LIMITED else None
            retry_after = retry_after_of(headers) or limited
        return from_status(status, detail, code=code, retry_after=retry_after)
    if cls := _by_code(code):
        return cls(detail, retry_after=retry_after)
    error = _from_transport(exc, detail) or from_text(detail)
    if type(error) is ProviderError:
        error.reason = f"failed ({type(exc).__name__})"
    return error


def knows(code: object) -> bool:
    """Return whether a machine-readable cause says what an error is."""
    return _by_code(code) is not None


def _by_code(code: object) -> type[ProviderError] | None:
    """Return the class of a machine-readable cause, whatever the server sent as one."""
    return _BY_CODE.get(code.lower()) if isinstance(code, str) else None


def _is_used_up(code: object, detail: str) -> bool:
    """Return whether code or words say that minutes will not bring a quota back."""
    return _by_code(code) is UsedUpError or names_used_up(detail)


def _from_transport(exc: BaseException, detail: str) -> ProviderError | None:
    """Return the error for an exception of an HTTP library, by its class's name."""
    names = [name for each in causes(exc) for name in _class_names(each)]
    for name in names:
        if name in _NEVER_SENT:
            # The text holds the header as it is, key included.
            return _NEVER_SENT[name](reason="key or address is malformed")
    for name in _class_names(exc):
        if name in _TRANSPORT:
            reason = _TRANSPORT[name]
            if reason == CONNECTION and (missing := _unreached(exc)):
                return UnreachableError(missing)
            cls = TimedOutError if reason == TIMEOUT else TransientError
            return cls(detail, reason=reason)
    return None


def _unreached(exc: BaseException) -> str:
    """Return why there was no connection at all, or "" if there was one."""
    for each in causes(exc):
        if _UNREACHED.intersection(_class_names(each)):
            return text_of(each)
    # requests has the cause in a text only.
    text = text_of(exc)
    return text if "NewConnectionError" in text else ""


def _class_names(exc: BaseException) -> list[str]:
    """Return the names of an exception's classes, its own first."""
    return [cls.__name__ for cls in type(exc).__mro__]


def status_of(exc: BaseException) -> int | None:
    """Return the HTTP status that an exception carries, or None."""
    response = getattr(exc, "response", None)
    for owner, name in (
        (exc, "status_code"),
        (exc, "code"),
        (exc, "status"),
        (response, "status_code"),
    ):
        value = getattr(owner, name, None)
        if isinstance(value, int) and 100 <= value <= 599:
            return int(value)
    return None


def headers_of(exc: BaseException) -> Mapping[str, str]:
    """Return the response headers that an exception carries, or an empty mapping."""
    for owner in (getattr(exc, "response", None), exc):
        headers: Any = getattr(owner, "headers", None)
        if hasattr(headers, "get"):
            return headers  # type: ignore[no-any-return]  # requests, httpx, dict: all map
    return {}


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
    """Phrases that match as whole words, in a text as `_spaced` returns it."""

    def __init__(self, *phrases: str) -> None:
        joined = "|".join(phrases)
        super().__init__(rf"(?<![a-z0-9])(?:{joined})(?![a-z0-9])", re.IGNORECASE)


# Characters of a text that are looked at: what comes later names no cause.
_LOOKED_AT = 4000

_SPACES = re.compile(r"[\s_-]+")


def _spaced(text: str) -> str:
    """Return the beginning of a text with one space between its words.

    `_` and `-` count as spaces. So no pattern has to repeat them, which could take a
    time that grows with the square of their number.
    """
    return _SPACES.sub(" ", text[:_LOOKED_AT])


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
_DAYS = (
    r"(?:per |/ )(?:day|month)",
    r"(?:daily|weekly|monthly) (?:[a-z0-9]{1,40} )?(?:limit|quota)",
)
_PERIOD = _Words(*_DAYS)
_USED_UP = _Words(
    *_DAYS,
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
    r"range of input length",  # Alibaba
    r"(?:prompt|input) (?:tokens? )?exceeds?",
    r"(?:reduce|shorten) the length of (?:the|your) (?:messages|prompt|input)",
    r"exceeds the (?:model's )?maximum (?:length|number of tokens)",
)
_BLOCKED = _Words(
    r"content (?:filter(?:ing)?|policy|blocked|violates)",
    r"blocked by safety",
    r"safety (?:system|check)",
    r"flagged (?:for|as potentially violating)",
    r"(?:violates?|against) (?:our |the )?usage (?:guidelines|polic(?:y|ies))",
    r"(?:violates?|against) (?:our |the )?content (?:guidelines|polic(?:y|ies))",
    r"requires moderation",
    r"(?:input|prompt|content) (?:was|is|has been) flagged",
    r"content exists risk",  # DeepSeek
    r"inappropriate content",  # Alibaba
    r"(?:unsafe|sensitive) content",  # GLM
    r"high risk",  # Kimi
)
_BAD_KEY = _Words(
    r"api (?:key|token) (?:(?:is|was|has been) )?(?:not valid|invalid|expired|disabled"
    r"|revoked|blocked|suspended|deactivated|reported)",
    r"api key (?:does not have|doesn't have|has no|lacks)",
    r"(?:invalid|incorrect|missing) (?:x )?api (?:key|token)",
)
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
    r"model (?:\S{1,80} ){0,6}(?:was )?not found",
    r"model (?:\S{1,80} ){1,6}does not exist",
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
    r"(?:^\W*|^\w+: |(?:error|code|status|https?(?:/[\d.]{1,8})?)\W{1,3})"
    rf"(40[0-9]|413|422|42[59]|50[0-4]|52[0-9]){_NO_COUNT}",
    re.IGNORECASE,
)
# Some SDKs print the response's headers, whose names speak of rate limits.
_HEADERS = re.compile(r"headers: \{[^{}]*\},?")
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
    403: (
        (_BAD_KEY, AuthError),
        (_BLOCKED, ContentBlockedError),
        (_CREDIT, UsedUpError),
        (_QUOTA, QuotaError),
    ),
    422: _BEHIND_400,
    451: ((_BLOCKED, ContentBlockedError),),
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
    found = _STATUS.search(_HEADERS.sub("", text[:_LOOKED_AT]))
    return int(found[1]) if found else None


def cause_of(text: str) -> tuple[type[ProviderError], str | None]:
    """Return the error class that a text names, and a reason where it is known.

    The documented indicators (429, quota, rate limit, resource exhausted) are matched
    as words: "4290 tokens" is no quota error.
    """
    looked_at = _HEADERS.sub("", text[:_LOOKED_AT])
    spelled = _spaced(_CAMEL.sub(" ", looked_at))
    for pattern, cls, reason in _IN_A_TEXT:
        if pattern.search(looked_at if pattern is _STATUS_429 else spelled):
            used_up = cls is QuotaError and names_used_up(text)
            return (UsedUpError if used_up else cls), reason
    return ProviderError, None


def names_used_up(text: str) -> bool:
    """Return whether a quota's text names a day's limit or the credit without doubt."""
    spelled = _spaced(_CAMEL.sub(" ", text[:_LOOKED_AT]))
    return bool(_USED_UP.search(spelled)) and not _MINUTES.search(spelled)


def cause_of_status(status: int, text: str) -> type[ProviderError] | None:
    """Return what the text of an ambiguous status names without doubt, or None."""
    rules = AMBIGUOUS[status]
    words = _spaced(text)
    return next((cls for pattern, cls in rules if pattern.search(words)), None)
