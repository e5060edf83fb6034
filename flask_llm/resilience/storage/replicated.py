"""A storage that processes share, behind a memory that answers at once."""

import logging
import math
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from ...errors import redact, text_of
from ..circuit_breaker import CLOSED, Circuit
from ..clock import SYSTEM, Clock, PerProcess
from .base import Change, MemoryStorage, Storage

log = logging.getLogger("flask_llm")

_OUTAGES = {"ConnectionError", "TimeoutError", "Full"}
_LONGEST = 120


class Health:
    """What one process knows of a store. It is down until a probe says otherwise.

    Args:
        name: What the log calls the store.
        clock: The time.
        pauses: Seconds from an outage to the first probe, and at most between two. A
            recovery must last as long as the latter to start anew with the former.
        secrets: What must not appear in the log.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        pauses: tuple[float, float],
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._secrets = secrets
        self.is_up = False
        self.is_known = False
        self._name = name
        self._clock = clock
        self._first, self._longest = pauses
        self._pause = self._first
        self._due = -math.inf
        self._up_since = 0.0
        self._probing = False
        self._told = False
        self._lock = threading.Lock()

    def takes_probe(self) -> bool:
        """Return whether a probe is due; if so, the caller has to make it."""
        now = self._clock.monotonic()
        if now < self._due:
            return False
        with self._lock:
            if self.is_up or self._probing or now < self._due:
                return False
            self._probing = True
            return True

    def lost(self, error: Exception) -> None:
        """Note that the store failed or was late."""
        with self._lock:
            if not self.is_up:
                return
            self.is_up = False
            if self._clock.monotonic() - self._up_since >= self._longest:
                self._pause = self._first
            self._wait()
        self.warn(error)

    def probe_failed(self, error: Exception) -> None:
        """Note that a probe failed or was late."""
        with self._lock:
            self.is_up = self._probing = False
            self._wait()
        self.warn(error)

    def probe_passed(self) -> None:
        """Note that the store answers."""
        with self._lock:
            self.is_up = self.is_known = True
            self._probing = False
            self._up_since = self._clock.monotonic()

    def warn(self, error: Exception) -> None:
        """Log an outage, once."""
        with self._lock:
            known, self._told, self.is_known = self._told, True, True
        if not known:
            told = self.told_of(error)
            log.warning("%s; each process keeps its own state until it does", told)

    def told_of(self, error: Exception) -> str:
        """Return what is wrong; more than a name where it is no mere outage."""
        why = type(error).__name__
        text = " ".join(redact(text_of(error), self._secrets).split())[:_LONGEST]
        if text and why not in _OUTAGES:
            why = f"{why}: {text}"
        return f"LLM_STATE_URL: {self._name} does not answer ({why})"

    def tell_recovery(self) -> None:
        """Log the end of an outage that was logged."""
        with self._lock:
            known, self._told = self._told, False
        if known:
            log.info("LLM_STATE_URL: %s answers again", self._name)

    def _wait(self) -> None:
        self._due = self._clock.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._longest)


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


_PROBE = "(probe)"
_LONGEST_SETTLING = 5.0
_FIRST_ANSWER = 1.0


class ReplicatedStorage(Storage):
    """Answers from memory, and keeps that in step with a store that others see too.

    One thread of each process talks to the remote store. A prompt waits for it only
    if what memory holds is old, or if only one process may win; and then not for long.
    While the remote store is down, memory alone answers; what was learned meanwhile
    is written when it is back.

    Args:
        remote: The store that is shared. May fail, block or be slow.
        name: What the log calls it.
        clock: The time.
        patience: Seconds after which an answer is too late.
        fresh_for: Seconds for which memory is believed without asking.
        pauses: Seconds to the first probe of an outage, and at most between two.
        secrets: What must not appear in the log.
    """

    def __init__(
        self,
        remote: Storage,
        name: str,
        clock: Clock = SYSTEM,
        *,
        patience: float = 0.02,
        fresh_for: float = 0.5,
        pauses: tuple[float, float] = (1.0, 60.0),
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._remote = remote
        self._clock = clock
        self._patience = patience
        self._fresh_for = fresh_for
        # With its memory: a child that inherited counts would write them a second time.
        self._links = PerProcess(
            lambda: _Link(MemoryStorage(clock), Health(name, clock, pauses, secrets))
        )

    def read(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys; as others see them, if that is quick."""
        return self._read(keys, self._fresh_for)

    @property
    def is_up(self) -> bool:
        """Whether the remote store answers."""
        return self._links.get().health.is_up

    def look(self, keys: Sequence[str]) -> list[Circuit]:
        """Return the circuits of several keys without trusting what memory holds."""
        return self._read(keys, 0.0)

    def _read(self, keys: Sequence[str], fresh_for: float) -> list[Circuit]:
        link = self._links.get()
        now = self._clock.monotonic()
        is_old = not link.is_fresh(keys, now - fresh_for)
        if is_old and self._is_up(link, self._patience):
            self._answer(link, self._refresh(link, keys, now))
        return link.memory.read(keys)

    def update(self, key: str, change: Change) -> Circuit:
        """Change one circuit here at once, and where all see it soon."""
        link = self._links.get()
        before = CLOSED

        def noted(known: Circuit) -> Circuit:
            nonlocal before
            before = known
            return change(known)

        circuit = link.memory.update(key, noted)
        link.closed.pop(key, None)
        if self._is_up(link):
            self._submit(link, lambda: self._write(link, key, change, circuit))
            return circuit
        if circuit == CLOSED:
            link.closed[key] = change
        if before.trial and not circuit.trial:
            self._end_trial(link, key, change, circuit)
        return circuit

    def decide(self, key: str, change: Change) -> Circuit:
        """Change one circuit where all see it; here, if there is no quick answer."""
        link = self._links.get()
        if self._is_up(link, self._patience):
            once = Revocable(change)
            job = self._submit(link, lambda: self._remote.update(key, once))
            circuit = self._answer(link, job)
            if circuit is not None:
                return link.memory.update(key, lambda _: circuit)
            once.revoke()
        return link.memory.update(key, change)

    def settle(self, key: str, change: Change) -> Circuit:
        """Change one circuit in the remote store itself, behind what is queued for it.

        What was learned before it must not be written after it.
        """
        link = self._links.get()
        mine = link.memory.update(key, change)
        faults: list[Exception] = []
        work = partial(self._write, link, key, change, mine)
        job = self._queued(link, Job(work, faults.append))
        if not job.wait(self._clock, _LONGEST_SETTLING):
            job.give_up()
            faults.append(TimeoutError())
        if faults:
            raise OSError(link.health.told_of(faults[0])) from None
        return link.memory.read([key])[0]

    def check(self) -> None:
        """Check the remote store itself, however long that takes."""
        self._remote.check()

    def _is_up(self, link: "_Link", patience: float = 0.0) -> bool:
        """Return whether to ask the remote store; have it probed if that is due.

        A process's first callers wait a moment for the first probe. It may take longer
        to connect than an answer may later, and the log should not complain of that.
        """
        health = link.health
        if not health.is_up and health.takes_probe():
            link.probed_at = self._clock.monotonic()
            link.probe = self._queued(
                link, Job(lambda: self._probe(link), health.probe_failed)
            )
        if not health.is_known and link.probe:
            waited = self._clock.monotonic() - link.probed_at
            if waited < patience:
                link.probe.wait(self._clock, patience - waited)
            if waited > _FIRST_ANSWER:
                health.warn(TimeoutError())
        return health.is_up

    def _probe(self, link: "_Link") -> None:
        """Write and read; then write what was learned during the outage."""
        self._remote.read([_PROBE])  # connects, which may take longer
        mark = Circuit(since=self._clock.time())
        self._in_time(lambda: self._remote.update(_PROBE, lambda _: mark))
        self._in_time(lambda: self._remote.read([_PROBE]))
        link.health.probe_passed()
        for key, change in list(link.closed.items()):
            self._write(link, key, change, CLOSED)
            link.closed.pop(key, None)
        for key in link.memory.kept():
            (mine,) = link.memory.read([key])
            self._write(link, key, partial(_later, mine), mine)
        link.health.tell_recovery()

    def _in_time(self, work: Callable[[], object]) -> None:
        begin = self._clock.monotonic()
        work()
        if self._clock.monotonic() - begin > self._patience:
            raise TimeoutError

    def _refresh(self, link: "_Link", keys: Sequence[str], now: float) -> Job[None]:
        """Queue a look at the remote store, or join one that is under way."""
        job = link.refresh
        if job and not job.is_over and link.refreshing.issuperset(keys):
            return job
        known = link.memory.read(keys)

        def look() -> None:
            for key, mine, theirs in zip(
                keys, known, self._remote.read(keys), strict=True
            ):
                link.adopt(key, mine, theirs)
                link.looked_at[key] = now

        link.refreshing = frozenset(keys)
        link.refresh = self._submit(link, look)
        return link.refresh

    def _end_trial(
        self, link: "_Link", key: str, change: Change, mine: Circuit
    ) -> None:
        """Write how a trial has ended though the store is late: others wait for it.

        If that fails it is written when the store is back.
        """

        def write() -> None:
            self._write(link, key, change, mine)
            link.closed.pop(key, None)

        self._queued(link, Job(write, lambda _: None))

    def _write(self, link: "_Link", key: str, change: Change, mine: Circuit) -> None:
        link.adopt(key, mine, self._remote.update(key, change))

    def _submit(self, link: "_Link", work: Callable[[], T]) -> Job[T]:
        def run() -> T:
            if not link.health.is_up:  # since it was queued; memory has the change
                raise GivenUp
            return work()

        return self._queued(link, Job(run, link.health.lost))

    def _queued(self, link: "_Link", job: Job[T]) -> Job[T]:
        try:
            link.worker.submit(job)
        except (queue.Full, RuntimeError) as error:
            job.refuse(error)
        return job

    def _answer(self, link: "_Link", job: Job[T]) -> T | None:
        """Wait for the remote store's answer; None if it is late or failed."""
        if job.wait(self._clock, self._patience):
            return job.result
        job.give_up()
        link.health.lost(TimeoutError())
        return None


class _Link:
    """What belongs to one process: its memory, its thread, and what it knows."""

    def __init__(self, memory: MemoryStorage, health: Health) -> None:
        self.memory = memory
        self.health = health
        self.worker = Worker()
        self.looked_at: dict[str, float] = {}
        self.refresh: Job[None] | None = None
        self.refreshing: frozenset[str] = frozenset()
        self.probe: Job[None] | None = None
        self.probed_at = 0.0
        # What closed circuits while the remote store was down; memory keeps no such.
        self.closed: dict[str, Change] = {}

    def adopt(self, key: str, mine: Circuit, theirs: Circuit) -> None:
        """Believe the remote store, unless memory has moved on since it was asked."""
        self.memory.update(key, lambda now: theirs if now == mine else now)

    def is_fresh(self, keys: Sequence[str], since: float) -> bool:
        """Return whether all these keys were looked at since then."""
        return all(self.looked_at.get(key, -1.0) >= since for key in keys)


def _later(mine: Circuit, theirs: Circuit) -> Circuit:
    """Return the circuit that rests longer, or counted more failures.

    Of two that are the same else, that whose trial is over.
    """
    return max(theirs, mine, key=lambda it: (it.until, it.failures, not it.trial))
