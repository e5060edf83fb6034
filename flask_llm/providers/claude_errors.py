"""What an error of Anthropic's API means, also where it comes within a stream."""

from typing import Any

from . import classify
from ..errors import ProviderError

_STREAMED = 200
# The statuses that the errors have outside of streams, by their types.
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def from_status_error(exc: Any) -> ProviderError:
    """Return the error for an `APIStatusError`, with the API's own words and type.

    Args:
        exc: The SDK's exception.
    """
    told = _told(exc)
    message, code = told.get("message"), _code(told)
    # Without one the body is a proxy's page: its class says enough.
    detail = message if isinstance(message, str) else type(exc).__name__
    if exc.status_code == _STREAMED:
        status = _STATUSES.get(str(told.get("type")), _STATUSES["api_error"])
        return classify.from_status(status, detail, code=code)
    return classify.from_exception(exc, detail=detail, code=code)


def _told(exc: Exception) -> dict[str, Any]:
    """Return the `error` object of the body; the SDK's own attributes came later."""
    body = getattr(exc, "body", None)
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _code(told: dict[str, Any]) -> Any:
    """Return the cause: the `error_code` of the details if it is known, or the type."""
    details = told.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return code if classify.knows(code) else told.get("type")
