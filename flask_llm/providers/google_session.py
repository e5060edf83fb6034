"""How google-generativeai sends requests: once, and to Google only."""

import json
from typing import Any

from . import classify, internals
from .google_list import Elements
from .requests import restrain

_REDIRECTED = range(300, 400)

# requests keeps ten connections and logs a warning for each one beyond.
_CONNECTIONS = 100


def tame(transport: Any) -> None:
    """Keep a transport from repeating requests and from taking the key astray.

    Its errors then tell their status, and its streams can be read as they come.

    Args:
        transport: The REST transport of one of Google's service clients.
    """
    session = internals.get(transport, "_session", "redirects take the key along")
    if session is None:
        return
    # A 401 would be sent three times, to refresh credentials that an API key has not.
    internals.replace(session, "_max_refresh_attempts", 0, "a 401 is sent three times")
    # A redirect to another host would carry the key along in x-goog-api-key.
    session.max_redirects = 0
    restrain(session, _CONNECTIONS)
    session.hooks["response"].append(_make_readable)


def _make_readable(response: Any, *, stream: bool = False, **_: Any) -> None:
    """Give the SDK a body of the shape it expects; else it loses errors.

    Google's own streams, gateways and proxies send lists, texts and other objects.
    """
    if response.status_code in _REDIRECTED:
        response.close()
        # The SDK would look for an answer in it.
        raise classify.from_status(response.status_code)
    if not response.ok:
        _make_error_readable(response)
    elif stream:
        response.raw = Elements(response.raw)
        response.encoding = "utf-8"


def _make_error_readable(response: Any) -> None:
    try:
        body = response.json()
    except ValueError:  # no JSON, which the SDK can take
        return
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
        body = {"error": {"message": str(body)}}
    # requests has no setter.
    readable = json.dumps(body).encode()
    internals.replace(response, "_content", readable, "the text of some errors is lost")
