"""Work that blocks inside C, kept away from gevent's greenlets."""

import os
import queue
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 10
_BEAT = 0.005  # seconds between two looks into a box


class Mailbox(Protocol[T]):
    """What a thread leaves for a reader, be it a thread that gevent knows or not."""

    def put(self, item: T) -> None:
        """Leave something; never waits."""

    def get(self, *, timeout: float) -> T:
        """Return what was left first, as soon as there is something.

        Raises:
            queue.Empty: There was nothing for so many seconds.
        """


def mailbox() -> Mailbox[Any]:
    """Return a box that a function called by `in_native_thread` may put things into.

    A lock or a queue that gevent has patched must not be used in a thread of C's.
    """
    return _LookedInto() if _gevent_rules() else queue.SimpleQueue()


class _LookedInto(Generic[T]):
    """A box whose reader, a greenlet, looks into it again and again."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def put(self, item: T) -> None:
        self._items.append(item)

    def get(self, *, timeout: float) -> T:
        stop = time.monotonic() + timeout
        while not self._items:
            if time.monotonic() > stop:
                raise queue.Empty
            time.sleep(_BEAT)
        return self._items.popleft()


def in_native_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function; under gevent in a thread, so that other greenlets run.

    There it must not wait for what a greenlet holds. A greenlet that is killed leaves
    at once, and the function runs on to its end.

    Args:
        function: What blocks.
        args: Its arguments.

    Returns:
        What the function returns.

    Raises:
        Exception: What the function raises.
    """
    if not _gevent_rules():
        return function(*args)
    from gevent import get_hub
    from gevent.util import wrap_errors

    # Errors travel as values, because gevent prints those that a thread raises.
    pool = _pool(get_hub(), os.getpid())
    task = _Once(wrap_errors(Exception, function))
    try:
        result = pool.apply(task, args)
    except RuntimeError:
        # Python 3.12 begins no thread at a process's end. The pool still has the task.
        result = task(*args)
    try:
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]  # gevent has no types
    finally:
        del result  # else an error and this frame would hold each other


class _Once(Generic[*Ts, T]):
    """A function for whoever calls it first; later calls do nothing."""

    def __init__(self, function: Callable[[*Ts], T]) -> None:
        self._left = deque([function])

    def __call__(self, *args: *Ts) -> T | None:
        return self._left.pop()(*args) if self._left else None


def _gevent_rules() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_anything_patched()


@cache
def _pool(hub: Any, _pid: int) -> Any:
    """Return the hub's threads for long work; a child process gets its own.

    They are not `hub.threadpool`: long work that queues there holds up every name
    lookup of the process.
    """
    from gevent.threadpool import ThreadPool

    return ThreadPool(_THREADS, hub)
