"""What an exception carries of an HTTP response: its status, its headers.

Works on attributes, so that no SDK is imported: the anthropic, Google, openai, cohere,
httpx and requests trees all carry what is looked for here.
"""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

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


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Reads `retry-after-ms` too, which anthropic and openai send. The header is a number
    of seconds or a date (RFC 9110, section 10.2.3); what is neither, is past or is
    negative says nothing.
    """
    # A plain dict, as some SDKs keep, does not ignore case.
    folded = {str(name).lower(): value for name, value in headers.items()}
    millis = _positive(folded.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = folded.get("retry-after")
    return _positive(value) or _seconds_until(value)


def _positive(value: str | None) -> float | None:
    """Return the number of a header if it is above zero and finite."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _seconds_until(date: str | None) -> float | None:
    """Return the seconds from now until an HTTP date, or None."""
    try:
        moment = parsedate_to_datetime(date or "")
        seconds = moment.timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
