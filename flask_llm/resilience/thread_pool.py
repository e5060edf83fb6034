"""Threads for calls that somebody may stop waiting for.

An SDK's timeout limits each silence, not the call: a body that drips passes it. So a
call with a deadline runs in a thread of its own, and its caller leaves when the time is
up. The threads are kept for the next calls: handing one over costs some 20 µs, where
starting one costs 100.
"""

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .clock import Clock, PerProcess

T = TypeVar("T")

_IDLE_S = 30.0


class Abandoned(Exception):  # noqa: N818  # no error of anybody: the caller has left
    """The call was not over in time; it goes on without its caller."""


class Job(Generic[T]):
    """A call, its caller's context, and how it ended.

    Args:
        function: What to call.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._context = contextvars.copy_context()
        self._error: BaseException | None = None
        self._value: Any = None
        # A bare lock is the cheapest thing to wait for; made here, after any fork.
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        """Call the function, and keep how it ends."""
        function, self._function = self._function, None
        try:
            self._value = self._context.run(function)  # type: ignore[arg-type]  # runs once
        except BaseException as error:  # noqa: BLE001  # it is the caller's
            self._error = error

    def result(self) -> T:
        """Return what the function returned, or raise what it raised; once."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._value  # type: ignore[no-any-return]  # what the function returned
        finally:
            del error  # else it and this frame would hold each other


class ThreadPool:
    """A pool of daemon threads, as many as there are calls at once.

    The daemons' calls cannot keep a process from ending. Each process has its own.

    Args:
        clock: How the callers wait.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: PerProcess[deque[Any]] = PerProcess(deque)

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Return what a function returns, unless that takes too long.

        The function runs in a copy of the caller's context, so that `current_app` is
        the caller's there too.

        Args:
            function: What to call.
            seconds: How long to wait for it.

        Raises:
            Abandoned: The time is up. The function still runs.
            BaseException: Whatever the function raised.
        """
        job = Job(function)
        try:
            self._hand_over(job)
        except RuntimeError:  # no more threads: better late than never
            job.run()
            job.done.release()
        if not self._clock.wait(job.done, seconds):
            raise Abandoned
        return job.result()

    def submit(self, function: Callable[[], T], done: Callable[[Job[T]], None]) -> None:
        """Call a function in a copy of the caller's context, and say when it is over.

        Args:
            function: What to call.
            done: Gets how it ended, in the thread that called it.
        """
        job = Job(function)

        def run() -> None:
            job.run()
            done(job)

        try:
            self.start(run)
        except RuntimeError:  # no more threads: better late than never
            run()

    def start(self, function: Callable[[], None]) -> None:
        """Call a function, and do not wait for it.

        The function runs in a copy of the caller's context. What it raises is lost.

        Args:
            function: What to call.

        Raises:
            RuntimeError: There can be no more threads.
        """
        self._hand_over(Job(function))

    def _hand_over(self, job: Job[Any]) -> None:
        idle = self._idle.get()
        try:
            idle.pop().put(job)
        except IndexError:
            _start(job, idle)


def _start(job: Job[Any], idle: deque[Any]) -> None:
    inbox: queue.SimpleQueue[Job[Any]] = queue.SimpleQueue()
    # First, so that it is done even if the caller is ended while the thread starts.
    inbox.put(job)
    thread = threading.Thread(
        target=_work, args=(inbox, idle), name="flask-llm-call", daemon=True
    )
    thread.start()


def _work(inbox: "queue.SimpleQueue[Job[Any]]", idle: deque[Any]) -> None:
    """Run one job after another; end when there was none for a while."""
    while True:
        try:
            job = inbox.get(timeout=_IDLE_S)
        except queue.Empty:
            try:
                idle.remove(inbox)
            except ValueError:  # somebody has just taken it, and will put a job in
                continue
            return
        job.run()
        idle.append(inbox)  # first, so that the caller's next call finds it
        job.done.release()
        del job  # its answer must not live until the next one comes
