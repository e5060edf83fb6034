"""A function that blocks and calls back, read like any other stream."""

import queue
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from ..resilience.clock import SYSTEM
from ..resilience.gevent import mailbox
from ..line import current_line
from ..resilience.thread_pool import Workers

T = TypeVar("T")

_END: Any = object()

_workers = Workers(SYSTEM)


class Called(Generic[T]):
    """What a function hands to its callback, for one reader.

    What was not read yet is kept, however slow the reader: a function that waited for
    it would keep from others what it works with.

    Args:
        function: Is given the callback, which returns whether nobody wants more.
    """

    def __init__(self, function: Callable[[Callable[[T], bool]], None]) -> None:
        self._function = function
        self._box = mailbox()
        self._is_left = False

    def items(self, seconds: float) -> Generator[T, None, None]:
        """Run the function in another thread, and yield what it hands over.

        Closing the generator, or cutting the current line, makes the callback return
        True; nobody waits for the function then.

        Args:
            seconds: How long the function may hand over nothing.

        Raises:
            TimeoutError: It did for longer.
            Exception: What the function raised.
        """
        line = current_line.get()
        if line is not None:
            line.attach(self._leave)
        _workers.start(self._run)
        try:
            while (item := self._next(seconds)) is not _END:
                yield item
        finally:
            self._is_left = True

    def _next(self, seconds: float) -> Any:
        try:
            item = self._box.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        try:
            if isinstance(item, BaseException):
                raise item
            return item
        finally:
            del item  # else an error and this frame would hold each other

    def _run(self) -> None:
        """Call the function; under gevent it may call back from a native thread."""
        try:
            self._function(self._take)
        except BaseException as error:  # noqa: BLE001  # it is the reader's
            self._box.put(error)
        self._box.put(_END)

    def _take(self, item: T) -> bool:
        self._box.put(item)
        return self._is_left

    def _leave(self) -> None:
        """Stop, and wake the reader."""
        self._is_left = True
        self._box.put(_END)
