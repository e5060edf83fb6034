"""A clock for tests, which need not wait."""

import threading
import time

from flask_llm.resilience.stream_reader import current_cancellation

_BEAT_S = 0.0002
_MOST_S = 60.0  # real ones, after which a test hangs


class Elapsed(BaseException):
    """Ends a thread that nobody waits for any more."""


class FakeClock:
    """A clock that is told the time: sleeping only adds to it, and is recorded.

    A thread that somebody waits for sleeps no longer than that: then the time is up,
    its caller goes on, and the thread is ended. The thread that reads a stream lives
    on: its `wait` ends when its readers have waited for so long altogether, or when the
    signal comes, as the stream is closed.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self._limit: float | None = None
        self._is_up = False
        self._signal = None
        self._waiting = threading.Event()
        self._turn = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1_000_000_000

    def sleep(self, seconds: float, /) -> None:
        if threading.current_thread().name == "flask-llm-call":
            assert self._waiting.wait(_MOST_S)
        if self._limit is not None and self.now + seconds > self._limit:
            self.now, self._limit = self._limit, None
            raise Elapsed
        self.waits.append(seconds)
        self.now += seconds

    def wait(self, signal, seconds: float, /) -> bool:
        if current_cancellation.get() is not None:
            return self._wait_in_stream(signal, seconds)
        self._limit, self._is_up, self._signal = self.now + seconds, False, signal
        self._waiting.set()
        end = time.monotonic() + _MOST_S
        while not self._has_come():
            assert time.monotonic() < end
            time.sleep(_BEAT_S)
        in_time = self._limit is not None and not self._is_up
        self._limit = None
        return in_time

    def _has_come(self) -> bool:
        """Return whether the wait is over, by the signal or because the time is up."""
        with self._turn:
            over = self._is_up or self._signal.acquire(blocking=False)
            if over:
                self._signal = None
                self._waiting.clear()
            return over

    def _wait_in_stream(self, signal, seconds: float) -> bool:
        """Wait in the thread that reads a stream, as long as its reader waits."""
        end = self.now + seconds
        while not signal.acquire(timeout=_BEAT_S):
            with self._turn:
                if not signal.locked() or not self._is_waited_for():
                    continue
                if end <= self._limit:
                    self.waits.append(seconds)
                    self.now = max(self.now, end)
                    return False
                self.now, self._is_up = max(self.now, self._limit), True
        return True

    def _is_waited_for(self) -> bool:
        """Return whether somebody waits whose signal has not come yet."""
        waits = self._signal is not None and not self._is_up
        return waits and self._limit is not None and self._signal.locked()
