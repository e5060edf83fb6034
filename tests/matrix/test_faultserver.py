"""The fault server: its scripts, its record, and each fault once as bytes on the wire.

What each API says in a fault is held by docs/failures.md over the real SDKs, and by the
tests of streams.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest
from faultserver import FaultServer, faults, spawn
from faultserver.steps import delivered, whole
from real_time import AT_ONCE_S
from wire import ANSWER, HTML, PROMPT

_A_MINUTE = 60
_CHAT = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
_GEMINI = {"contents": [{"parts": [{"text": PROMPT}]}]}
UNARY = {
    "anthropic": ("/v1/messages", _CHAT | {"max_tokens": 300}),
    "openai": ("/v1/chat/completions", _CHAT),
    "gemini": ("/v1beta/models/m:generateContent", _GEMINI),
    "ollama": ("/api/chat", _CHAT | {"stream": False}),
    "cohere": ("/v2/chat", _CHAT),
}
_STREAMED = "/v1beta/models/m:streamGenerateContent"
STREAMS = {
    name: (path, body | {"stream": True})
    for name, (path, body) in UNARY.items()
    if name != "gemini"
} | {"gemini": (_STREAMED, _GEMINI), "gemini sse": (f"{_STREAMED}?alt=sse", _GEMINI)}
TERMINATORS = {
    "anthropic": b"message_stop",
    "openai": b"[DONE]",
    "gemini": b"finishReason",
    "gemini sse": b"finishReason",
    "ollama": b'"done":true',
    "cohere": b"message-end",
}
EACH_UNARY = pytest.mark.parametrize("wire", UNARY)
EACH_STREAM = pytest.mark.parametrize("stream", STREAMS)


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def address(server: FaultServer) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def post(server: FaultServer, path: str, body: object) -> tuple[int, dict, bytes]:
    """Return status, headers in lower case, and body."""
    with closing(HTTPConnection(*address(server), timeout=_A_MINUTE)) as connection:
        connection.request("POST", path, json.dumps(body))
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()


def told(server: FaultServer, wire: str) -> Any:
    """Return the JSON of an answer in one piece."""
    return json.loads(post(server, *UNARY[wire])[2])


def streamed(server: FaultServer, stream: str) -> bytes:
    return post(server, *STREAMS[stream])[2]


def call(
    server: FaultServer, request: tuple[str, object] = UNARY["anthropic"]
) -> socket.socket:
    """Send a request over a plain socket, and leave the answer to the caller."""
    path, body = request
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection = socket.create_connection(address(server), timeout=_A_MINUTE)
    connection.sendall(head.encode() + content)
    return connection


def received(connection: socket.socket) -> bytes:
    """Read to the end, whichever way it comes."""
    data = b""
    with connection:
        while more := connection.recv(65536):
            data += more
    return data


# Answers --------------------------------------------------------------------------

TEXTS: dict[str, Callable[[Any], str]] = {
    "anthropic": lambda body: body["content"][0]["text"],
    "openai": lambda body: body["choices"][0]["message"]["content"],
    "gemini": lambda body: body["candidates"][0]["content"]["parts"][0]["text"],
    "ollama": lambda body: body["message"]["content"],
    "cohere": lambda body: body["message"]["content"][0]["text"],
}


@EACH_UNARY
def test_answers(server, wire):
    """Without a script each API answers properly; the prompt, or what is chosen."""
    status, headers, body = post(server, *UNARY[wire])
    assert (status, headers["connection"]) == (200, "close")
    assert TEXTS[wire](json.loads(body)) == ANSWER

    server.script(
        wire, faults.ECHO, faults.OK(text="blue", model="m-2", usage=(11, 31))
    )
    assert TEXTS[wire](told(server, wire)) == f"echo: {PROMPT}"
    body = told(server, wire)
    assert TEXTS[wire](body) == "blue"
    assert {"11", "31"} < set(re.findall(r"\d+", json.dumps(body)))
    assert "m-2" in json.dumps(body) or wire == "cohere"  # which names no model


@pytest.mark.matrix
def test_other_addresses(server):
    """OpenAI is found without /v1 and Gemini under /v1; other addresses are no API."""
    assert post(server, "/chat/completions", _CHAT)[0] == 200
    assert post(server, "/v1/models/m:generateContent", _GEMINI)[0] == 200
    assert post(server, "/v3/none", {})[0] == 404
    assert [each.wire for each in server.attempts()] == ["openai", "gemini", ""]


@EACH_STREAM
def test_stream(server, stream):
    """A stream brings the text word by word, and its terminal marker at the end."""
    status, headers, body = post(server, *STREAMS[stream])
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    first, second, end = (body.rindex(each) for each in _landmarks(stream))
    assert first < second < end


def _landmarks(stream: str) -> tuple[bytes, bytes, bytes]:
    return b'"Rayleigh"', b'" scattering."', TERMINATORS[stream]


@pytest.mark.matrix
def test_gemini_list(server):
    """Gemini's stream is a JSON list unless events are asked for."""
    assert len(json.loads(streamed(server, "gemini"))) == 3
    assert streamed(server, "gemini sse").startswith(b'data: {"candidates"')


@pytest.mark.matrix
def test_openai_usage(server):
    """OpenAI's usage comes in a chunk without choices, if it is asked for."""
    path, body = STREAMS["openai"]
    wanted = body | {"stream_options": {"include_usage": True}}
    assert b"usage" not in post(server, path, body)[2]
    assert b'"choices":[],"usage"' in post(server, path, wanted)[2]


# Scripts and the record -----------------------------------------------------------


def test_script(server):
    """A script has one step for each request, and the last repeats; others go on."""
    server.script("anthropic", faults.status(500), faults.status(529), faults.OK)
    statuses = [post(server, *UNARY["anthropic"])[0] for _ in range(4)]
    assert statuses == [500, 529, 200, 200]
    assert post(server, *UNARY["gemini"])[0] == 200


def test_script_for_all(server):
    """A script without a name is one for each API, on its own."""
    server.script(faults.status(500), faults.OK)
    for wire in UNARY:
        assert [post(server, *UNARY[wire])[0] for _ in range(2)] == [500, 200]


@pytest.mark.parametrize("wrong", ["azure", faults.bad_key, 500])
def test_wrong_script(server, wrong):
    """What is neither an API nor a step is refused, not left out."""
    with pytest.raises(ValueError, match="neither an API nor a step"):
        server.script(wrong, faults.OK)


def test_attempts(server):
    """Every request is there with path, headers, body and times."""
    before = time.monotonic()
    post(server, *UNARY["anthropic"])
    (attempt,) = server.attempts("anthropic")
    assert attempt.wait()
    assert (attempt.path, attempt.json) == UNARY["anthropic"]
    assert attempt.headers["host"] == server.url.removeprefix("http://")
    assert before < attempt.at <= attempt.ended <= time.monotonic()
    assert not attempt.abandoned
    assert server.attempts("gemini") == []


def test_abandoned(server):
    """A client that hangs up before the answer is seen doing so, at once."""
    server.script(faults.hang)
    with call(server):
        assert server.arrived(1, "anthropic")
        (attempt,) = server.attempts()
        assert attempt.ended is None
    assert attempt.wait()
    assert attempt.abandoned
    assert attempt.ended - attempt.at < AT_ONCE_S


def test_raising_step():
    """What a test's own step raises comes out at the end, and not as an answer."""

    def choose(attempt):
        raise LookupError("a slip")

    server = FaultServer(faults.by_request(choose)).__enter__()
    with pytest.raises(ConnectionResetError):
        received(call(server))
    with pytest.raises(LookupError, match="a slip"):
        server.__exit__(None, None, None)


@pytest.mark.parametrize(
    "step",
    [
        faults.hang,
        faults.drip(_A_MINUTE),
        faults.stall_body,
        faults.slow_first_byte(_A_MINUTE),
    ],
)
def test_stop(step):
    """The server stops at once, whatever it is doing; that is no abandoning."""
    with FaultServer(step) as server:
        connection = call(server)
        assert server.arrived(1)
        began = time.monotonic()
    assert time.monotonic() - began < AT_ONCE_S
    (attempt,) = server.attempts()
    assert attempt.ended is not None
    assert not attempt.abandoned
    connection.close()


@pytest.mark.matrix
def test_many_connections():
    """Hundreds of connections wait at the same time."""
    waiting, all_here = [], asyncio.Event()

    async def deliver(exchange, reply):
        waiting.append(exchange)
        if len(waiting) == 300:
            all_here.set()
        await all_here.wait()
        await whole(exchange, reply)

    with FaultServer(delivered("all together", faults.OK, deliver)) as server:
        connections = [call(server) for _ in range(300)]
        assert all(b"200 OK" in received(each) for each in connections)
        assert len({each.connection for each in server.attempts()}) == 300


def test_many_threads():
    """Scripts are taken step by step, also by many threads at once."""
    with FaultServer() as server, ThreadPoolExecutor(16) as pool:
        server.script("openai", *[faults.status(500)] * 40, faults.OK)
        asked = [pool.submit(post, server, *UNARY["openai"]) for _ in range(80)]
        statuses = sorted(each.result()[0] for each in asked)
    assert statuses == [200] * 40 + [500] * 40


@pytest.mark.parametrize("keep_alive", [True, False])
def test_keep_alive(keep_alive):
    """A connection is used again only if the server was told so."""
    with FaultServer(keep_alive=keep_alive) as server:
        with closing(HTTPConnection(*address(server), timeout=_A_MINUTE)) as connection:
            for path, body in (*UNARY.values(), *STREAMS.values()):
                connection.request("POST", path, json.dumps(body))
                assert connection.getresponse().read()
        connections = {each.connection for each in server.attempts()}
    assert len(connections) == (1 if keep_alive else len(UNARY) + len(STREAMS))


@pytest.mark.slow
def test_spawn():
    """A server in a process of its own repeats prompts."""
    with spawn("--delay", "0.01") as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with closing(HTTPConnection(host, int(port), timeout=_A_MINUTE)) as connection:
            path, body = UNARY["anthropic"]
            connection.request("POST", path, json.dumps(body))
            with connection.getresponse() as response:
                assert f"echo: {PROMPT}" in response.read().decode()


# Refused requests -----------------------------------------------------------------


@EACH_UNARY
def test_status(server, wire):
    """Every status comes with a JSON object in the API's way."""
    codes = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]
    headers = {"X-Trace": "7"}
    server.script(*(faults.status(each, "so it is", headers=headers) for each in codes))
    answers = [post(server, *UNARY[wire]) for _ in codes]
    assert [status for status, _, _ in answers] == codes
    for _, headers, body in answers:
        assert headers["x-trace"] == "7"
        assert "so it is" in json.dumps(json.loads(body))


@pytest.mark.matrix
def test_retry_after(server):
    """A wait is told by header, but by Google in the body."""
    server.script(faults.rate_limited(2))
    assert post(server, *UNARY["anthropic"])[1]["retry-after"] == "2"
    assert "retry-after" not in post(server, *UNARY["gemini"])[1]


@pytest.mark.matrix
def test_own_body(server):
    """A status may have another body than the API's."""
    server.script(faults.status(502, body=HTML, headers={"Content-Type": "text/html"}))
    status, headers, body = post(server, *STREAMS["gemini"])
    assert (status, headers["content-type"]) == (502, "text/html")
    assert body == HTML.encode()


def test_refused_stream(server):
    """A refused stream is a plain error; Gemini's is in a list unless by events."""
    server.script(faults.status(503))
    statuses = [post(server, *each)[0] for each in STREAMS.values()]
    assert statuses == [503] * len(STREAMS)
    assert json.loads(streamed(server, "gemini"))[0]["error"]["code"] == 503
    assert json.loads(streamed(server, "gemini sse"))["error"]["code"] == 503


@pytest.mark.matrix
def test_rejects(server):
    """Only requests that have the parameter are refused, however it is spelled."""
    server.script(faults.rejects("temperature", "max_output_tokens"))
    statuses = [
        post(server, UNARY[wire][0], UNARY[wire][1] | fields)[0]
        for wire, fields in (
            ("anthropic", {"temperature": 0.5}),
            ("anthropic", {"top_p": 0.5}),
            ("gemini", {"generationConfig": {"maxOutputTokens": 9}}),
            ("gemini", {"generationConfig": {"topK": 9}}),
            ("ollama", {"options": {"temperature": 0.5}}),
        )
    ]
    assert statuses == [400, 200, 400, 200, 400]


# The network ----------------------------------------------------------------------


@pytest.mark.matrix
def test_reset(server):
    """A reset comes as such, before any byte."""
    server.script(faults.reset_before_headers)
    with call(server) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


@pytest.mark.matrix
def test_close(server):
    """A close without an answer is a proper one."""
    server.script(faults.close_without_answer)
    assert received(call(server)) == b""
    with pytest.raises(RemoteDisconnected):
        post(server, *UNARY["gemini"])


def test_hang(server):
    """A server that hangs takes the request and says nothing."""
    server.script(faults.hang)
    with call(server) as connection:
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.matrix
def test_cut_body(server):
    """Half of the promised body comes, then the end."""
    server.script(faults.cut_body)
    with pytest.raises(IncompleteRead) as caught:
        post(server, *UNARY["gemini"])
    assert caught.value.expected > 0 < len(caught.value.partial)


@pytest.mark.parametrize("table", [UNARY, STREAMS], ids=["unary", "stream"])
def test_cut_body_reset(server, table):
    """Half of the body comes, then a reset."""
    server.script(faults.cut_body_reset)
    with call(server, table["openai"]) as connection:
        assert b"200 OK" in connection.recv(65536)
        with pytest.raises(ConnectionResetError):
            connection.recv(65536)


def test_stall_body(server):
    """Half of the body comes, then nothing more, and the connection stays."""
    server.script(faults.stall_body)
    with call(server) as connection:
        assert connection.recv(65536).count(b"\r\n\r\n") == 1
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    (attempt,) = server.attempts()
    assert attempt.wait()
    assert attempt.abandoned


@pytest.mark.matrix
def test_slow_first_byte(server):
    """The answer comes whole, but late; also if it is another one than usual."""
    server.script(faults.slow_first_byte(0.1, faults.status(500)))
    began = time.monotonic()
    assert post(server, *UNARY["anthropic"])[0] == 500
    assert time.monotonic() - began >= 0.1


DRIPS = {
    "body": (faults.drip, lambda data: data.partition(b"\r\n\r\n")[2]),
    "headers": (faults.drip_headers, lambda data: data),
}


@pytest.mark.parametrize("way", DRIPS)
def test_drip(server, way):
    """Body or headers come byte by byte, and are whole in the end."""
    drip, part = DRIPS[way]
    server.script(drip(0))
    assert TEXTS["cohere"](told(server, "cohere")) == ANSWER
    server.script(drip(0.02))
    began = time.monotonic()
    with call(server, UNARY["cohere"]) as connection:
        data = b""
        while len(slow := part(data)) < 3:
            data += connection.recv(65536)
    assert len(slow) * 0.02 <= time.monotonic() - began


# Streams --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "reset", "clean"])
def test_cut_stream(server, end):
    """A cut stream has the pieces before the cut, and ends as told."""
    server.script(faults.cut_stream(1, end))
    connection = call(server, STREAMS["ollama"])
    if end == "reset":
        with pytest.raises(ConnectionResetError):
            received(connection)
        return
    data = received(connection)
    assert b'"Rayleigh"' in data
    assert b" scattering." not in data
    assert data.endswith(b"0\r\n\r\n") == (end == "clean")


@pytest.mark.matrix
def test_stall_stream(server):
    """A stalled stream has the pieces before, then nothing more."""
    server.script(faults.stall_stream(after=1))
    data = b""
    with call(server, STREAMS["anthropic"]) as connection:
        while b'"Rayleigh"' not in data:
            data += connection.recv(65536)
        connection.settimeout(0.02)
        with pytest.raises(TimeoutError):
            connection.recv(65536)


@pytest.mark.matrix
def test_slow_stream(server):
    """The pieces of a slow stream come one at a time."""
    server.script(faults.slow_stream(0.01))
    began = time.monotonic()
    assert TERMINATORS["gemini"] in streamed(server, "gemini")
    assert time.monotonic() - began >= 0.03


@pytest.mark.matrix
def test_broken_chunk(server):
    """A broken chunk stands between good ones."""
    server.script(faults.broken_chunk(after=1))
    body = streamed(server, "openai")
    lines = [each.partition(b"{")[2] for each in body.splitlines() if b"{" in each]
    good = [_is_json(b"{" + each.rstrip(b",]")) for each in lines]
    assert good.count(False) == 1
    assert good[0]
    assert good[-1]


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except json.JSONDecodeError:
        return False
    return True


@EACH_STREAM
def test_error_event(server, stream):
    """An error within a stream is the last of it, and nothing before its turn."""
    server.script(faults.error_event(529, after=1))
    status, _, body = post(server, *STREAMS[stream])
    assert status == 200
    assert b"529" in body or b"verloaded" in body
    assert b'"Rayleigh"' in body
    assert b" scattering." not in body


@pytest.mark.matrix
def test_json_instead_of_sse(server):
    """A client that wants a stream may get an answer in one piece."""
    server.script(faults.json_instead_of_sse)
    _, headers, body = post(server, *STREAMS["cohere"])
    assert headers["content-type"] == "application/json"
    assert ANSWER in json.dumps(json.loads(body))


# Steps that are chosen for each request -------------------------------------------


def test_flapping(server, clock):
    """A flapping API is down until its moment on the test's own clock."""
    up_at = clock.now + 30
    server.script(faults.flapping(faults.status(503), up_at, clock.monotonic))
    assert post(server, *UNARY["anthropic"])[0] == 503
    clock.sleep(30)
    assert post(server, *UNARY["anthropic"])[0] == 200


def test_by_request(server):
    """A function may choose what a request gets, also a choice again."""

    def choose(attempt):
        return faults.bad_key() if attempt.json["model"] == "m" else faults.ECHO

    server.script("openai", faults.slow_first_byte(0.01, faults.by_request(choose)))
    assert post(server, *UNARY["openai"])[0] == 401
    assert post(server, "/chat/completions", _CHAT | {"model": "n"})[0] == 200
