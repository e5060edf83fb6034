"""HTTP for the SDKs: it can be cancelled, and is bounded in size and time.

httpx and requests limit each read only: a body that drips in never ends. The hooks here
hold it to what is left of the attempt's seconds when the headers are there. What drips
in before that is not stopped. Nor can another thread end a stream that one of theirs
waits for; `cancellable` and `restrain` let it. requests reads ~/.netrc too.
"""

import math
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from ..config.settings import MAX_ANSWER_BYTES
from ..resilience.stream_reader import (
    Cancellation,
    callers_cancellation,
    current_cancellation,
)
from . import internals
from .internals import UNCUT

C = TypeVar("C")

_STREAMED = ("text/event-stream", "application/x-ndjson")

_times: ContextVar[dict[str, float]] = ContextVar("times")


in_one_piece: ContextVar[bool] = ContextVar("in_one_piece", default=False)
"""Whether what is asked here is to be answered in one piece, whatever it looks like."""

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextmanager
def rehearsing() -> Iterator[None]:
    """Let the clients that are made meanwhile answer by themselves, without a network.

    The answer is an empty JSON object. Who watches the app's requests sees none.
    """
    watchers = sys.modules.get("opentelemetry.instrumentation.utils")
    token = _rehearsing.set(True)
    try:
        with watchers.suppress_instrumentation() if watchers else nullcontext():
            yield
    finally:
        _rehearsing.reset(token)


MOST_OF_AN_ERROR = 4 * 2**20
"""Bytes of an error that are read; what comes behind them says no more."""

# A stream says each word in an event of its own, which takes many times the bytes.
_OF_A_STREAM = 8

_FIRST_ERROR = 400

# Seconds; libraries take 0 for no time at all.
_LEAST_S = 0.001

# Connections that are kept for the next calls.
_KEPT = 100


@cache
def body_hooks(
    library: str, most: int = MAX_ANSWER_BYTES
) -> dict[str, list[Callable[[Any], None]]]:
    """Return the `event_hooks` of a client; streams are left alone.

    They are what has a cancellation, and, for who asks directly, event streams.

    Args:
        library: "httpx" or "httpx2": two packages of the same shape, with separate
            classes.
        most: Bytes of an answer in one piece that are read.
    """
    stream_of, body_of = _streams(library), _bodies(library)

    def begin(request: Any) -> None:
        if callers_cancellation.get() is not None:
            _depart()
        request.extensions["begun"] = time.monotonic()

    def bound(response: Any) -> None:
        is_error = response.status_code >= _FIRST_ERROR
        size = MOST_OF_AN_ERROR if is_error else most
        if current_cancellation.get() is not None:
            response.stream = stream_of(response, size * _OF_A_STREAM)
            return
        extensions = response.request.extensions
        seconds = extensions["timeout"].get("read")
        if seconds is None or (not in_one_piece.get() and _is_stream(response)):
            return
        stop = extensions["begun"] + seconds
        # The transport looks here once more, before it reads the body.
        left = stop - time.monotonic()
        extensions["timeout"]["read"] = left if left > _LEAST_S else _LEAST_S
        response.stream = body_of(response.stream, stop, size)

    return {"request": [begin], "response": [bound]}


@cache
def _bodies(library: str) -> type[Any]:
    """Return the class of a body that is bounded in time and size."""
    httpx = import_module(library)

    class Body(httpx.SyncByteStream):  # type: ignore[name-defined, misc]  # either one
        def __init__(self, stream: Any, stop: float, most: int) -> None:
            self._stream = stream
            self._stop = stop
            self._left = most

        def __iter__(self) -> Iterator[bytes]:
            for piece in self._stream:  # as in `within`, which costs a call for each
                if time.monotonic() > self._stop:
                    raise httpx.ReadTimeout("the body was not complete in time")
                yield piece
                self._left -= len(piece)
                if self._left < 0:
                    return

        def close(self) -> None:
            self._stream.close()

    return Body


def within(most: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a body up to a size, as if it ended there: then it is cut.

    Args:
        most: Bytes that are read, with the whole of the last piece.
        pieces: The body.
    """
    for piece in pieces:
        yield piece
        most -= len(piece)
        if most < 0:
            return


def _is_stream(response: Any) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.startswith(_STREAMED)


def client_options(
    library: str, url: str, most: int = MAX_ANSWER_BYTES
) -> dict[str, Any]:
    """Return the arguments of an httpx client for an address.

    It follows no redirect, which would take prompt and key to another host, bounds each
    body, sends a user and a password of the address as Basic authentication, and opens
    as many connections as there are calls at once: a stream holds one for long.

    Args:
        library: "httpx" or "httpx2".
        url: The address; give the SDK `without_user(url)`, since the library's log
            shows addresses as they are.
        most: Bytes of an answer that are read.
    """
    httpx = import_module(library)
    options: dict[str, Any] = {
        "follow_redirects": False,
        "event_hooks": body_hooks(library, most),
        "limits": httpx.Limits(max_keepalive_connections=_KEPT),
    }
    address = urlsplit(url)
    if address.username or address.password:
        user = unquote(address.username or ""), unquote(address.password or "")
        options["auth"] = httpx.BasicAuth(*user)
    if _rehearsing.get():
        empty = httpx.Response(200, json={})
        options["transport"] = httpx.MockTransport(lambda _: empty)
    return options


def without_user(url: str) -> str:
    """Return an address without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def own_times(
    library: str, most: int = MAX_ANSWER_BYTES
) -> dict[str, list[Callable[[Any], None]]]:
    """Return the `body_hooks` of a client whose requests have times of their own.

    For an SDK that takes timeouts for a client only; see `allow`.
    """
    hooks = body_hooks(library, most)

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


def cancellable(client: C) -> C:
    """Return a client, made so that a stream can be cancelled.

    A thread that waits for the stream, for its headers or for its next byte, then gets
    a transport error at once, and the connection is not used again. Until the request
    is sent only the timeout of the connection ends it. For HTTP/1.1, where a connection
    serves one request at a time.

    Args:
        client: A `Client` of httpx or httpx2, with `body_hooks`.
    """
    if _rehearsing.get():
        return client
    # There is no public door to the sockets while headers are awaited.
    mounted = internals.get(client, "_mounts", UNCUT) or {}
    usual = internals.get(client, "_transport", UNCUT)
    for transport in (usual, *mounted.values()):
        pool = transport and internals.get(transport, "_pool", UNCUT)
        if backend := pool and internals.get(pool, "_network_backend", UNCUT):
            internals.replace(pool, "_network_backend", _Backend(backend), UNCUT)
    return client


def _streams(library: str) -> Callable[[Any, int], Any]:
    """Return the class of a response's body which its cancellation does not outlive."""
    httpx = import_module(library)

    class Stream(httpx.SyncByteStream):  # type: ignore[name-defined, misc]  # either one
        def __init__(self, response: Any, most: int) -> None:
            self._stream, self._most = response.stream, most
            self._connection = response.extensions.get("network_stream")
            self._has_events = _has_plain_events(response.headers)

        def __iter__(self) -> Iterator[bytes]:
            pieces = within(self._most, self._stream)
            return plain_events(pieces) if self._has_events else pieces

        def close(self) -> None:
            # First, since then the pool may give the connection to another request.
            if isinstance(self._connection, _Connection):
                self._connection.leave()
            self._stream.close()

    return Stream


def _has_plain_events(headers: Any) -> bool:
    """Return whether a body is server-sent events that nothing has packed."""
    kind: str = headers.get("content-type", "")
    return kind.startswith(_STREAMED[0]) and "content-encoding" not in headers


# What every SDK reads.
_PLAIN = re.compile(
    rb"(?:data: [^\r\n]+\n\n|event: (?!message\n)[^\r\n]+\ndata: [^\r\n]+\n\n)*"
)
_LINE = re.compile(rb"\r\n|\n|\r(?!\Z)")


def plain_events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put server-sent events into the one form that every SDK reads.

    By the standard of server-sent events (WHATWG HTML, section 9.2): a comment, an `id`
    or a `retry` is no event, the space behind the colon need not be there, a line may
    end in three ways, and "message" is the name of those without one. Some SDKs know
    less than that.

    Args:
        pieces: The body, as it comes.
    """
    begun: list[bytes] = []  # of a line
    lines: list[bytes] = []  # of an event
    for piece in pieces:
        if not (begun or lines) and _PLAIN.fullmatch(piece):
            yield piece
            continue
        begun.append(piece)
        if b"\n" in piece or b"\r" in piece:
            *more, rest = _LINE.split(b"".join(begun))
            begun = [rest] if rest else []
            for line in more:
                if line:
                    lines.append(line)
                    continue
                event, lines = _event(lines), []
                if event:
                    yield event
    if event := _event([*lines, b"".join(begun)]):
        yield event  # it has no blank line behind it


def _event(lines: Sequence[bytes]) -> bytes:
    """Return an event with its name and its data; nothing if it has no data."""
    fields = [line.partition(b":") for line in lines]
    named = [
        (name, value.removeprefix(b" ").rstrip(b"\r")) for name, _, value in fields
    ]
    data = [b"data: " + value for name, value in named if name == b"data" and value]
    kinds = [value for name, value in named if name == b"event"]
    kind = [b"event: " + each for each in kinds[-1:] if each != b"message"]
    return b"\n".join([*kind, *data, b"", b""]) if data else b""


def _depart() -> None:
    """Note that a request leaves this process.

    Raises:
        OSError: Nobody waits for its answer any more, so it is not sent.
    """
    if (caller := callers_cancellation.get()) is not None:
        caller.is_preparing = False
        if caller.is_cancelled:
            raise OSError("nobody waits for the answer any more")


class _Backend:
    """The network of a connection pool, whose connections can be cancelled."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.sleep = backend.sleep

    def connect_tcp(self, *args: Any, **options: Any) -> "_Connection":
        _depart()
        stream = _Connection(self._backend.connect_tcp(*args, **options))
        _depart()  # that may have taken its time
        return stream

    def connect_unix_socket(self, *args: Any, **options: Any) -> "_Connection":
        _depart()
        return _Connection(self._backend.connect_unix_socket(*args, **options))


class _Connection:
    """A connection that its request's cancellation ends, and that of no earlier one.

    Args:
        stream: The `NetworkStream` of httpcore or httpcore2.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._cancellation: Cancellation | None = None
        # Between looking whose it is and cutting it, it must not become another's.
        self._lock = threading.Lock()
        self._until = math.inf
        self.read = stream.read
        self.get_extra_info = stream.get_extra_info

    def hurry(self, seconds: float) -> None:
        """Let what is left of this answer be silent for so long altogether."""
        self._until = time.monotonic() + seconds
        self.read = self._read_in_time

    def _read_in_time(self, most: int, timeout: float | None = None) -> bytes:
        left = max(_LEAST_S, self._until - time.monotonic())
        data: bytes = self._stream.read(most, min(timeout or left, left))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._until < math.inf:  # of the answer before
            self._until, self.read = math.inf, self._stream.read
        cancellation = current_cancellation.get()
        if cancellation is not self._cancellation:
            with self._lock:
                self._cancellation = cancellation
        if cancellation is not None:
            cancellation.on_cancel(partial(self._cut, cancellation))
            _reading.set(self)
        self._stream.write(buffer, timeout)

    def start_tls(self, *args: Any, **options: Any) -> "_Connection":
        return _Connection(self._stream.start_tls(*args, **options))

    def leave(self) -> None:
        """Let no cancellation end it until the next request."""
        with self._lock:
            self._cancellation = None

    def close(self) -> None:
        self.leave()
        self._stream.close()

    def _cut(self, cancellation: Cancellation) -> None:
        with self._lock:
            if self._cancellation is cancellation:
                self.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class _Hurried(Protocol):
    """What a stream is read from, which can be told to be quick."""

    def hurry(self, seconds: float) -> None:
        """Let what is left of the answer be silent for so long altogether."""


_reading: ContextVar[_Hurried | None] = ContextVar("reading", default=None)


def hurry(seconds: float) -> None:
    """Let what is left of the stream that is read here be silent for some seconds.

    Args:
        seconds: From now on, all silences together.
    """
    if (source := _reading.get()) is not None:
        source.hurry(seconds)


_PIECE = 65_536


@cache
def _adapter() -> type[Any]:
    """Return an `HTTPAdapter` whose streams can be cancelled; gevent may patch it.

    The TLS context that requests makes is of urllib3's import; with gunicorn's
    `--preload` that is before gevent's patch, and such a context calls itself for ever.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=_tls(), **kwargs)
            _make_cancellable(self.poolmanager)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            made = super().proxy_manager_for(proxy, ssl_context=_tls(), **kwargs)
            _make_cancellable(made)
            return made

    return Adapter


def restrain(session: Any, connections: int = 10, most: int = MAX_ANSWER_BYTES) -> None:
    """Bound a session's answers in time and size; keep ~/.netrc out of its requests.

    Args:
        session: The session.
        connections: How many it keeps; one more is logged as a warning by requests.
        most: Bytes of an answer that are read.
    """
    session.auth = _as_addressed
    session.hooks["response"].append(partial(_bound, most))
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


def _make_cancellable(manager: Any) -> None:
    """Let a stream's cancellation end the connections of an urllib3 pool manager."""
    from urllib3.poolmanager import pool_classes_by_scheme

    pools = {
        scheme: _cancellable(pool) for scheme, pool in pool_classes_by_scheme.items()
    }
    internals.replace(manager, "pool_classes_by_scheme", pools, UNCUT)


@cache
def _cancellable(pool: type[Any]) -> type[Any]:
    """Return a class of connection pools whose connections can be cancelled.

    A request's cancellation ends it, and that of no earlier one.
    """

    class Connection(pool.ConnectionCls):  # type: ignore[misc, name-defined]  # either one
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._cancellation: Cancellation | None = None
            # Between looking whose it is and cutting it, it must not become another's.
            self._lock = threading.Lock()

        def connect(self) -> None:
            _depart()
            super().connect()
            _depart()  # that may have taken its time

        def getresponse(self, *args: Any, **kwargs: Any) -> Any:
            cancellation = current_cancellation.get()
            # It forgets its socket at once if that is not kept alive.
            self.read_from = self.sock
            with self._lock:
                self._cancellation = cancellation
            if cancellation is not None:
                cancellation.on_cancel(partial(self._cut, cancellation, self.sock))
            return super().getresponse(*args, **kwargs)

        def leave(self) -> None:
            with self._lock:
                self._cancellation = None

        def _cut(self, cancellation: Cancellation, sock: socket.socket) -> None:
            with self._lock:
                if self._cancellation is cancellation:
                    sock.shutdown(socket.SHUT_RDWR)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _bound(
    most: int,
    response: Any,
    *,
    stream: bool = False,
    timeout: object = None,
    **_: Any,
) -> None:
    """Bound the body of an answer; a response hook of a requests session.

    Only each silence of a good stream is bounded.
    """
    # An old urllib3 has no read1: there each read has the whole time.
    if not isinstance(timeout, int | float) or not hasattr(response.raw, "read1"):
        return
    left = timeout - response.elapsed.total_seconds()
    endless = stream and response.ok
    stop = None if endless else time.monotonic() + left
    size = most if response.ok else MOST_OF_AN_ERROR
    response.raw = _RawBody(response.raw, stop, size * (_OF_A_STREAM if endless else 1))
    _reading.set(response.raw)


class _RawBody:
    """An urllib3 response whose `stream`, which requests reads, watches the clock.

    It yields what there is at once, and its cancellation does not outlive it.
    """

    def __init__(self, raw: Any, stop: float | None, most: int) -> None:
        self._raw = raw
        self._connection = raw.connection
        self._stop = stop
        self._left = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def hurry(self, seconds: float) -> None:
        """Let what is left be silent for so long altogether."""
        self._stop = time.monotonic() + seconds

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
                self._left -= len(piece)
                if self._left < 0:
                    self._raw.close()
                    return
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
        # Asked each time: it is gone when the connection is back in the pool.
        sock = getattr(self._raw.connection, "read_from", None)
        if sock is not None and sock.fileno() >= 0:
            sock.settimeout(left)
