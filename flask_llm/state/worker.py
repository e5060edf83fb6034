"""One thread that talks to a store, so that no prompt has to wait for it."""

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..resilience.circuit_breaker import Circuit
from ..resilience.clock import Clock
from ..resilience.storage.base import Change

T = TypeVar("T")

_LONGEST_QUEUE = 256
_LAST_CHANCE = 0.05


class GivenUp(Exception):  # noqa: N818  # says what happened; nothing is wrong
    """Nobody waits for this any more."""


class Job(Generic[T]):
    """A call for which somebody may wait, or give up waiting.

    Args:
        work: The call. May raise `GivenUp`.
        failed: Told of any other exception.
    """

    def __init__(
        self, work: Callable[[], T], failed: Callable[[Exception], None]
    ) -> None:
        self.result: T | None = None
        self._work = work
        self._failed = failed
        self._given_up = False
        self._done = threading.Lock()
        self._done.acquire()

    @property
    def is_over(self) -> bool:
        """Whether waiting is pointless."""
        return self._given_up or not self._done.locked()

    def run(self) -> None:
        """Make the call, unless nobody wants it."""
        try:
            if not self._given_up:
                self.result = self._work()
        except GivenUp:
            pass
        except Exception as error:  # noqa: BLE001  # drivers raise what they like
            self._failed(error)
        finally:
            self._done.release()

    def refuse(self, error: Exception) -> None:
        """End the job without the call."""
        self._failed(error)
        self._done.release()

    def wait(self, clock: Clock, seconds: float) -> bool:
        """Wait for the end of the call; return whether it came in time."""
        if clock.wait(self._done, max(0.0, seconds)):
            self._done.release()  # for the next who waits
            return True
        return False

    def give_up(self) -> None:
        """Wait no longer; the call is not made if it has not begun."""
        self._given_up = True


class Revocable:
    """A change that can be called off, even while a store is about to make it."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._revoked = False
        self._lock = threading.Lock()

    def __call__(self, circuit: Circuit) -> Circuit:
        """Make the change, unless it was called off."""
        with self._lock:
            if self._revoked:
                raise GivenUp
            return self._change(circuit)

    def revoke(self) -> None:
        """Call the change off: once this returns, it is never made again."""
        with self._lock:
            self._revoked = True


class Worker:
    """A daemon thread, started with the first job, and the queue before it.

    It ends with the last reference to the worker, or with the process; queued jobs
    then have a moment left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job[Any] | None] | None = None

    def submit(self, job: Job[Any]) -> None:
        """Queue a job.

        Raises:
            queue.Full: If the thread is stuck.
            RuntimeError: If the system gives no thread.
        """
        with self._lock:
            jobs = self._jobs = self._jobs or self._started()
        if jobs.qsize() >= _LONGEST_QUEUE:
            raise queue.Full
        jobs.put(job)

    def _started(self) -> "queue.SimpleQueue[Job[Any] | None]":
        jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        thread = threading.Thread(
            target=_work, args=[jobs], name="flask-llm-state", daemon=True
        )
        thread.start()
        weakref.finalize(self, _end, jobs, thread)
        return jobs


def _work(jobs: "queue.SimpleQueue[Job[Any] | None]") -> None:
    while job := jobs.get():
        job.run()
        del job  # or it keeps the store, while this thread waits


def _end(jobs: "queue.SimpleQueue[Job[Any] | None]", thread: threading.Thread) -> None:
    jobs.put(None)
    if thread is not threading.current_thread():
        thread.join(_LAST_CHANCE)
