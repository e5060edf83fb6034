"""The usage log of one app: it hears the calls of each process, and hands them on."""

import os
import weakref

from ...process import PerProcess
from ...signals import CircuitChanged, GenerationFinished, lossless
from ..records import CallRecord
from ..source import About
from .items import Change
from .settings import Place
from .writer import Writer

class UsageLog:
    """Hears an app's calls; the app keeps it at ``app.extensions["llm.usage"]``.

    Args:
        place: Where the log is.
        days: For how long calls are kept; None for ever.

    Attributes:
        place: Where the log is.
    """

    def __init__(self, place: Place, days: int | None) -> None:
        self.place = place
        self._days = days
        self._writer = PerProcess(self._made)

    def about(self) -> About:
        """Return how this process's writing goes."""
        writer = self._writer.made()
        return About("usage") if writer is None else writer.about()

    @lossless
    def finished(self, sender: object, event: GenerationFinished) -> None:  # noqa: ARG002  # blinker's own
        """Let a call that is over be written; never waits."""
        self._writer.get().put(CallRecord.of(event))

    @lossless
    def changed(self, sender: object, event: CircuitChanged) -> None:  # noqa: ARG002  # blinker's own
        """Let it be written that a circuit has opened or closed; never waits."""
        self._writer.get().put(Change(os.urandom(12).hex(), event))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until this process's calls are written, for tests and scripts.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether they are.
        """
        writer = self._writer.made()
        return writer is None or writer.flush(timeout)

    def _made(self) -> Writer:
        writer = Writer(self.place, self._days)
        # When the app is gone; the writer itself sees to the end of the process.
        weakref.finalize(self, writer.end).atexit = False
        return writer
