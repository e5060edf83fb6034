"""When a provider wants to be asked again, by its headers or by its words."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

# Whose reset counts: of what is used up, by the names of OpenAI, Groq, Anthropic,
# OpenRouter and of the draft "RateLimit header fields for HTTP".
_REMAINING = re.compile(r"ratelimit.*remaining")

# A number from here on is a moment, in seconds since 1970; from the second on in ms.
_MOMENT_S = 1e9
_MOMENT_MS = 1e12

# More than any hint is worth.
_LONGEST_S = 7 * 86_400.0

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_LENGTH = (
    r"\d{1,9}(?:\.\d{1,9})?\s?(?:ms|[dhms](?![a-z])|(?:second|sec|minute|min|hour)s?)"
)
_LENGTHS = re.compile(rf"(?:{_LENGTH}\s?){{1,4}}$", re.IGNORECASE)
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|[dhms])", re.IGNORECASE)

# "Please try again in 5m45s", "Please retry in 12.5s.", "Retry after 20 seconds".
_IN_WORDS = re.compile(
    rf"(?:try again|retry|retrying|reset(?:s)?|available)\s(?:again\s)?(?:in|after)\s"
    rf"((?:{_LENGTH}\s?){{1,4}})",
    re.IGNORECASE,
)

# Characters of a text in which a hint is looked for.
_LOOKED_AT = 2000


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Reads `retry-after-ms` too, which anthropic and openai send. The header is a number
    of seconds or a date (RFC 9110, section 10.2.3); what is neither, is past or is
    negative says nothing.
    """
    folded = _folded(headers)
    millis = _positive(folded.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = folded.get("retry-after")
    return _positive(value) or _seconds_until(value)


def reset_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until what is used up by the rate-limit headers is reset.

    What has something left does not count. Of several the longest counts.
    """
    folded = _folded(headers)
    resets = [
        _length(folded.get(reset, ""))
        for name, value in folded.items()
        if _REMAINING.search(name) and _positive(value) is None
        for reset in _reset_names(name)
    ]
    return max((each for each in resets if each), default=None)


def told_in(text: str) -> float | None:
    """Return the seconds that a provider's words name, or None."""
    found = _IN_WORDS.search(text[:_LOOKED_AT])
    return _length(found[1]) if found else None


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    # A plain dict, as some SDKs keep, does not ignore case.
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _reset_names(remaining: str) -> Iterator[str]:
    """Yield how the header may be called that belongs to one of what remains."""
    yield remaining.replace("remaining", "reset")
    # anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset
    if "-ratelimit-remaining" not in remaining:
        yield remaining.removesuffix("-remaining") + "-reset"


def _length(value: str) -> float | None:
    """Return a length in seconds: "6m0s", "12.5", or a moment in numbers or ISO."""
    value = value.strip()
    if (number := _positive(value)) is not None:
        return _bounded(_until(number))
    if _LENGTHS.match(value):
        parts = _PART.findall(value)
        return _bounded(sum(float(n) * _UNITS[unit.lower()] for n, unit in parts))
    try:
        return _bounded(datetime.fromisoformat(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _until(number: float) -> float:
    """Return the seconds from now to a moment; a small number is that already."""
    if number >= _MOMENT_MS:
        return number / 1000 - time.time()
    return number - time.time() if number >= _MOMENT_S else number


def _bounded(seconds: float) -> float | None:
    return seconds if 0 < seconds <= _LONGEST_S else None


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
