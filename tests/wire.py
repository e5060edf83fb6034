"""The other end of the wire: a server that fails as told, and the providers' bodies.

`pytest_httpserver` gives the ordinary statuses; `Stub` is for what it cannot do: reset,
hang up, stay silent, send half a body, or keep connections open and tell them apart.
"""

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import MappingProxyType
from typing import NamedTuple

PROMPT = "Why is the sky blue?"
ANSWER = "Rayleigh scattering."
HTML = "<html><body><h1>Welcome to the hotel's network</h1></body></html>"


@dataclass(frozen=True)
class Received:
    """A request as it reached the stub; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: tuple[str, int]

    @property
    def json(self):
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an ACK

    def do_POST(self):
        received = Received(
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers["Content-Length"] or 0)),
            self.client_address,
        )
        self.server.received.append(received)
        self.server.answer(self, received)

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not self.server.keep_alive:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep stderr quiet."""


Answer = Callable[[Handler, Received], None]


class Stub(ThreadingTCPServer):
    """A server on loopback with a thread per connection; answers as told, or badly.

    Args:
        answer: Answers each request.
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
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self):
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def handle_error(self, request, client_address):
        """Keep quiet of clients that hang up first."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args):
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


def reply(
    body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> Answer:
    """Answer properly."""
    content = encoded(body)
    head = {"Content-Type": "application/json", "Content-Length": str(len(content))}

    def answer(handler: Handler, received: Received) -> None:
        handler.send(status, head | dict(headers), content)

    return answer


def echo(
    build: Callable[[str], object], prompt_of: Callable[[Received], str]
) -> Answer:
    """Answer each request with its own prompt, so that mixed-up answers show."""

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
        head = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        handler.send(200, head, content[: len(content) // 2])
        handler.close_connection = True

    return answer


def drip(body: object, *, chunked: bool = False, late: float = 0.0) -> Answer:
    """Send a body of 60 bytes or more one byte every 50 ms, so for 3 s or longer.

    Args:
        body: The body.
        chunked: Whether its length stays untold.
        late: Seconds of silence before the headers.
    """
    content = encoded(body)

    def answer(handler: Handler, received: Received) -> None:
        time.sleep(late)
        head = {"Content-Type": "application/json"}
        if chunked:
            head["Transfer-Encoding"] = "chunked"
        else:
            head["Content-Length"] = str(len(content))
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
        head = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        handler.send(200, head, content[: len(content) // 2])
        hang(handler, received)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Answer each request in its own way; the last one serves all that follow."""

    def answer(handler: Handler, received: Received) -> None:
        number = handler.server.received.index(received)
        answers[min(number, len(answers) - 1)](handler, received)

    return answer


def reset(handler: Handler, received: Received) -> None:
    """Break the connection with a RST."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(handler.connection.detach())  # else a FIN would go first
    handler.close_connection = True


def close(handler: Handler, received: Received) -> None:
    """Hang up without a word."""
    handler.close_connection = True


def hang(handler: Handler, received: Received) -> None:
    """Say nothing until the client or the test has had enough."""
    handler.connection.recv(1)
    handler.close_connection = True


class Row(NamedTuple):
    """An HTTP answer, and the failure that it must become, if it is none.

    Attributes:
        says: A piece of `response.error`.
        told: What `retry_after_s` must be.
    """

    status: int
    body: object
    kind: str = ""
    says: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    told: float | None = None


def serve(httpserver, row: Row) -> None:
    """Make an `httpserver` answer every POST with a row's answer."""
    httpserver.expect_request(re.compile(".*"), method="POST").respond_with_data(
        encoded(row.body), row.status, row.headers, content_type="application/json"
    )


def story(response, clock, requests: int) -> dict:
    """Return what is countable of a failed call, to compare with `failure`."""
    last = response.attempts[-1]
    return {
        "kind": response.metadata["error_kind"],
        "outcome": last.outcome,
        "status": last.status,
        "retry_after_s": last.retry_after_s,
        "attempts": len(response.attempts),
        "requests": requests,
        "waits": clock.waits,
        "answered": (response.success, response.content),
    }


def failure(
    kind: str, status: int | None = None, retry_after: float | None = None
) -> dict:
    """Return what must be countable of a failed call with LLM_MAX_RETRIES=3."""
    tries = 3 if kind == "transient" else 1
    return {
        "kind": kind,
        "outcome": kind,
        "status": status,
        "retry_after_s": retry_after,
        "attempts": tries,
        "requests": tries,
        "waits": [5.0, 10.0] if kind == "transient" else [],
        "answered": (False, ""),
    }


_FORK = """
import os, sys, traceback
from importlib import import_module

module, name, url = sys.argv[1:]
provider = getattr(import_module(module), name)("key-0123456789", base_url=url)

def ask(prompt):
    content = provider.generate_content(prompt).content
    assert content == f"echo: {prompt}", content

ask("parent before")
child = os.fork()
if child == 0:
    try:
        ask("child once")
        ask("child twice")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
ask("parent meanwhile")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ask("parent after")
"""


def python(code: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """Run code in a fresh interpreter, which must succeed; return what it printed."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fork_with(provider_class: type, url: str) -> None:
    """Ask before a fork, in the child, meanwhile and after; all must be answered right.

    In an interpreter of its own: forking one that has threads is deprecated.
    """
    python(_FORK, provider_class.__module__, provider_class.__name__, url)


# Anthropic -----------------------------------------------------------------------


def message(text: str | None = ANSWER, **changes) -> dict:
    """Return an answer of the Messages API; without a text it has no content."""
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    } | changes


def anthropic_error(kind: str, text: str, **more) -> dict:
    """Return an error body of the Messages API."""
    return {
        "type": "error",
        "error": {"type": kind, "message": text, **more},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


# Google --------------------------------------------------------------------------


def generated(*texts: str, finish: str | None = "STOP", **changes) -> dict:
    """Return an answer of generateContent with one part for each text."""
    candidate: dict = {"index": 0}
    if texts:
        parts = [{"text": text} for text in texts]
        candidate["content"] = {"role": "model", "parts": parts}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 6,
            "candidatesTokenCount": 4,
            "totalTokenCount": 25,
            "thoughtsTokenCount": 15,
        },
        "modelVersion": "gemini-3.8-flash-001",
        "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
    } | changes


def blocked_prompt(reason: str = "SAFETY") -> dict:
    """Return generateContent's answer to a prompt that it will not take."""
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6},
        "modelVersion": "gemini-3.8-flash-001",
    }


def google_error(code: int, status: str, text: str, *details: dict) -> dict:
    """Return an error body as Google's APIs send it."""
    error = {"code": code, "message": text, "status": status}
    return {"error": error | ({"details": list(details)} if details else {})}


def google_detail(kind: str, **fields) -> dict:
    """Return one detail of an error, such as RetryInfo."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


KEY_INVALID = google_error(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    google_detail(
        "ErrorInfo",
        reason="API_KEY_INVALID",
        domain="googleapis.com",
        metadata={"service": "generativelanguage.googleapis.com"},
    ),
    google_detail(
        "LocalizedMessage",
        locale="en-US",
        message="API key not valid. Please pass a valid API key.",
    ),
)


def exhausted(delay: object = None, quota: str = "PerMinute") -> dict:
    """Return Google's 429; `delay` is what RetryInfo says, such as "37.5s"."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests",
        "quotaId": f"GenerateRequests{quota}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-3.8-flash"},
        "quotaValue": "10",
    }
    link = {
        "description": "Learn more about Gemini API quotas",
        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
    }
    wait = [] if delay is None else [google_detail("RetryInfo", retryDelay=delay)]
    return google_error(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        google_detail("Help", links=[link]),
        google_detail("QuotaFailure", violations=[violation]),
        *wait,
    )
