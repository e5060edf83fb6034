"""Whether a shared store answers, when it is asked again, and what the log says."""

import logging
import math
import threading

from ..resilience.clock import Clock
from ..errors import text_of
from ..redact import redact

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
