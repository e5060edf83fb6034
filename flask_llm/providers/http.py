"""What httpx and httpx2, two packages of the same shape, do not do by themselves.

Their timeout limits each read only: a body that drips in never ends. The hooks here
hold it to what is left of the attempt's seconds when the headers are there. Headers
that drip in are not stopped.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

_times: ContextVar[dict[str, float]] = ContextVar("times")


@cache
def body_hooks(library: str) -> dict[str, list[Callable[[Any], None]]]:
    """Return the `event_hooks` of a client; event streams are left alone.

    Args:
        library: "httpx" or "httpx2": two packages of the same shape, with separate
            classes.
    """
    httpx = import_module(library)

    class Body(httpx.SyncByteStream):  # type: ignore[name-defined, misc]  # either one
        def __init__(self, stream: Any, stop: float) -> None:
            self._stream = stream
            self._stop = stop

        def __iter__(self) -> Iterator[bytes]:
            for piece in self._stream:
                if time.monotonic() > self._stop:
                    raise httpx.ReadTimeout("the body was not complete in time")
                yield piece

        def close(self) -> None:
            self._stream.close()

    def begin(request: Any) -> None:
        request.extensions["begun"] = time.monotonic()

    def bound(response: Any) -> None:
        extensions = response.request.extensions
        seconds = extensions["timeout"].get("read")
        kind = response.headers.get("content-type", "")
        if seconds is None or kind.startswith("text/event-stream"):
            return
        stop = extensions["begun"] + seconds
        # The transport looks here once more, before it reads the body.
        extensions["timeout"]["read"] = max(0.001, stop - time.monotonic())
        response.stream = Body(response.stream, stop)

    return {"request": [begin], "response": [bound]}


def client_options(library: str, url: str) -> dict[str, Any]:
    """Return the arguments of an httpx client for an address.

    It follows no redirect, which would take prompt and key to another host, bounds each
    body, and sends a user and a password of the address as Basic authentication.

    Args:
        library: "httpx" or "httpx2".
        url: The address; give the SDK `without_user(url)`, since the library's log
            shows addresses as they are.
    """
    options: dict[str, Any] = {
        "follow_redirects": False,
        "event_hooks": body_hooks(library),
    }
    address = urlsplit(url)
    if address.username or address.password:
        user = unquote(address.username or ""), unquote(address.password or "")
        options["auth"] = import_module(library).BasicAuth(*user)
    return options


def without_user(url: str) -> str:
    """Return an address without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def own_times(library: str) -> dict[str, list[Callable[[Any], None]]]:
    """Return the `body_hooks` of a client whose requests have times of their own.

    For an SDK that takes timeouts for a client only; see `allow`.
    """
    hooks = body_hooks(library)

    def limit(request: Any) -> None:
        request.extensions["timeout"] = dict(_times.get())

    return hooks | {"request": [limit, *hooks["request"]]}


def allow(seconds: float, *, connect: float) -> None:
    """Say how long the next requests of this thread may take.

    Args:
        seconds: For an answer.
        connect: For a connection, and to take the request.
    """
    quick = dict.fromkeys(("connect", "pool", "write"), connect)
    _times.set(quick | {"read": seconds})
