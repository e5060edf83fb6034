"""Reads a failure: which of the error classes it is.

A status number or a machine-readable code decides first, the class of a transport error
next, and wording last: only for a 400, which providers use for everything, for unknown
exceptions, and for the text of a response with ``success=False``.

Works on attributes and class names, so that no SDK is imported: the anthropic, Google,
openai, httpx and requests trees all carry what is looked for here.
"""

from collections.abc import Iterator

from .. import wording
from ..carried import headers_of, retry_after_of, status_of
from ..errors import AuthError, ContentBlockedError, ContextLengthError, InvalidRequestError, ModelNotFoundError, ProviderError, QuotaError, TimedOutError, TransientError, UnreachableError, UsedUpError, text_of
from ..wording import CONNECTION, MALFORMED, TIMEOUT

_DEEPEST = 5

PER_DAY = "per_day_quota"
"""The code that a provider class passes for a day's quota which no text tells of."""

_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthError,
    402: UsedUpError,
    403: AuthError,
    404: ModelNotFoundError,
    408: TransientError,
    413: ContextLengthError,
    425: TransientError,
    429: QuotaError,
}

# The providers' own words for a cause, from their API references.
_BY_CODE: dict[str, type[ProviderError]] = {
    "api_key_invalid": AuthError,
    "authentication_error": AuthError,
    "invalid_api_key": AuthError,
    "permission_error": AuthError,
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
    "content_filter": ContentBlockedError,
    "content_policy_violation": ContentBlockedError,
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

# Of httpx and httpx2, which also tell so of a name that is not known.
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
        code: Its machine-readable cause, which refines a 400, 403, 422 or 429.
        retry_after: Seconds after which the provider wants to be asked again.
    """
    cls, reason = _BY_STATUS.get(status, InvalidRequestError), None
    if status in wording.AMBIGUOUS:
        cls = _by_code(code) or wording.cause_of_status(status, detail) or cls
    elif status >= 500:
        cls, reason = TransientError, f"server error {status}"
    elif status < 300:
        cls, reason = TransientError, MALFORMED
    elif status < 400:
        reason = f"redirected ({status})"  # not followed: it could take the key astray
    elif status == 408:
        reason = TIMEOUT  # but no TimedOutError: the server did answer
    if cls is QuotaError and _is_used_up(code, detail):
        cls = UsedUpError
    return cls(detail, reason=reason, status=status, retry_after=retry_after)


def from_text(text: str) -> ProviderError:
    """Return the error that a text without any structure tells of.

    The documented indicators (429, quota, rate limit, resource exhausted) are matched
    as words: "4290 tokens" is no quota error.
    """
    status = wording.status_in(text)
    if status is not None:
        return from_status(status, text)
    cls, reason = wording.cause_of(text)
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
        retry_after: Seconds to rest, where they are not in a header.
    """
    if isinstance(exc, ProviderError):
        return exc
    detail = text_of(exc) if detail is None else detail
    if (status := status_of(exc)) is not None:
        if retry_after is None:
            retry_after = retry_after_of(headers_of(exc))
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
    return _by_code(code) is UsedUpError or wording.names_used_up(detail)


def _from_transport(exc: BaseException, detail: str) -> ProviderError | None:
    """Return the error for an exception of an HTTP library, by its class's name."""
    names = [name for each in _causes(exc) for name in _class_names(each)]
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
    for each in _causes(exc):
        if _UNREACHED.intersection(_class_names(each)):
            return text_of(each)
    # requests has the cause in a text only.
    text = text_of(exc)
    return text if "NewConnectionError" in text else ""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exception and what it was raised from."""
    each: BaseException | None = exc
    for _ in range(_DEEPEST):  # an exception may be its own cause
        if each is not None:
            yield each
            each = each.__cause__


def _class_names(exc: BaseException) -> list[str]:
    """Return the names of an exception's classes, its own first."""
    return [cls.__name__ for cls in type(exc).__mro__]
