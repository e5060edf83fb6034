"""A clock for tests, which need not wait."""

import threading


class Elapsed(BaseException):
    """Ends a thread that nobody waits for any more."""


class FakeClock:
    """A clock that is told the time: sleeping only adds to it, and is recorded.

    A thread that somebody waits for sleeps no longer than that: then the time is up,
    its caller goes on, and the thread is ended.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self._limit: float | None = None
        self._waiting = threading.Event()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1_000_000_000

    def sleep(self, seconds: float, /) -> None:
        if threading.current_thread().name == "flask-llm-call":
            assert self._waiting.wait(10)
        if self._limit is not None and self.now + seconds > self._limit:
            self.now, self._limit = self._limit, None
            raise Elapsed
        self.waits.append(seconds)
        self.now += seconds

    def wait(self, signal, seconds: float, /) -> bool:
        self._limit = self.now + seconds
        self._waiting.set()
        assert signal.acquire(timeout=10)
        self._waiting.clear()
        in_time, self._limit = self._limit is not None, None
        return in_time
