"""What the log is told of a usage log that cannot be written."""

import logging
import threading

from ...resilience.clock import Clock
from .wording import why

log = logging.getLogger("flask_llm")

_PAUSE_S = 300.0

# A file may be locked for a moment, and a server may be starting anew.
_TRIES_UNSAID = 3


class Outage:
    """An outage of the database, if there is one, and what was lost in all.

    Args:
        clock: The time.
        secrets: What must not be logged.

    Attributes:
        lost: Calls that this process could not write.
        error: Why the last attempt to write has failed; None if it went well.
    """

    def __init__(self, clock: Clock, secrets: tuple[str, ...]) -> None:
        self.lost = 0
        self.error: str | None = None
        self._clock = clock
        self._secrets = secrets
        self._lock = threading.Lock()
        self._failures = 0
        self._lost_before = 0
        self._said_at: float | None = None

    def failed(self, error: Exception, waiting: int) -> None:
        """Note that writing has failed."""
        told = why(error, self._secrets)
        with self._lock:
            self.error = told
            self._failures += 1
            said = self._failures >= _TRIES_UNSAID and self._is_due()
        if said:
            log.warning(
                "LLM_USAGE: the usage log cannot be written (%s); calls that wait: %d,"
                " lost: %d",
                told,
                waiting,
                self._lost_now,
            )

    def lose(self, number: int) -> None:
        """Count calls that there is no room for."""
        with self._lock:
            self.lost += number
            said = self._is_due()
        if said:
            log.warning(
                "LLM_USAGE: the usage log is too slow or does not answer; calls that"
                " have no room to wait are lost, so far: %d",
                self._lost_now,
            )

    def refused(self, error: BaseException) -> None:
        """Count a call whose row the database does not take."""
        with self._lock:
            self.lost += 1
        log.warning(
            "LLM_USAGE: a call is lost, since its row is refused (%s)",
            why(error, self._secrets),
        )

    def over(self) -> None:
        """Note that writing works, and say so if the contrary was said."""
        if not self._failures and self._said_at is None:
            return
        with self._lock:
            said, lost = self._said_at is not None, self._lost_now
            self._failures, self._said_at, self.error = 0, None, None
            self._lost_before = self.lost
        if said:
            log.info("LLM_USAGE: the usage log is written again; calls lost: %d", lost)

    @property
    def _lost_now(self) -> int:
        return self.lost - self._lost_before

    def _is_due(self) -> bool:
        now = self._clock.monotonic()
        if self._said_at is not None and now - self._said_at < _PAUSE_S:
            return False
        self._said_at = now
        return True
