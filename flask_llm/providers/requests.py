"""What requests does not do by itself, for Google's older libraries.

Its timeout limits each read only, as in `http`; and it reads ~/.netrc.
"""

import ssl
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

_PIECE = 65_536


@cache
def _adapter() -> type[Any]:
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


def restrain(session: Any, connections: int = 10) -> None:
    """Bound a session's answers in time, and keep ~/.netrc out of its requests.

    Args:
        session: The session.
        connections: How many it keeps; one more is logged as a warning by requests.
    """
    session.auth = _as_addressed
    session.hooks["response"].append(_bound)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _adapter()(pool_maxsize=connections))


def _as_addressed(request: Any) -> Any:
    """Sign a request with the user and password of its address, if it has them.

    Without an `auth` of its own a session would look into ~/.netrc, whose `default`
    would even take the place of a token.
    """
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_auth_from_url

    user = get_auth_from_url(request.url)
    return HTTPBasicAuth(*user)(request) if any(user) else request


def _tls() -> ssl.SSLContext:
    """Return a context that verifies; requests tells it whom to trust."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _bound(
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
