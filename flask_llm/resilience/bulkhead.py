"""How calls reach one provider: not too many at once, and none without an end."""

import math
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

from ..errors import BusyError, TimedOutError
from .clock import Clock, PerProcess
from .stream_reader import Cancellation, StreamReader, callers_cancellation
from .thread_pool import Abandoned, ThreadPool

T = TypeVar("T")

# A call that was left behind still holds a thread and a connection.
_MOST_ABANDONED = 8

# The provider's own timeout should end a call first: that leaves nothing behind. So it
# gets 25 ms more, but no more than a twentieth of a short limit.
_GRACE_S = 0.025
_GRACE_PART = 0.05

# A stream that was cut ends at once, where its connection can be cut.
_LINGER_S = 1.0


NOT_READY = BusyError(reason="its SDK is still being loaded, so it was not asked")
"""Why a call has no answer whose time went by before a request was sent."""


class Bulkhead:
    """The calls to one provider.

    Args:
        max_calls: The most calls at once in a process; None for no limit.
        workers: Threads for calls with a time limit.
        clock: Where time is read.

    Attributes:
        changed: Called when a call has begun or ended, in that call's thread. Must not
            raise.
    """

    changed: Callable[[], None] | None = None

    def __init__(
        self, max_calls: int | None, workers: ThreadPool, clock: Clock
    ) -> None:
        self._max_calls = max_calls
        self._workers = workers
        self._clock = clock
        self._calls = PerProcess(lambda: _Calls(self, max_calls, clock))

    @property
    def under_way(self) -> int:
        """How many calls this process has there, those included that were left."""
        return len(self._calls.get().under_way)

    def call(
        self,
        function: Callable[[float | None], T],
        limit: float | None,
        patience: float,
    ) -> T:
        """Return what a function returns.

        Args:
            function: Asks the provider; is told the seconds that it may take.
            limit: Seconds after which the caller does not wait any longer; None to
                wait as long as it takes.
            patience: The most seconds to wait for a free slot.

        Raises:
            BusyError: There is no slot, or too many earlier calls have not ended.
            TimedOutError: The time is up.
        """
        calls = self._calls.get()
        if limit is None:
            if self._max_calls is None:
                calls.enter()
            else:
                calls.begin(patience)
            try:
                return function(None)
            finally:
                calls.end()
        end = self._clock.monotonic() + limit
        # With less than half of its time a call would mostly be made for nothing.
        calls.begin(min(patience, limit / 2))
        left = max(0.0, end - self._clock.monotonic())
        return self._limited(calls, lambda: function(left), left)

    def open(
        self,
        source: Callable[[float], Generator[str, None, T]],
        limit: float,
        patience: float,
    ) -> tuple[StreamReader[T], float]:
        """Begin to read a stream, which holds its slot until it is over or cut.

        Args:
            source: Makes the generator of its texts; is told the seconds until the
                first one.
            limit: Seconds until the first text.
            patience: The most seconds to wait for a free slot.

        Returns:
            The stream, and the seconds that are left until the first text.

        Raises:
            BusyError: There is no slot, or too many earlier calls have not ended.
        """
        calls = self._calls.get()
        end = self._clock.monotonic() + limit
        calls.begin(min(patience, limit / 2))
        left = max(0.0, end - self._clock.monotonic())
        way = (self._workers, self._clock, calls.end, calls.left)
        try:
            return StreamReader(lambda: source(left), *way), left
        except RuntimeError:
            calls.end()
            raise BusyError(reason="busy (no more threads)") from None

    def _limited(self, calls: "_Calls", function: Callable[[], T], limit: float) -> T:
        call = _Call()

        def run() -> T:
            callers_cancellation.set(call)
            try:
                return function()
            finally:
                call.over = True
                calls.abandoned.discard(call)
                calls.end()

        try:
            grace = min(_GRACE_S, limit * _GRACE_PART)
            return self._workers.call(run, limit + grace)
        except Abandoned:
            call.cancel()
            raise (NOT_READY.copy() if call.is_preparing else TimedOutError()) from None
        finally:  # whatever made the caller leave
            calls.left(call)


class _Leavable(Protocol):
    """A call that may outlive its caller: when that left, and whether it is over."""

    over: bool
    left_at: float


class _Call(Cancellation):
    """A call that has had its time, if its caller leaves."""

    over = False
    left_at = -math.inf


class _Calls:
    """One process's calls to a provider."""

    def __init__(self, bulkhead: Bulkhead, max_calls: int | None, clock: Clock) -> None:
        self._bulkhead = bulkhead
        self._max_calls = max_calls
        self._clock = clock
        # One for each; unlike a number it loses no change of two threads.
        self.under_way: deque[None] = deque()
        self._slots = threading.Semaphore(max_calls) if max_calls else None
        self._most_abandoned = min(max_calls or _MOST_ABANDONED, _MOST_ABANDONED)
        self.abandoned: set[_Leavable] = set()

    def begin(self, patience: float) -> None:
        # Not to be waited for: they may never end.
        stuck = self._stuck() if self.abandoned else 0
        if stuck >= self._most_abandoned:
            raise BusyError(reason=f"busy ({stuck} abandoned calls have not ended)")
        if self._slots and not self._slots.acquire(timeout=patience):
            raise BusyError(reason=f"busy ({self._max_calls} at once)")
        self.enter()

    def enter(self) -> None:
        self.under_way.append(None)
        if self._bulkhead.changed is not None:
            self._bulkhead.changed()

    def _stuck(self) -> int:
        """Return how many calls that were left behind do not come to an end."""
        for call in self.abandoned.copy():
            if call.over:
                self.abandoned.discard(call)
        latest = self._clock.monotonic() - _LINGER_S
        return sum(call.left_at < latest for call in self.abandoned.copy())

    def left(self, call: _Leavable) -> None:
        """Note that a call's caller has gone, in case the call is not over."""
        if not call.over:
            self.abandoned.add(call)
        if call.over:  # it may have ended just now, before it was in the set
            self.abandoned.discard(call)

    def end(self) -> None:
        self.under_way.pop()
        if self._bulkhead.changed is not None:
            self._bulkhead.changed()
        if self._slots:
            self._slots.release()
