"""What the `ollama` SDK raises, and means by it."""

from typing import Any
from urllib.parse import urlsplit

from . import classify
from ..errors import ProviderError, UnavailableError, text_of
from .completion import message_of
from .unread import answered, unread

# Nobody listens, or there is no such host: the SDK's exception, and in streams httpx's.
_ABSENT = {"ConnectionError", "ConnectError"}

# What the SDK says is the status of an error within a stream.
_IN_STREAM = -1


def absent(exc: Exception, address: str, setting: str) -> UnavailableError | None:
    """Return the error for a server that is not there; None if it is.

    Args:
        exc: What the SDK raised.
        address: Where the server should be.
        setting: The setting that says so.
    """
    if type(exc).__name__ not in _ABSENT:
        return None
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]  # without user and password
    return UnavailableError(
        text_of(exc.__context__ or exc),
        reason=f"no server at {parts.scheme}://{host}",
        advice=f"start it with `ollama serve`, or set {setting}",
    )


def told_by(exc: Any) -> ProviderError | None:
    """Return the error that the server's own words tell of; None if there are none.

    Args:
        exc: What the SDK raised.
    """
    told = message_of(getattr(exc, "error", None))
    if getattr(exc, "status_code", None) == _IN_STREAM:
        return answered(told)
    if isinstance(exc, ValueError | TypeError):  # pydantic's quotes the answer
        return unread(exc)
    # The SDK's exception has no headers, and where the error's body is no object it is
    # an AttributeError: httpx's holds all.
    refusal = exc.__context__
    if type(refusal).__name__ == "HTTPStatusError":
        return classify.from_exception(refusal, detail=told)
    return None
