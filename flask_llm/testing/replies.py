"""How a `StubServer` answers: properly, badly, late, or not at all.

Each is an `Answer`, or a function that returns one.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from .server import Answer, Handler, Received, encoded

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
