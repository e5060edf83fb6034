"""Whose turn it is: which providers of the chain one call asks, and in which order."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import DeadlineError, ProviderError
from ..resilience.circuit_breaker import State
from ..resilience.clock import Clock
from ..resilience.deadline import Deadline
from .health import Breaker
from .logs import tell
from .provider_handle import ProviderHandle
from .result import CallResult

NO_TIME = DeadlineError(reason="not asked, no time left")
"""Why nobody is asked any more."""


class Candidate(NamedTuple):
    """Whom to ask next.

    Attributes:
        entry: The provider.
        probe: Whether it has been resting, and is only tried.
        to_come: Who may have to answer in its place.
    """

    entry: ProviderHandle
    probe: bool
    to_come: Sequence[ProviderHandle]


class Candidates:
    """Yields whom one call asks, in order; notes the others as skipped.

    If nobody answered, a provider that only rests by our own guess may get the single
    probe that its circuit allows.

    Args:
        entries: The chain.
        breaker: Knows who rests.
        deadline: The time of the call.
        outcome: Where skipped providers are noted.
        clock: Where the time is read.

    Attributes:
        circuits: What was known of each provider when the call began, or learned since.
        rejections: By model, why it will not take this prompt.
    """

    def __init__(
        self,
        entries: Sequence[ProviderHandle],
        breaker: Breaker,
        deadline: Deadline,
        outcome: CallResult,
        clock: Clock,
    ) -> None:
        self._entries = entries
        self._breaker = breaker
        self._deadline = deadline
        self._outcome = outcome
        self._clock = clock
        self.circuits = breaker.look()
        self.rejections: dict[object, ProviderError] = {}

    def __iter__(self) -> Iterator[Candidate]:
        resting = []
        for position, entry in enumerate(self._entries):
            if self._is_out(entry):
                continue
            state = self._breaker.state(self.circuits[entry.name])
            if state is not State.OPEN and self._deadline.is_over():
                self._skip(entry, NO_TIME.copy(provider=entry.name))
            elif state is State.CLOSED or self._may_probe(entry, state):
                to_come = self._entries[position + 1 :]
                yield Candidate(entry, state is not State.CLOSED, to_come)
            else:
                resting.append(entry)
                error = self._breaker.resting(entry, self.circuits[entry.name])
                self._skip(entry, error)
        yield from self._last_resort(resting)

    def followers(self, turn: Candidate) -> int:
        """Return how many may still be asked after a turn."""
        return sum(map(self._can_be_asked, turn.to_come))

    def _is_out(self, entry: ProviderHandle) -> bool:
        """Skip an entry that cannot be asked, or whose model has said no."""
        if error := entry.unavailable():
            level = logging.WARNING if entry.is_news(error) else logging.DEBUG
            self._skip(entry, error, level)
            return True
        if rejection := self.rejections.get(entry.model):
            self._skip(entry, rejection.copy(provider=entry.name))
            return True
        return False

    def _skip(
        self, entry: ProviderHandle, error: ProviderError, level: int = logging.INFO
    ) -> None:
        tell(
            level,
            "%s skipped: %s",
            entry.name,
            error.summary,  # without its provider's own words
            provider=entry.name,
            model=entry.model_name,
            kind=error.kind,
            wait_s=error.retry_after,
        )
        self._outcome.failed(error)
        self._outcome.skipped(entry, self._clock.monotonic(), error)

    def _last_resort(self, resting: list[ProviderHandle]) -> Iterator[Candidate]:
        for entry in resting:
            told = self.circuits[entry.name].told
            if not told and not self._deadline.is_over() and self._breaker.claim(entry):
                yield Candidate(entry, probe=True, to_come=())
                return

    def _may_probe(self, entry: ProviderHandle, state: State) -> bool:
        return state is State.HALF_OPEN and self._breaker.claim(entry)

    def _can_be_asked(self, entry: ProviderHandle) -> bool:
        state = self._breaker.state(self.circuits[entry.name])
        return state is not State.OPEN and entry.unavailable() is None
