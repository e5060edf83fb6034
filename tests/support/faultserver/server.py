"""The server: a loop in a thread, a script for each API, a record of all requests."""

import asyncio
import socket
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

from . import faults
from .connection import Connection
from .messages import Attempt
from .steps import Step, page
from .wires import CHATS, WIRES

_BACKLOG = 1024
_NO_WIRE = page("no such address", "application/json", b'{"error": "no wire"}', 404)


class FaultServer:
    """A server on loopback that speaks every API, and fails as its script says.

    It runs while it is used as a context manager; scripts and the record may be used
    from any thread, also before and after.

    What a test's own step raises breaks the connection, and is raised at the end.

    Args:
        default: What a request gets for which there is no script.
        keep_alive: Whether clients may use a connection again. The SDKs leave an idle
            one to the garbage collector, and anthropic's sometimes warns of it then.
        port: 0 for any free one.
    """

    def __init__(
        self, default: Step = faults.OK, *, keep_alive: bool = False, port: int = 0
    ) -> None:
        self.keep_alive = keep_alive
        self._default = default
        self._port = port
        self._scripts: dict[str, list[Step]] = defaultdict(list)
        self._attempts: list[Attempt] = []
        self._errors: list[Exception] = []
        self._lock = threading.Condition()
        self._connections: set[Connection] = set()

    def script(self, *steps: Step | str) -> None:
        """Say what the next requests get: one step each, the last for all further.

        Args:
            steps: An API's name first, or else each API gets these steps on its own,
                but for that of tokens: it is scripted by name only.
        """
        names, plan = _split(steps)
        with self._lock:
            for name in names:
                self._scripts[name] = list(plan)

    def attempts(self, wire: str | None = None) -> list[Attempt]:
        """Return the requests so far, of one API or of all, in order of arrival."""
        return [each for each in list(self._attempts) if wire in (None, each.wire)]

    def arrived(
        self, count: int, wire: str | None = None, timeout: float = 30.0
    ) -> bool:
        """Wait until so many requests have come."""
        with self._lock:
            return self._lock.wait_for(
                lambda: len(self.attempts(wire)) >= count, timeout
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=_BACKLOG)
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)),
            name="faultserver",
            daemon=True,
        )
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(
            self._connect, sock=listener, backlog=_BACKLOG
        )
        ready.set()
        await self._stop.wait()
        # Not close() yet: asyncio fails noisily on whom it is accepting just then.
        self._loop.remove_reader(listener)
        for _ in range(2):  # until these have become connections
            await asyncio.sleep(0)
        while self._connections:  # each leaves when its socket is closed
            for each in list(self._connections):
                each.stop()
            await asyncio.sleep(0)
        server.close()

    def _connect(self) -> Connection:
        return Connection(
            self._receive,
            self._errors.append,
            self._connections,
            keep_alive=self.keep_alive,
        )

    def _receive(self, attempt: Attempt) -> Step:
        with self._lock:
            self._attempts.append(attempt)
            attempt.number = len(self._attempts)
            self._lock.notify_all()
            return self._take(attempt.wire)

    def _take(self, wire: str) -> Step:
        if not wire:
            return _NO_WIRE
        steps = self._scripts[wire]
        if not steps:
            return self._default
        return steps.pop(0) if len(steps) > 1 else steps[0]


def _split(steps: tuple[Step | str, ...]) -> tuple[list[str], list[Step]]:
    """Return whom steps are for, and the steps."""
    names = [each for each in steps if isinstance(each, str)]
    plan = [each for each in steps if isinstance(each, Step)]
    for each in steps:
        if each not in (*WIRES, *plan):
            raise ValueError(f"neither an API nor a step: {each!r}")
    return names or list(CHATS), plan
