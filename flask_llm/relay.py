"""Reads a stream in a thread of its own, so that its reader waits only so long.

One text is under way at most: the thread does not fetch the next one before the last
was taken, so that nothing piles up in memory.
"""

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from .clock import Clock
from .line import Line, callers_line, current_line
from .workers import LeftBehind, Workers

T = TypeVar("T")


class Relay(Generic[T]):
    """A generator of texts that another thread runs.

    Args:
        source: Makes the generator; called in that thread, in a copy of this context.
        workers: Where the thread comes from.
        clock: How the reader waits.
        ended: Called in that thread when the generator is over or closed.

    Attributes:
        over: Whether the generator is over or closed.
    """

    def __init__(
        self,
        source: Callable[[], Generator[str, None, T]],
        workers: Workers,
        clock: Clock,
        ended: Callable[[], None],
    ) -> None:
        self._source: Callable[[], Generator[str, None, T]] | None = source
        self._clock = clock
        self._ended = ended
        self._line = Line()
        self._text = ""
        self._result: Any = None
        self._error: BaseException | None = None
        self._last = False
        self.over = False
        # Bare locks are the cheapest things to wait for; made here, after any fork.
        self._room, self._ready = threading.Lock(), threading.Lock()
        self._ready.acquire()
        if caller := callers_line.get():
            caller.attach(self.cut)
        try:
            workers.start(self._run)
        except BaseException:  # no more threads, or somebody ends the caller
            self.cut()
            raise

    def take(self, seconds: float) -> str | None:
        """Return the next text, or None when there is no more; then see `result`.

        Args:
            seconds: How long to wait for it.

        Raises:
            LeftBehind: The time is up, and the generator goes on; or it was cut.
            BaseException: What the generator raised.
        """
        if self.is_cut or not self._clock.wait(self._ready, seconds) or self.is_cut:
            raise LeftBehind
        if not self._last:
            text = self._text
            self._room.release()
            return text
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    @property
    def is_cut(self) -> bool:
        """Whether somebody has closed it."""
        return self._line.is_cut

    @property
    def result(self) -> T:
        """What the generator has returned."""
        return self._result  # type: ignore[no-any-return]  # what it returned

    def cut(self) -> None:
        """Close the generator, at once where it waits for a connection."""
        self._line.cut()
        for lock in (self._room, self._ready):
            with contextlib.suppress(RuntimeError):  # nobody waits for it
                lock.release()

    def _run(self) -> None:
        current_line.set(self._line)
        callers_line.set(self._line)  # a stream within this one ends with it
        source, self._source = self._source, None
        try:
            self._pump(source())  # type: ignore[misc]  # runs once
        except BaseException as error:  # noqa: BLE001  # it is the reader's
            self._error = error
        finally:
            self.over = True
            self._ended()
        self._hand("", last=True)

    def _pump(self, texts: Generator[str, None, T]) -> None:
        try:
            while not self._line.is_cut:
                try:
                    text = next(texts)
                except StopIteration as end:
                    self._result = end.value
                    return
                self._hand(text)
        finally:
            texts.close()

    def _hand(self, text: str, *, last: bool = False) -> None:
        """Leave something for the reader, once it has taken what came before."""
        if self._line.is_cut or not self._has_room():
            return
        self._text, self._last = text, last
        self._ready.release()

    def _has_room(self) -> bool:
        """Wait until the reader has taken the last text; tell if it wants another."""
        self._room.acquire()
        return not self._line.is_cut
