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
from typing import Any

from ..errors import UnavailableError

OnChunk = Callable[[dict[str, Any]], bool]

# Held while a server is made or dropped and over a fork; never during a generation.
_changing = threading.Condition()
_engines: list["Engine"] = []


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
    _running: int = field(default=0, init=False, repr=False)

    def run(self, body: dict[str, Any], on_chunk: OnChunk) -> None:
        """Generate, handing each chunk to `on_chunk` until it returns True.

        Calls of several threads queue inside the server. What `on_chunk` raises is
        swallowed by the library and only stops the generation.

        Args:
            body: A chat completion request as OpenAI words it.
            on_chunk: Gets each chunk, or one dict with the key "error".

        Raises:
            UnavailableError: The model file cannot be loaded.
        """
        server = self._borrow()
        try:
            server.handle_chat_completions(body, on_chunk)
        finally:
            # Before the count goes down: this must not be the reference that a fork
            # finds left over.
            del server
            self._give_back()

    def drop(self) -> None:
        """Free the server, once no generation uses it. Call with the lock held."""
        _changing.wait_for(lambda: self._running == 0)
        self._server = None

    def _borrow(self) -> Any:
        with _changing:
            if self._server is None:
                self._server = self._load()
            self._running += 1
            return self._server

    def _give_back(self) -> None:
        with _changing:
            self._running -= 1
            _changing.notify_all()

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
            raise UnavailableError(
                reason="the model file cannot be loaded", advice="check LLM_LOCAL_MODEL"
            ) from None


@cache
def engine(path: str, context: int, threads: int) -> Engine:
    """Return the engine of a model file; all providers of a process share it."""
    made = Engine(path, context, threads)
    _engines.append(made)
    return made


def _drop_all() -> None:
    for each in _engines:
        each.drop()


def _before_fork() -> None:
    _changing.acquire()
    _drop_all()


def _after_fork_in_child() -> None:
    # Other threads may have been waiting on the lock; they do not exist here.
    global _changing  # noqa: PLW0603  # a lock cannot be repaired, only replaced
    _changing = threading.Condition()


@atexit.register
def _at_exit() -> None:
    with _changing:
        _drop_all()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _changing.release(),  # noqa: PLW0108  # the one of that time
    after_in_child=_after_fork_in_child,
)
