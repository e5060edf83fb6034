"""Stands in for the slots of a bulkhead."""


class Queue:
    """The slots of a bulkhead, for each of which one waits for so long on a clock."""

    def __init__(self, clock, seconds):
        self._clock = clock
        self._seconds = seconds

    def acquire(self, timeout):
        self._clock.now += min(timeout, self._seconds)
        return self._seconds <= timeout

    def release(self):
        pass
