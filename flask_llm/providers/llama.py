"""A llama.cpp server inside the process: loaded on first use, never inherited.

A child that inherits a running server hangs when it calls it, when it drops it and when
it exits. So before a `fork` the servers are dropped; parent and child each load their
own again when they need it. Dropping takes some 40 ms, loading half a second.
"""

import atexit
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UnavailableError

OnChunk = Callable[[dict[str, Any]], bool]

_engines: list["Engine"] = []


class _Gate:
    """Counts who uses a server, and lets nobody begin while a fork is under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self.ending = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Keep newcomers out, and wait until the last one inside has left."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0)

    def open(self) -> None:
        """Let everybody in again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()


_gate = _Gate()


@dataclass(eq=False)
class Engine:
    """One model file and the server that runs it.

    Attributes:
        path: The GGUF file.
        context: Tokens that prompt and answer may have together.
        threads: CPU threads of one generation.
    """

    path: str
    context: int
    threads: int
    _server: Any = field(default=None, init=False, repr=False)
    _loading: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False
    )

    def run(self, body: dict[str, Any], on_chunk: OnChunk) -> None:
        """Generate, handing each chunk to `on_chunk` until it returns True.

        Calls of several threads queue inside the server. What `on_chunk` raises is
        swallowed by the library and only stops the generation. So does the end of the
        process.

        Args:
            body: A chat completion request as OpenAI words it.
            on_chunk: Gets each chunk, or one dict with the key "error".

        Raises:
            UnavailableError: The model file cannot be loaded.
        """
        with _gate:
            self._loaded().handle_chat_completions(
                body, lambda chunk: on_chunk(chunk) or _gate.ending
            )

    def drop(self) -> None:
        """Free the server. Call with the gate closed."""
        self._server = None

    def _loaded(self) -> Any:
        with self._loading:
            if self._server is None:
                self._server = self._load()
            return self._server

    def _load(self) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = self.path
        params.n_ctx = self.context
        for cpu in (params.cpuparams, params.cpuparams_batch):
            cpu.n_threads = self.threads
            # Threads that spin while they wait for each other starve on a busy machine.
            cpu.poll = 0
        params.verbosity = -1
        # Its loopback port cannot be closed, so nobody gets the key to it.
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        # The default keeps up to 8 GiB of old prompts in every worker.
        params.cache_ram_mib = 0
        try:
            return xllamacpp.Server(params)
        except RuntimeError:
            name = Path(self.path).name
            raise UnavailableError(
                reason=f"model file {name} cannot be loaded"
            ) from None


@cache
def engine(path: str, context: int, threads: int) -> Engine:
    """Return the engine of a model file; all providers of a process share it."""
    made = Engine(path, context, threads)
    _engines.append(made)
    return made


def _close_and_drop() -> None:
    _gate.close()
    for each in _engines:
        each.drop()


def _open_in_child() -> None:
    # A thread of the parent may have held the old gate's lock; it is not here.
    global _gate  # noqa: PLW0603  # a lock cannot be repaired, only replaced
    _gate = _Gate()


@atexit.register
def _at_exit() -> None:
    _gate.ending = True
    _close_and_drop()


os.register_at_fork(
    before=_close_and_drop,
    after_in_parent=lambda: _gate.open(),  # noqa: PLW0108  # the gate of that time
    after_in_child=_open_in_child,
)
