"""Streams out of real workers of every class: prompt, unmixed, and gone when left."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from statistics import median
from typing import NamedTuple, Self
from urllib.parse import quote

import pytest
from faultserver import FaultServer, faults
from faultserver.steps import Step, delivered
from gunicorn_server import CLASSES, PRELOAD, SOON, Gunicorn, serving
from real_time import AT_ONCE_S
from wired import WIRES, settings

pytestmark = pytest.mark.slow

TEXT = "Short waves scatter most of all."
ANSWER = faults.OK(text=TEXT)
PACE_S = 0.05
PROMPT_S = 0.1
EACH_CLASS = pytest.mark.parametrize("worker_class", CLASSES)


class Event(NamedTuple):
    """A server-sent event, and when it came."""

    name: str
    data: dict
    at: float


class Browser:
    """A client that reads server-sent events as they come; a context manager.

    Args:
        server: Whom it asks.
        prompt: What it asks.
    """

    def __init__(self, server: Gunicorn, prompt: str = "Hi") -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), SOON)
        path = f"/stream?prompt={quote(prompt)}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._response = HTTPResponse(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._response.close()
        self._socket.close()

    def events(self) -> Iterator[Event]:
        self._response.begin()
        assert self._response.status == 200, self._response.read()
        name = ""
        for line in iter(self._response.readline, b""):
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield Event(name, json.loads(value), time.monotonic())


def answered(server: Gunicorn, prompt: str = "Hi") -> list[Event]:
    """Return all events of an answer."""
    with Browser(server, prompt) as browser:
        return list(browser.events())


def text_of(events: list[Event]) -> str:
    return "".join(each.data["text"] for each in events if each.name == "delta")


def paced(sent: list[float]) -> Step:
    """Return a step that notes when it sends each piece of text."""

    async def deliver(exchange, reply):
        await exchange.send(exchange.head(reply) + exchange.framed(reply.opening))
        for piece in reply.pieces:
            await asyncio.sleep(PACE_S)
            sent.append(time.monotonic())
            await exchange.send(exchange.framed(piece))
        await exchange.send(exchange.framed(reply.closing) + exchange.end())

    return delivered("paced", ANSWER, deliver)


def all_together(count: int) -> Step:
    """Return a step that repeats the prompt, once so many requests wait for it."""
    waiting: list[asyncio.Event] = []

    async def deliver(exchange, reply):
        mine = asyncio.Event()
        waiting.append(mine)
        if len(waiting) == count:
            for each in waiting:
                each.set()
            waiting.clear()
        await mine.wait()
        await exchange.send(exchange.head(reply) + exchange.framed(reply.opening))
        for piece in reply.pieces:
            await exchange.send(exchange.framed(piece))
            await asyncio.sleep(0.01)
        await exchange.send(exchange.framed(reply.closing) + exchange.end())

    return delivered(f"all_together({count})", faults.ECHO, deliver)


@pytest.fixture
def upstream():
    with FaultServer() as server:
        yield server


@pytest.fixture
def gunicorn(tmp_path, upstream):
    """Return what starts a gunicorn with one worker, whose provider is the server."""

    def gunicorn(worker_class, preload=False, name="claude", **options):
        found = settings(name, upstream.url, seconds=60)
        variables = {key: str(value) for key, value in found.items()}
        return serving(
            tmp_path, worker_class, preload, [name], workers=1, **variables | options
        )

    return gunicorn


# Of those with --preload only the one that patches late.
PROMPT = [
    *(pytest.param(each.values[0], False, marks=each.marks) for each in CLASSES),
    pytest.param("gevent", True, marks=CLASSES[-1].marks),
]


@pytest.mark.timing
@pytest.mark.parametrize(("worker_class", "preload"), PROMPT)
def test_each_event_comes_when_the_provider_has_sent_it(
    gunicorn, upstream, worker_class, preload
):
    """None waits for the next, nor for the end: all that the provider sent is there."""
    sent: list[float] = []
    upstream.script("anthropic", faults.OK, paced(sent))
    with gunicorn(worker_class, preload) as server:
        first, every = [], []
        for _ in range(3):
            sent.clear()
            events = answered(server)
            begin, *deltas, done = events
            assert (begin.name, done.name) == ("start", "done")
            assert text_of(events) == TEXT
            assert len(deltas) == len(sent)
            late = [each.at - at for each, at in zip(deltas, sent, strict=True)]
            first.append(begin.at - sent[0])
            every += late
        assert median(first) < PROMPT_S, first
        assert median(every) < PROMPT_S, every
        server.end()


@EACH_CLASS
class TestLeaving:
    """A client that goes away takes the provider's connection with it."""

    @contextmanager
    def leaving(self, upstream, server: Gunicorn) -> Iterator[Browser]:
        """Ask, then leave, and see that the provider's connection ends in time."""
        with Browser(server) as browser:
            yield browser
        begin = time.monotonic()
        attempt = upstream.attempts("anthropic")[-1]
        assert attempt.wait(SOON)
        assert attempt.abandoned
        assert attempt.ended - begin < AT_ONCE_S

    def is_well(self, upstream, server: Gunicorn) -> None:
        upstream.script("anthropic", ANSWER)
        assert text_of(answered(server)) == TEXT
        server.end()

    @PRELOAD
    def test_while_the_provider_is_silent(
        self, gunicorn, upstream, worker_class, preload
    ):
        """Nothing is written then that could fail."""
        upstream.script("anthropic", faults.OK, faults.stall_stream(2, ANSWER))
        with gunicorn(worker_class, preload) as server:
            with self.leaving(upstream, server) as browser:
                events = browser.events()
                assert [next(events).name for _ in range(2)] == ["start", "delta"]
            self.is_well(upstream, server)

    def test_while_the_provider_goes_on(self, gunicorn, upstream, worker_class):
        """A long answer is not read to its end."""
        endless = faults.OK(text="word " * 2000)
        upstream.script("anthropic", faults.OK, faults.slow_stream(0.02, endless))
        with gunicorn(worker_class) as server:
            with self.leaving(upstream, server) as browser:
                assert next(browser.events()).name == "start"
            self.is_well(upstream, server)

    def test_before_the_first_text(self, gunicorn, upstream, worker_class):
        """The view itself still waits."""
        upstream.script("anthropic", faults.OK, faults.hang)
        with gunicorn(worker_class) as server:
            with self.leaving(upstream, server):
                assert upstream.arrived(2, "anthropic", SOON)
            self.is_well(upstream, server)


_TWO = {"claude", "ollama"}
_OTHERS = set(WIRES) - _TWO - {"vertex"}  # which has no key that a variable can hold
CROWDS = [
    pytest.param(each.values[0], count, marks=each.marks)
    for each, count in zip(CLASSES[1:], [32, 200], strict=True)
]

# One of each HTTP library, and then the others.
SDKS = [
    "claude",
    "ollama",
    *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(_OTHERS)),
]


@pytest.mark.parametrize(("worker_class", "count"), CROWDS)
@pytest.mark.parametrize("name", SDKS)
def test_many_streams_at_once(gunicorn, upstream, worker_class, count, name):
    """One worker has them all open, mixes none up, and keeps nothing of them."""
    limit = {f"LLM_{name.upper()}_MAX_CONCURRENCY": str(count)}
    upstream.script(WIRES[name], faults.OK)
    with gunicorn(worker_class, name=name, threads=count, **limit) as server:
        begun = server.get("/health")  # it has asked its first question
        upstream.script(WIRES[name], all_together(count))
        for round_ in range(2):
            prompts = [f"this is number {round_}.{n} of many" for n in range(count)]
            with ThreadPoolExecutor(count) as pool:
                ask = partial(_answer, server)
                answers = list(pool.map(ask, prompts))
            assert answers == [f"echo: {each}" for each in prompts]
        # They stay for a while, for the next calls; so do connections.
        ended = server.get("/health")
        assert ended["threads"].count("flask-llm-call") <= count
        assert ended["files"] <= begun["files"] + count
        attempts = upstream.attempts(WIRES[name])
        assert len(attempts) == 1 + 2 * count
        assert all(each.wait() and not each.abandoned for each in attempts)
        server.end()


def _answer(server: Gunicorn, prompt: str) -> str:
    events = answered(server, prompt)
    assert events[-1].name == "done", events[-1]
    return text_of(events)
