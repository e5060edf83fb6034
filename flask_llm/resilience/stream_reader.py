"""Reads a stream in a thread of its own, bounded, and can be cancelled.

A thread that waits for a stream's next bytes cannot be told to stop; but if its socket
is shut down it wakes at once. So whoever opens a socket leaves here how to do that.

The thread does not read ahead for more than 1,000 characters, which is less than one
read from the network brings, so that nothing piles up in memory. With only one text
under way the two threads would have to wait for each other at each, which takes 100 µs
where they run on two cores.
"""

import contextlib
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from .clock import Clock
from .thread_pool import Abandoned, ThreadPool


class Cancellation:
    """Ends what one stream is read from, also from another thread.

    Attributes:
        is_cancelled: Whether nobody wants to read on.
        is_preparing: Whether a client is made for it, and nothing is sent yet.
    """

    is_preparing = False

    def __init__(self) -> None:
        self.is_cancelled = False
        self._pid = os.getpid()
        self._hang_up: Callable[[], None] | None = None

    def on_cancel(self, hang_up: Callable[[], None]) -> None:
        """Say how to end the connection; at once, if nobody wants it any more.

        Args:
            hang_up: May be called from another thread, and more than once.
        """
        self._hang_up = hang_up
        if self.is_cancelled:
            self._end()

    def cancel(self) -> None:
        """End the connection, now or as soon as there is one."""
        self.is_cancelled = True
        self._end()

    def _end(self) -> None:
        # In a child process it would end its parent's connection.
        if self._hang_up is not None and self._pid == os.getpid():
            with contextlib.suppress(Exception):  # it may have ended by itself
                self._hang_up()


current_cancellation: ContextVar[Cancellation | None] = ContextVar(
    "current_cancellation", default=None
)
"""That of the stream that is opened or read here; None outside of streams."""

callers_cancellation: ContextVar[Cancellation | None] = ContextVar(
    "callers_cancellation", default=None
)
"""By which the caller of what is asked for here can leave, also before its first text;
None where only its own thread does."""


T = TypeVar("T")

_MOST_AHEAD = 1000


class StreamReader(Generic[T]):
    """A generator of texts that another thread runs.

    Args:
        source: Makes the generator; called in that thread, in a copy of this context.
        workers: Where the thread comes from.
        clock: How the reader waits.
        ended: Called in that thread when the generator is over or closed.
        left: Called when it is cut before.

    Attributes:
        over: Whether the generator is over or closed.
        left_at: When it was cut, by the clock; infinite before that.
    """

    def __init__(
        self,
        source: Callable[[], Generator[str, None, T]],
        workers: ThreadPool,
        clock: Clock,
        ended: Callable[[], None],
        left: Callable[["StreamReader[T]"], None] | None = None,
    ) -> None:
        self._source: Callable[[], Generator[str, None, T]] | None = source
        self._clock = clock
        self._ended = ended
        self._left = left
        self._cancellation = Cancellation()
        self._texts: deque[str] = deque()
        # Each is changed by one thread only, so that no lock guards them.
        self._given = self._taken = 0
        self._result: Any = None
        self._error: BaseException | None = None
        self._last = False
        self.over = False
        self.left_at = math.inf
        # Bare locks are the cheapest things to wait for; made here, after any fork. Who
        # finds one released looks again, since it may have been so for a while.
        self._ready, self._room = threading.Lock(), threading.Lock()
        self._ready.acquire()
        self._room.acquire()
        if caller := callers_cancellation.get():
            caller.on_cancel(self.cancel)
        try:
            workers.start(self._run)
        except RuntimeError:  # no more threads: nothing has begun
            self.over = True
            raise
        except BaseException:  # somebody ends the caller
            self.cancel()
            raise

    def take(self, seconds: float) -> str | None:
        """Return the next text, or None when there is no more; then see `result`.

        Args:
            seconds: How long to wait for it.

        Raises:
            Abandoned: The time is up, and the generator goes on; or it was cut.
            BaseException: What the generator raised.
        """
        while not self.is_cancelled:
            last = self._last  # before looking: after it there are no more texts
            if self._texts:
                return self._next()
            if last:
                self._raise_error()
                return None
            if not self._clock.wait(self._ready, seconds):
                break
        raise Abandoned

    def _next(self) -> str:
        text = self._texts.popleft()
        self._taken += len(text)
        if self._room.locked():
            _release(self._room)
        return text

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has closed it."""
        return self._cancellation.is_cancelled

    @property
    def is_preparing(self) -> bool:
        """Whether a client is made for it, and nothing is sent yet."""
        return self._cancellation.is_preparing

    @property
    def result(self) -> T:
        """What the generator has returned."""
        return self._result  # type: ignore[no-any-return]  # what it returned

    def cancel(self) -> None:
        """Close the generator, at once where it waits for a connection."""
        if not (self.over or self._cancellation.is_cancelled):
            self.left_at = self._clock.monotonic()
            if self._left is not None:
                self._left(self)
        self._cancellation.cancel()
        _release(self._room)
        _release(self._ready)

    def _run(self) -> None:
        current_cancellation.set(self._cancellation)
        callers_cancellation.set(
            self._cancellation
        )  # a stream within this one ends with it
        source, self._source = self._source, None
        try:
            self._pump(source())  # type: ignore[misc]  # runs once
        except BaseException as error:  # noqa: BLE001  # it is the reader's
            if (
                not self.is_cancelled
            ):  # else nobody takes it, and it would hold this frame
                self._error = error
        finally:
            self.over = True
            self._ended()
            # What was cut has no end, so that no reader takes it for complete.
            self._last = not self.is_cancelled
            _release(self._ready)

    def _pump(self, texts: Generator[str, None, T]) -> None:
        try:
            while not self._cancellation.is_cancelled:
                try:
                    text = next(texts)
                except StopIteration as end:
                    self._result = end.value
                    return
                self._hand(text)
        finally:
            texts.close()

    def _hand(self, text: str) -> None:
        """Leave a text for the reader; wait while too much is left there."""
        self._texts.append(text)
        self._given += len(text)
        if self._ready.locked():
            _release(self._ready)
        while self._given - self._taken >= _MOST_AHEAD and not self.is_cancelled:
            self._room.acquire()


def _release(lock: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # somebody else has
        lock.release()


# How often somebody looks whether the caller is still there.
_GLANCE_S = 0.25


class Caller:
    """The caller of a stream, as the walk for its first text knows it.

    Args:
        is_gone: Tells whether nobody waits for the text any more; None if the caller
            cannot leave.
    """

    def __init__(self, is_gone: Callable[[], bool] | None) -> None:
        self._is_gone = is_gone
        self._cancellation = callers_cancellation.get()

    @property
    def may_leave(self) -> bool:
        """Whether it is worth to look."""
        return self._is_gone is not None or self._cancellation is not None

    def has_left(self) -> bool:
        """Return whether nobody waits any more."""
        if self._cancellation is not None and self._cancellation.is_cancelled:
            return True
        return self._is_gone is not None and self._is_gone()

    def glances(self, seconds: float) -> Iterator[float]:
        """Yield the seconds of one wait after the other, as long as somebody waits.

        Args:
            seconds: How long all of them take together.
        """
        while self.may_leave and seconds > _GLANCE_S:
            yield _GLANCE_S
            seconds -= _GLANCE_S
            if self.has_left():
                return
        yield seconds

    def sleep(self, seconds: float, clock: Clock) -> None:
        """Wait, or return when nobody waits for what comes after it."""
        for each in self.glances(seconds):
            clock.sleep(each)
