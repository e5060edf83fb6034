"""A llama.cpp server inside the process: loaded on first use, never inherited.

A child that inherits a running server hangs when it calls it, when it drops it and when
it exits. So before a `fork` the servers are dropped; parent and child each load their
own again when they need it. Dropping takes some 40 ms, loading half a second.
"""

import atexit
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UnavailableError
from ..resilience.gevent import in_native_thread

Chunk = dict[str, Any]
OnChunk = Callable[[Chunk], bool]

_BEAT = 0.01  # seconds between two looks at what somebody else is doing

_engines: dict[tuple[str, int, int], "Engine"] = {}


class _Gate:
    """Knows who uses a server, and lets nobody begin while a fork is under way.

    Has no lock: a greenlet that waits for one made before gevent patched the process
    would stop the whole worker. Each step is one that no thread sees half done.
    """

    def __init__(self) -> None:
        self._inside: set[object] = set()
        self._closings: list[None] = []
        self.ending = False

    @contextmanager
    def visit(self) -> Iterator[bool]:
        """Yield whether a server may be used until the end of the block."""
        visitor = object()
        self._inside.add(visitor)  # before looking: thus `close` sees it or is seen
        try:
            yield not self._closings
        finally:
            self._inside.discard(visitor)

    def close(self) -> None:
        """Keep newcomers out, and wait until the last one inside has left."""
        self._closings.append(None)
        while self._inside:
            time.sleep(_BEAT)

    def open(self) -> None:
        """Undo one closing; the last one lets everybody in again."""
        self._closings.pop()

    def open_in_child(self) -> None:
        """Forget the threads of the parent, which are not here."""
        self._inside.clear()
        self._closings.clear()


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
        process, and of a greenlet that waits here. Under gevent `on_chunk` is called in
        another thread.

        Args:
            body: A chat completion request as OpenAI words it.
            on_chunk: Gets each chunk, or one dict with the key "error".

        Raises:
            UnavailableError: The model file cannot be loaded, or the process is ending.
        """
        abandoned = False

        def take(chunk: dict[str, Any]) -> bool:
            return on_chunk(chunk) or abandoned or _gate.ending

        try:
            while not in_native_thread(self._attempt, body, take):
                if _gate.ending:
                    raise UnavailableError(reason="the process is ending")
                time.sleep(_BEAT)
        finally:
            abandoned = True

    def drop(self) -> None:
        """Free the server. Call with the gate closed."""
        self._server = None

    def _attempt(self, body: dict[str, Any], on_chunk: OnChunk) -> bool:
        """Generate, unless a fork is under way or somebody else loads the model."""
        with _gate.visit() as inside:
            if not inside or not self._is_loaded():
                return False
            self._server.handle_chat_completions(body, on_chunk)
            return True

    def _is_loaded(self) -> bool:
        """Load the model unless it is there or somebody else does; tell the result."""
        if self._server is None and self._loading.acquire(blocking=False):
            try:
                if self._server is None:
                    self._server = self._load()
            finally:
                self._loading.release()
        return self._server is not None

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


def engine(path: str, context: int, threads: int) -> Engine:
    """Return the engine of a model file; all providers of a process share it."""
    key = path, context, threads
    return _engines.setdefault(key, Engine(*key))


def _close_and_drop() -> None:
    _gate.close()
    for each in list(_engines.values()):
        each.drop()


@atexit.register
def _at_exit() -> None:
    _gate.ending = True
    _close_and_drop()


os.register_at_fork(
    before=_close_and_drop,
    after_in_parent=_gate.open,
    after_in_child=_gate.open_in_child,
)
