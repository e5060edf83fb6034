"""Asks the log, and waits only so long; one that does not answer is left in peace."""

import threading
from collections.abc import Callable
from typing import TypeVar
from sqlalchemy import Connection

from ...resilience.clock import SYSTEM, Clock
from ...resilience.thread_pool import LeftBehind, Workers
from ..source import SourceError
from .link import Link, NoLogYet
from .settings import Place
from .wording import why

T = TypeVar("T")

REST_S = 10.0
"""Seconds for which an error is told again to whoever asks, without asking."""

_SPARE_S = 1.0


class Asker:
    """Asks the log of a place, in one process and for all its threads.

    Args:
        place: Where it is.
        patience_s: Seconds to wait for an answer.
        clock: How long an error is remembered.
    """

    def __init__(self, place: Place, patience_s: float, clock: Clock = SYSTEM) -> None:
        self._secrets = place.secrets
        self._limit_s = patience_s + _SPARE_S
        self._clock = clock
        self._link = Link(place, writes=False, patience_s=patience_s)
        self._workers = Workers(SYSTEM)
        self._lock = threading.Lock()
        self._error: str | None = None
        self._rests_until = 0.0

    def ask(self, question: Callable[[Connection], T], empty: T) -> T:
        """Ask the database something.

        Args:
            question: What to do in a transaction.
            empty: The answer where nothing was written yet.

        Raises:
            SourceError: There is no answer, or there was none a moment ago.
        """
        if known := self._known_error():
            raise SourceError(known)
        try:
            answer = self._answer(question, empty)
        except Exception as error:  # noqa: BLE001  # a driver may raise anything
            told = f"The usage log cannot be read: {why(error, self._secrets)}"
            self._error, self._rests_until = told, self._clock.monotonic() + REST_S
            raise SourceError(told) from None
        self._error = None
        return answer

    def _known_error(self) -> str | None:
        """Return the error that still holds; else the caller is the one who asks."""
        with self._lock:
            now = self._clock.monotonic()
            if self._error is None or now < self._rests_until:
                return self._error
            self._rests_until = now + self._limit_s + REST_S
            return None

    def _answer(self, question: Callable[[Connection], T], empty: T) -> T:
        try:
            # A server that hangs is left behind; no timeout of a driver sees to that.
            return self._workers.call(lambda: self._link.run(question), self._limit_s)
        except NoLogYet:
            return empty
        except LeftBehind:
            raise TimeoutError(f"no answer within {self._limit_s:g} s") from None
