"""Who waits for a stream, and may leave before there is any text."""

from collections.abc import Callable, Iterator

from .resilience.clock import Clock
from .line import callers_line

# How often somebody looks whether the caller is still there.
_GLANCE_S = 0.25


class Caller:
    """The caller of a stream, as the walk for its first text knows it.

    Args:
        is_gone: Tells whether nobody waits for the text any more; None if the caller
            cannot leave.
    """

    def __init__(self, is_gone: Callable[[], bool] | None) -> None:
        self._is_gone = is_gone
        self._line = callers_line.get()

    @property
    def may_leave(self) -> bool:
        """Whether it is worth to look."""
        return self._is_gone is not None or self._line is not None

    def has_left(self) -> bool:
        """Return whether nobody waits any more."""
        if self._line is not None and self._line.is_cut:
            return True
        return self._is_gone is not None and self._is_gone()

    def glances(self, seconds: float) -> Iterator[float]:
        """Yield the seconds of one wait after the other, as long as somebody waits.

        Args:
            seconds: How long all of them take together.
        """
        while self.may_leave and seconds > _GLANCE_S:
            yield _GLANCE_S
            seconds -= _GLANCE_S
            if self.has_left():
                return
        yield seconds

    def sleep(self, seconds: float, clock: Clock) -> None:
        """Wait, or return when nobody waits for what comes after it."""
        for each in self.glances(seconds):
            clock.sleep(each)
