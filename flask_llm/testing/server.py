"""A server on loopback that answers as a provider's would.

For the tests of a provider: its SDK talks HTTP to a real server, which keeps what it
was sent. Each answer is a function, so an own one is easily added::

    with StubServer(reply({"text": "Hello!"})) as server:
        MyProvider("key", base_url=server.url).generate_content("Hi")
    assert server.received[0].json == {"prompt": "Hi"}

Standard library only.

Each is an `Answer`, or a function that returns one.
"""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import MappingProxyType
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """A request as it reached the server.

    Attributes:
        path: Path and query.
        headers: Headers by their names in lower case.
        body: The body.
        connection: The client's address and port: the same for requests that share a
            connection, and for no others.
        method: "POST", "GET", …
    """

    path: str
    headers: dict[str, str]
    body: bytes
    connection: tuple[str, int]
    method: str = "POST"

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """One connection of a `StubServer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an ACK
    server: "StubServer"

    def do_POST(self) -> None:
        """Keep the request, and answer it."""
        received = Received(
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers["Content-Length"] or 0)),
            self.client_address,
            self.command,
        )
        self.server.received.append(received)
        self.server.answer(self, received)

    # A client that follows a redirect may turn a POST into a GET.
    do_GET = do_POST  # noqa: N815  # the base class looks for this name

    def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer.

        Args:
            status: HTTP status.
            headers: Headers; `Content-Length` is not added.
            body: As much of the body as shall be sent now.
        """
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not self.server.keep_alive:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name
        """Keep stderr quiet."""


Answer = Callable[[Handler, Received], None]
"""How a request is answered: writes to the handler, or breaks its connection."""


class StubServer(ThreadingTCPServer):
    """A server on loopback with a thread for each connection; a context manager.

    Args:
        answer: Answers each request; may be replaced later.
        keep_alive: Whether clients may use a connection again. The SDKs leave an idle
            one to the garbage collector, and anthropic's sometimes warns of it then.

    Attributes:
        received: Every request that arrived, in order.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Answer, *, keep_alive: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.keep_alive = keep_alive
        self.received: list[Received] = []
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and note it."""
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet of clients that hang up first."""

    def __enter__(self) -> Self:
        # It looks every millisecond whether it shall end, as most tests take no more.
        threading.Thread(target=self.serve_forever, args=(0.001,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        for connection in self._open:  # wakes the threads that wait for a client
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


def closed_port() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def encoded(body: object) -> bytes:
    """Return a body's bytes: text and bytes as they are, anything else as JSON."""
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _head_of(content: bytes) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Length": str(len(content))}


def reply(
    body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> Answer:
    """Answer properly."""
    content = encoded(body)

    def answer(handler: Handler, _: Received) -> None:
        handler.send(status, _head_of(content) | dict(headers), content)

    return answer


def echo(
    build: Callable[[str], object], prompt_of: Callable[[Received], str]
) -> Answer:
    """Answer each request with its own prompt, so that mixed-up answers show.

    Args:
        build: Returns the body of a good answer with a text.
        prompt_of: Returns the prompt that a request holds.
    """

    def answer(handler: Handler, received: Received) -> None:
        reply(build(f"echo: {prompt_of(received)}"))(handler, received)

    return answer


def together(parties: int, answer: Answer) -> Answer:
    """Answer only when so many requests are waiting at once."""
    barrier = threading.Barrier(parties, timeout=10)

    def wait(handler: Handler, received: Received) -> None:
        barrier.wait()
        answer(handler, received)

    return wait


def half(body: object) -> Answer:
    """Promise a whole body, send half of it, hang up."""
    content = encoded(body)

    def answer(handler: Handler, received: Received) -> None:
        handler.send(200, _head_of(content), content[: len(content) // 2])
        close(handler, received)

    return answer


def drip(body: object, *, chunked: bool = False, late: float = 0.0) -> Answer:
    """Send a body of 60 bytes or more one byte every 50 ms, so for 3 s or longer.

    Args:
        body: The body.
        chunked: Whether its length stays untold.
        late: Seconds of silence before the headers.
    """
    content = encoded(body)

    def answer(handler: Handler, _: Received) -> None:
        time.sleep(late)
        head = _head_of(content)
        if chunked:
            del head["Content-Length"]
            head["Transfer-Encoding"] = "chunked"
        handler.send(200, head, b"")
        for byte in content:
            time.sleep(0.05)
            piece = bytes([byte])
            handler.wfile.write(b"1\r\n%b\r\n" % piece if chunked else piece)

    return answer


def stall(body: object, *, late: float = 0.0) -> Answer:
    """Send the headers, after so many seconds, and half of the body; then nothing."""
    content = encoded(body)

    def answer(handler: Handler, received: Received) -> None:
        time.sleep(late)
        handler.send(200, _head_of(content), content[: len(content) // 2])
        hang(handler, received)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Answer each request in its own way; the last one serves all that follow."""

    def answer(handler: Handler, received: Received) -> None:
        number = handler.server.received.index(received)
        answers[min(number, len(answers) - 1)](handler, received)

    return answer


def reset(handler: Handler, _: Received) -> None:
    """Break the connection with a RST."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(handler.connection.detach())  # else a FIN would go first
    handler.close_connection = True


def close(handler: Handler, _: Received) -> None:
    """Hang up without a word."""
    handler.close_connection = True


def hang(handler: Handler, _: Received) -> None:
    """Say nothing until the client or the test has had enough."""
    handler.connection.recv(1)
    handler.close_connection = True
