"""What goes over the wire, in and out, before it has any API's shape."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from wire import ANSWER

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass
class Attempt:
    """A request as it arrived, and what became of it.

    Attributes:
        wire: The API that it speaks; "" for an address that none has.
        method: "GET" for a list of models, else "POST".
        path: With the query.
        headers: Names in lower case.
        at: When the whole request had arrived, by `time.monotonic`.
        connection: The client's address: the same for requests of one connection.
        ended: When the answer was sent or given up; None while it is going on.
        abandoned: Whether the client hung up before the whole answer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    connection: tuple[str, int]
    wire: str = ""
    number: int = 0
    ended: float | None = None
    abandoned: bool = False
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def address(self) -> str:
        """The path without the query."""
        return self.path.partition("?")[0]

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON of the body; empty if it is no object."""
        try:
            found = self.json
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def end(self, at: float, *, abandoned: bool) -> None:
        self.ended, self.abandoned = at, abandoned
        self._over.set()

    def wait(self, timeout: float = 30.0) -> bool:
        """Wait until it has ended, as a client's hanging up is seen a bit later."""
        return self._over.wait(timeout)


@dataclass(frozen=True)
class Answer:
    """What a model says.

    Attributes:
        text: Or a function that makes it of the prompt.
        model: The model that is said to have answered; "" for the one asked for.
        usage: Input and output tokens, or None to leave them out.
        finish: "stop", "length", "refused" (in the answer), "blocked" (the prompt), or
            None for an answer that does not say how it ended.
        thought: Thinking before the text.
    """

    text: str | Callable[[str], str] = ANSWER
    model: str = ""
    usage: tuple[int, int] | None = (12, 7)
    finish: str | None = "stop"
    thought: str = ""

    @property
    def pieces(self) -> list[str]:
        """The text as a stream brings it: word by word."""
        return re.findall(r"\s*\S+(?:\s+$)?", str(self.text))


class Failure(NamedTuple):
    """An error in the words of an API."""

    status: int
    body: object
    headers: Mapping[str, str] = NO_HEADERS


class Stream(NamedTuple):
    """A stream's bytes: before, for each piece, and after the text."""

    opening: bytes
    pieces: tuple[bytes, ...]
    closing: bytes


@dataclass(frozen=True)
class Reply:
    """An HTTP response; one that is not streamed has its body in `closing`."""

    status: int
    headers: Mapping[str, str]
    closing: bytes
    opening: bytes = b""
    pieces: tuple[bytes, ...] = ()
    streamed: bool = False

    @property
    def body(self) -> bytes:
        return b"".join((self.opening, *self.pieces, self.closing))
