"""What the HTTP libraries under the SDKs do not do by themselves.

A timeout of httpx, httpx2 or requests limits each read only: a body that drips in never
ends. The hooks here hold the body to what is left of the attempt's seconds when the
headers are there. Headers that drip in are not stopped.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

_PIECE = 65_536

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


def credentials(key: str, url: str) -> Any:
    """Return the `auth` of an httpx client: an address's user, or a key, or nothing.

    For an SDK that drops the user, and sends whatever key it finds by itself.

    Args:
        key: The key; may be empty.
        url: The address, perhaps with a user and a password.
    """
    from httpx import BasicAuth

    address = urlsplit(url)
    if address.username:
        return BasicAuth(unquote(address.username), unquote(address.password or ""))

    def authorize(request: Any) -> Any:
        request.headers.pop("Authorization", None)
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return authorize


@cache
def requests_adapter() -> type[Any]:
    """Return an `HTTPAdapter` that also works where gevent patched after an import.

    The TLS context that requests makes is of urllib3's import; with gunicorn's
    `--preload` that is before gevent's patch, and such a context calls itself for ever.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=_tls(), **kwargs)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            return super().proxy_manager_for(proxy, ssl_context=_tls(), **kwargs)

    return Adapter


def _tls() -> ssl.SSLContext:
    """Return a context that verifies; requests tells it whom to trust."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def bound_requests(
    response: Any, *, stream: bool = False, timeout: object = None, **_: Any
) -> None:
    """Bound the body of an answer; a response hook of a requests session."""
    # An old urllib3 has no read1: there each read has the whole time.
    if (
        not stream
        and isinstance(timeout, int | float)
        and hasattr(response.raw, "read1")
    ):
        left = timeout - response.elapsed.total_seconds()
        response.raw = _RawBody(response.raw, time.monotonic() + left)


class _RawBody:
    """An urllib3 response whose `stream`, which requests reads, watches the clock."""

    def __init__(self, raw: Any, stop: float) -> None:
        self._raw = raw
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, _: int, *, decode_content: bool) -> Iterator[bytes]:
        from requests import ReadTimeout
        from urllib3.exceptions import ReadTimeoutError

        while True:
            left = self._stop - time.monotonic()
            if left <= 0:
                self._raw.close()  # else its socket would wait for the collector
                raise ReadTimeout("the body was not complete in time")
            # Asked each time: it is gone when the connection is back in the pool, and
            # at once if the connection is not kept alive.
            if socket := getattr(self._raw.connection, "sock", None):
                socket.settimeout(left)
            try:
                # Not read(): it would wait until it has as much as it was told.
                piece = self._raw.read1(_PIECE, decode_content=decode_content)
            except ReadTimeoutError as exc:
                raise ReadTimeout(str(exc)) from None
            if not piece:
                return
            yield piece
