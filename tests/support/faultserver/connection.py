"""HTTP/1.1, byte by byte: a connection reads requests, an exchange answers one."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from .messages import Attempt, Reply
from .wires import name_of

if TYPE_CHECKING:
    from .steps import Step

_PHRASES = {each.value: each.phrase for each in HTTPStatus}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no time


class Connection(asyncio.Protocol):
    """A client's connection: one request after the other, each in a task of its own.

    Args:
        receive: Takes note of a request and returns what to do with it.
        keep_alive: Whether another request may follow.
        failed: Is told what a step raised.
        open_ones: Where this connection is while it is open.
    """

    transport: asyncio.Transport | None = None

    def __init__(
        self,
        receive: "Callable[[Attempt], Step]",
        failed: Callable[[Exception], None],
        open_ones: "set[Connection]",
        *,
        keep_alive: bool,
    ) -> None:
        self.keep_alive = keep_alive
        self._receive = receive
        self._failed = failed
        self._open_ones = open_ones
        self._open_ones.add(self)
        self._unread = b""
        self._wanted = 0
        self._attempt: Attempt | None = None
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(0)  # written is what the kernel has
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._task is None and len(self._unread) >= self._wanted:
            self._next()

    def eof_received(self) -> None:
        self._give_up(abandoned=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._give_up(abandoned=True)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # Steps, by way of the exchange, call these.

    @property
    def socket(self) -> socket.socket:
        return self.transport.get_extra_info("socket")

    async def write(self, data: bytes) -> None:
        self.transport.write(data)
        await self._room.wait()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def stop(self) -> None:
        """End at once, since the server does."""
        self._give_up(abandoned=False)
        if self.transport:
            self.transport.abort()

    def _next(self) -> None:
        """Begin to answer the next request, if it is there as a whole."""
        head, found, rest = self._unread.partition(b"\r\n\r\n")
        if not found:
            return
        method, target, headers = _parsed(head)
        length = int(headers.get("content-length", 0))
        self._wanted = len(head) + len("\r\n\r\n") + length
        if len(rest) < length:
            return
        self._unread, self._wanted = rest[length:], 0
        peer = self.transport.get_extra_info("peername")
        body = rest[:length]
        self._begin(Attempt(method, target, headers, body, time.monotonic(), peer))

    def _begin(self, attempt: Attempt) -> None:
        attempt.wire = name_of(attempt)
        self._attempt = attempt
        step = self._receive(attempt)
        exchange = Exchange(self, attempt)
        self._task = asyncio.ensure_future(self._answer(exchange, step))

    async def _answer(self, exchange: "Exchange", step: "Step") -> None:
        try:
            await step.chosen(exchange.attempt).play(exchange)
        except Exception as error:  # noqa: BLE001  # the test shall hear of it
            self._failed(error)
            exchange.reset()
        exchange.attempt.end(time.monotonic(), abandoned=False)
        self._attempt = self._task = None
        if exchange.closing:
            self.transport.close()
        else:
            self._next()

    def _give_up(self, *, abandoned: bool) -> None:
        if self._attempt and self._task:
            self._attempt.end(time.monotonic(), abandoned=abandoned)
            self._task.cancel()
            self._attempt = None


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return a request's method, address and headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    method, target, _ = first.split(" ")
    return method, target, headers


class Exchange:
    """One request and what a step may do about it.

    Attributes:
        attempt: The request.
        closing: Whether the connection is closed afterwards.
    """

    def __init__(self, connection: Connection, attempt: Attempt) -> None:
        self.attempt = attempt
        self.closing = (
            not connection.keep_alive or attempt.headers.get("connection") == "close"
        )
        self._connection = connection
        self._chunked = False

    def head(self, reply: Reply) -> bytes:
        """Return the head of a response, to be sent as it is."""
        self._chunked = reply.streamed
        headers = dict(reply.headers)
        if reply.streamed:
            headers["transfer-encoding"] = "chunked"
        else:
            headers["content-length"] = str(len(reply.body))
        if self.closing:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def framed(self, data: bytes) -> bytes:
        """Return a piece of the body as it goes over the wire."""
        if not self._chunked or not data:
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self) -> bytes:
        """Return what tells the client that the body is whole."""
        return b"0\r\n\r\n" if self._chunked else b""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if data:
            await self._connection.write(data)

    async def silence(self) -> None:
        """Wait until the client hangs up or the server stops."""
        await asyncio.Event().wait()

    def hang_up(self) -> None:
        """Close the connection, properly as seen by TCP, when the step is over."""
        self.closing = True

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.closing = True
        self._connection.reset()


def _phrase(status: int) -> str:
    return _PHRASES.get(status, "Unknown")
