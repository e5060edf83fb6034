"""Moves what a process's first call costs to the start of the process.

Imports may happen before a fork, and are then shared by the workers. Clients and the
local model must not: they are made in each process, in the background.
"""

import os
import sys
import threading
import weakref

from .factory import LLMFactory

# A process that forks workers does so at once; what it would make were for nothing.
_DELAY_S = 0.5

_pending: "weakref.WeakSet[WarmUp]" = weakref.WeakSet()


class WarmUp:
    """Makes the providers of a factory ready, once in each process.

    Args:
        factory: Whose providers.
        delay: Seconds after which a process that has not forked is ready for it.
    """

    def __init__(self, factory: LLMFactory, *, delay: float = _DELAY_S) -> None:
        self._factory = factory
        self._delay = delay
        self._timer: threading.Timer | None = None
        self._started: int | None = None

    def begin(self, *, full: bool) -> None:
        """Import the SDKs now; the rest comes in the background.

        Args:
            full: Whether there is a rest: clients, and the local model.
        """
        self._factory.warm_up(full=False)
        if full:
            self._timer = threading.Timer(self._delay, self.start)
            self._timer.daemon = True
            self._timer.start()
            _pending.add(self)

    def start(self, *_: object, **__: object) -> None:
        """Make everything in a thread, unless this process has done so."""
        if self._started == os.getpid():
            return
        self._started = os.getpid()
        # A child of a process that serves by itself is no worker: it pays for itself.
        _pending.discard(self)
        threading.Thread(
            target=self._factory.warm_up, name="flask-llm-warm-up", daemon=True
        ).start()

    def cancel(self) -> None:
        """Do not start by the clock: this process is about to fork."""
        if self._timer is not None:
            self._timer.cancel()
            # Also because Python warns of a fork while other threads run.
            self._timer.join()
            self._timer = None


def _before_fork() -> None:
    for each in list(_pending):
        each.cancel()


def _in_child() -> None:
    # A gevent worker can use no thread before it has patched: there the first request
    # starts it.
    if "gevent" not in sys.modules:
        for each in list(_pending):
            each.start()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
