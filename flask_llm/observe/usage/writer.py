"""The thread that writes the log; nobody waits for it."""

import atexit
import logging
import os
import random
import threading
from collections import deque

from ...resilience.clock import SYSTEM, Clock
from ..records import CallRecord
from ..source import About
from .book import Book
from .items import Item, Mark, Refused
from .outage import Outage
from .settings import Place
from .wording import why

log = logging.getLogger("flask_llm")

ROOM = 10_000
"""What may wait."""

_BATCH = 500
_GATHER_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 30.0
_CLEAN_S = 3600.0
_FIRST_CLEAN_S = (60.0, 600.0)
_BREATH_S = 0.02
_LAST_CHANCE_S = 2.0
_CLOSE_S = 0.5


class Writer:
    """Takes calls at once, and writes them soon, in one process.

    Args:
        place: Where the log is.
        days: For how long calls are kept; None for ever.
        clock: The time.
        room: How much may wait; calls for which there is no room are lost, and counted.

    Attributes:
        outage: What is lost.
    """

    def __init__(
        self,
        place: Place,
        days: int | None,
        clock: Clock = SYSTEM,
        room: int = ROOM,
    ) -> None:
        self.outage = Outage(clock, place.secrets)
        self._place = place
        self._days = days
        self._clock = clock
        self._room = room
        self._pid = os.getpid()
        self._waiting: deque[Item] = deque()
        self._batch: list[Item] = []
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._clean_at = clock.monotonic() + random.uniform(*_FIRST_CLEAN_S)  # noqa: S311  # so that workers do not all begin at once

    def put(self, item: Item) -> None:
        """Let something be written; never waits."""
        if len(self._waiting) >= self._room:
            self.outage.lose(isinstance(item, CallRecord))
            return
        self._waiting.append(item)
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all is written that was put before.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is.
        """
        mark = Mark()
        self._waiting.append(mark)
        if self._thread is None:
            self._start()
        self._hurry.set()
        self._wake.set()
        return mark.passed.wait(timeout)

    def end(self, timeout: float = _LAST_CHANCE_S) -> None:
        """Write what waits, and stop; say how many calls are lost by that."""
        if os.getpid() != self._pid or self._thread is None or self._ended:
            return  # nothing to do; in a forked process there is no such thread
        is_own = threading.current_thread() is self._thread
        written = not is_own and self.flush(timeout)
        self._ended = True
        atexit.unregister(self.end)
        self._hurry.set()
        self._wake.set()
        if written:
            # Cut while it closes SQLite, it would leave the other files behind.
            self._thread.join(_CLOSE_S)
        if not written and (left := self._calls_left()):
            log.warning("LLM_USAGE: the process ends; calls lost: %d", left)

    def about(self) -> About:
        """Return how the writing goes."""
        lost, error = self.outage.lost, self.outage.error
        return About("usage", lost=lost, waiting=self._calls_left(), write_error=error)

    def _calls_left(self) -> int:
        left = (*self._batch, *self._waiting)
        return sum(isinstance(each, CallRecord) for each in left)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._work, name="flask-llm-usage", daemon=True
                )
                thread.start()
                self._thread = thread
                # Of a gunicorn worker too. No finalizer of weakref's: those of a
                # process are looked through while other threads may still add some.
                atexit.register(self.end)

    def _work(self) -> None:
        book = Book(self._place)
        while not self._ended:
            self._wake.wait(max(0.0, self._clean_at - self._clock.monotonic()))
            self._wake.clear()
            if self._waiting:
                self._hurry.wait(_GATHER_S)  # more may come, to be written with it
            self._write_all(book)
            if self._clock.monotonic() >= self._clean_at:
                self._clean_at = self._clock.monotonic() + _CLEAN_S
                self._clean(book)
        book.close()

    def _write_all(self, book: Book) -> None:
        """Write until nothing waits, however long the database is away."""
        pause = _FIRST_PAUSE_S
        while (self._waiting or self._batch) and not self._ended:
            self._hurry.clear()
            try:
                self._write_some(book)
                pause = _FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001  # a driver may raise anything
                self.outage.failed(error, self._calls_left())
                self._hurry.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _write_some(self, book: Book) -> None:
        """Write a batch; it stays until it is written."""
        while self._waiting and len(self._batch) < _BATCH:
            self._batch.append(self._waiting.popleft())
        marks = [each for each in self._batch if isinstance(each, Mark)]
        self._write(book, [each for each in self._batch if not isinstance(each, Mark)])
        self._batch = []
        self.outage.over()
        for mark in marks:
            mark.passed.set()

    def _write(self, book: Book, items: list[Item]) -> None:
        """Write calls; if one of them is refused, each of them alone."""
        try:
            if items:
                book.write(items)
        except Refused as refusal:
            if len(items) == 1:
                self.outage.refused(refusal.__cause__ or refusal)
                return
            for each in items:
                self._write(book, [each])

    def _clean(self, book: Book) -> None:
        """Delete what is old; calls that come meanwhile are written in between."""
        try:
            for _ in book.clean(self._clock.time(), self._days):
                self._hurry.wait(_BREATH_S)
                self._write_all(book)
                if self._ended:
                    return
        except Exception as error:  # noqa: BLE001  # a driver may raise anything
            told = why(error, self._place.secrets)
            log.warning("LLM_USAGE: old calls are not deleted (%s)", told)
