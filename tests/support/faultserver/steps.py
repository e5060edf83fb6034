"""What a server does with one request: what it says, and how that reaches the client.

The two are apart, so that any answer can come slowly, in half or not at all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .connection import Exchange
from .messages import Answer, Attempt, Failure, Reply
from .wires import WIRES, Wire

Say = Callable[[Wire, Attempt], Reply]
Deliver = Callable[[Exchange, Reply], Awaitable[None]]

_NONE = Wire()  # of an address that no API has


async def whole(exchange: Exchange, reply: Reply) -> None:
    """Send all of a reply; a stream's chunks one by one."""
    head = exchange.head(reply)
    if not reply.streamed:
        await exchange.send(head + reply.body)
        return
    await exchange.send(head + exchange.framed(reply.opening))
    for piece in reply.pieces:
        await exchange.send(exchange.framed(piece))
    await exchange.send(exchange.framed(reply.closing) + exchange.end())


class Step:
    """What to do with one request.

    Attributes:
        name: What `repr` and so a test's id shows.
    """

    def __init__(self, name: str, say: Say, deliver: Deliver = whole) -> None:
        self.name = name
        self._say = say
        self._deliver = deliver

    def __repr__(self) -> str:
        return self.name

    def chosen(self, attempt: Attempt) -> "Step":
        """Return the step that a request gets; mostly this one."""
        return self

    def by(self, deliver: Deliver, name: str = "") -> "Step":
        """Return a step that says the same another way."""
        return Step(name or self.name, self._say, deliver)

    async def play(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        await self._deliver(
            exchange, self._say(WIRES.get(attempt.wire, _NONE), attempt)
        )


class Choice(Step):
    """A step that is chosen anew for each request."""

    def __init__(self, name: str, choose: Callable[[Attempt], Step]) -> None:
        super().__init__(name, lambda wire, attempt: Reply(500, {}, b""))
        self._choose = choose

    def chosen(self, attempt: Attempt) -> Step:
        return self._choose(attempt).chosen(attempt)


class Healthy(Step):
    """A proper answer; calling it returns one with other contents."""

    def __init__(self, name: str = "OK", **contents: Any) -> None:
        answer = Answer(**contents)
        super().__init__(name, lambda wire, attempt: wire.healthy(attempt, answer))
        self._contents = contents

    def __call__(self, **changes: Any) -> "Healthy":
        return Healthy(self.name, **self._contents | changes)


def delivered(name: str, step: Step, deliver: Deliver) -> Step:
    """Return a step whose answer, whichever it chooses, comes another way."""
    return Choice(name, lambda attempt: step.chosen(attempt).by(deliver))


def error(name: str, said: Callable[[Wire, Attempt], Failure]) -> Step:
    """Return a step that answers with an error in the API's own words."""
    return Step(name, lambda wire, attempt: wire.failure(attempt, said(wire, attempt)))


def page(name: str, content_type: str, body: bytes, status: int = 200) -> Step:
    """Return a step that answers what no such API would."""
    return Step(
        name, lambda wire, attempt: Reply(status, {"content-type": content_type}, body)
    )


async def _nothing(exchange: Exchange, reply: Reply) -> None:
    exchange.hang_up()


async def _reset(exchange: Exchange, reply: Reply) -> None:
    exchange.reset()


async def _silence(exchange: Exchange, reply: Reply) -> None:
    await exchange.silence()


# How a delivery ends that does not reach the end of the body.
ENDS: dict[str, Deliver] = {"close": _nothing, "reset": _reset, "stall": _silence}


def after_half(end: str) -> Deliver:
    """Return a delivery of all headers and half of the body."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        head = exchange.head(reply)
        half = reply.body[: len(reply.body) // 2]
        await exchange.send(head + exchange.framed(half))
        await ENDS[end](exchange, reply)

    return deliver


def after_pieces(count: int, end: str) -> Deliver:
    """Return a delivery of a stream's opening and so many pieces of its text."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        await exchange.send(exchange.head(reply) + exchange.framed(reply.opening))
        for piece in reply.pieces[:count]:
            await exchange.send(exchange.framed(piece))
        if end == "clean":
            await exchange.send(exchange.end())
        else:
            await ENDS[end](exchange, reply)

    return deliver


def after_all(end: str) -> Deliver:
    """Return a delivery of the whole body, whose connection then does not end well."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        await exchange.send(exchange.head(reply) + exchange.framed(reply.body))
        await ENDS[end](exchange, reply)

    return deliver


def later(seconds: float) -> Deliver:
    """Return a delivery that begins late."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        await asyncio.sleep(seconds)
        await whole(exchange, reply)

    return deliver


def dripping(interval: float) -> Deliver:
    """Return a delivery of one byte of the body at a time."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        await exchange.send(exchange.head(reply))
        for byte in reply.body:
            await asyncio.sleep(interval)
            await exchange.send(exchange.framed(bytes([byte])))
        await exchange.send(exchange.end())

    return deliver


def dripping_head(interval: float) -> Deliver:
    """Return a delivery of one byte of the headers at a time."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        for byte in exchange.head(reply):
            await asyncio.sleep(interval)
            await exchange.send(bytes([byte]))
        await exchange.send(exchange.framed(reply.body) + exchange.end())

    return deliver


def spaced(interval: float) -> Deliver:
    """Return a delivery that pauses before each piece of a stream, and its end."""

    async def deliver(exchange: Exchange, reply: Reply) -> None:
        await exchange.send(exchange.head(reply) + exchange.framed(reply.opening))
        for piece in (*reply.pieces, reply.closing):
            await asyncio.sleep(interval)
            await exchange.send(exchange.framed(piece))
        await exchange.send(exchange.end())

    return deliver
