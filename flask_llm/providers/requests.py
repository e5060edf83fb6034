"""What requests does not do by itself, for Google's older libraries.

Its timeout limits each read only, as in `http`; it reads ~/.netrc; and another thread
cannot end a stream that one of its own waits for.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from ..line import Line, current_line
from . import internals
from .internals import UNCUT

_PIECE = 65_536


@cache
def _adapter() -> type[Any]:
    """Return an `HTTPAdapter` whose streams can be cut, and which gevent may patch.

    The TLS context that requests makes is of urllib3's import; with gunicorn's
    `--preload` that is before gevent's patch, and such a context calls itself for ever.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=_tls(), **kwargs)
            _make_cuttable(self.poolmanager)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            made = super().proxy_manager_for(proxy, ssl_context=_tls(), **kwargs)
            _make_cuttable(made)
            return made

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


def _make_cuttable(manager: Any) -> None:
    """Let the line of a stream cut the connections of an urllib3 pool manager."""
    from urllib3.poolmanager import pool_classes_by_scheme

    pools = {scheme: _cuttable(pool) for scheme, pool in pool_classes_by_scheme.items()}
    internals.replace(manager, "pool_classes_by_scheme", pools, UNCUT)


@cache
def _cuttable(pool: type[Any]) -> type[Any]:
    """Return a class of connection pools whose connections can be cut.

    The line of a connection's request can do it, and no line of an earlier one.
    """

    class Connection(pool.ConnectionCls):  # type: ignore[misc, name-defined]  # either one
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._line: Line | None = None
            # Between looking whose it is and cutting it, it must not become another's.
            self._lock = threading.Lock()

        def getresponse(self, *args: Any, **kwargs: Any) -> Any:
            line = current_line.get()
            with self._lock:
                self._line = line
            if line is not None:
                # It forgets its socket at once if that is not kept alive.
                line.attach(partial(self._cut, line, self.sock))
            return super().getresponse(*args, **kwargs)

        def leave(self) -> None:
            with self._lock:
                self._line = None

        def _cut(self, line: Line, sock: socket.socket) -> None:
            with self._lock:
                if self._line is line:
                    sock.shutdown(socket.SHUT_RDWR)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _bound(
    response: Any, *, stream: bool = False, timeout: object = None, **_: Any
) -> None:
    """Bound the body of an answer; a response hook of a requests session.

    Only each silence of a good stream is bounded.
    """
    # An old urllib3 has no read1: there each read has the whole time.
    if not isinstance(timeout, int | float) or not hasattr(response.raw, "read1"):
        return
    left = timeout - response.elapsed.total_seconds()
    endless = stream and response.ok
    response.raw = _RawBody(response.raw, None if endless else time.monotonic() + left)


class _RawBody:
    """An urllib3 response whose `stream`, which requests reads, watches the clock.

    It yields what there is at once, and the end of it is the end of its line.
    """

    def __init__(self, raw: Any, stop: float | None) -> None:
        self._raw = raw
        self._connection = raw.connection
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, _: int, *, decode_content: bool) -> Iterator[bytes]:
        from requests import ReadTimeout
        from urllib3.exceptions import ReadTimeoutError

        try:
            while True:
                self._hurry()
                # Not read(): it would wait until it has as much as it was told.
                piece = self._raw.read1(_PIECE, decode_content=decode_content)
                if not piece:
                    return
                yield piece
        except ReadTimeoutError as exc:
            raise ReadTimeout(str(exc)) from None
        finally:
            self._connection.leave()

    def _hurry(self) -> None:
        """Give the next read the time that is left."""
        from requests import ReadTimeout

        if self._stop is None:
            return
        left = self._stop - time.monotonic()
        if left <= 0:
            self._raw.close()  # else its socket would wait for the collector
            raise ReadTimeout("the body was not complete in time")
        # Asked each time: it is gone when the connection is back in the pool, and
        # at once if the connection is not kept alive.
        if sock := getattr(self._raw.connection, "sock", None):
            sock.settimeout(left)
