"""The connection of a stream, which somebody else may cut.

A thread that waits for a stream's next bytes cannot be told to stop; but if its socket
is shut down it wakes at once. So whoever opens a socket leaves here how to do that.
"""

import contextlib
import os
from collections.abc import Callable
from contextvars import ContextVar

class Line:
    """What one stream is read from.

    Attributes:
        is_cut: Whether nobody wants to read on.
    """

    def __init__(self) -> None:
        self.is_cut = False
        self._pid = os.getpid()
        self._hang_up: Callable[[], None] | None = None

    def attach(self, hang_up: Callable[[], None]) -> None:
        """Say how to end the connection; at once, if nobody wants it any more.

        Args:
            hang_up: May be called from another thread, and more than once.
        """
        self._hang_up = hang_up
        if self.is_cut:
            self._end()

    def cut(self) -> None:
        """End the connection, now or as soon as there is one."""
        self.is_cut = True
        self._end()

    def _end(self) -> None:
        # In a child process it would end its parent's connection.
        if self._hang_up is not None and self._pid == os.getpid():
            with contextlib.suppress(Exception):  # it may have ended by itself
                self._hang_up()


current_line: ContextVar[Line | None] = ContextVar("current_line", default=None)
"""The line of the stream that is opened or read here; None outside of streams."""

callers_line: ContextVar[Line | None] = ContextVar("callers_line", default=None)
"""By which the caller of a stream that is asked for here can leave, also before its
first text; None where only its own thread does."""
