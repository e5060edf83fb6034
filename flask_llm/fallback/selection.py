"""Who is asked next: which providers one call asks, in which order."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import DeadlineError, ProviderError
from ..resilience.circuit_breaker import State
from ..resilience.clock import Clock
from ..resilience.deadline import Deadline
from .health import CircuitBreakers
from .logs import log_line
from .provider_handle import ProviderHandle
from .result import CallResult

NO_TIME = DeadlineError(reason="not asked, no time left")
"""Why nobody is asked any more."""


class Candidate(NamedTuple):
    """Whom to ask next.

    Attributes:
        handle: The provider.
        probe: Whether its circuit was open, and it is only tried.
        to_come: Who may have to answer in its place.
    """

    handle: ProviderHandle
    probe: bool
    to_come: Sequence[ProviderHandle]


class Candidates:
    """Yields whom one call asks, in order; notes the others as skipped.

    If nobody answered, a provider whose circuit is open by our own guess only may get
    the single probe that its circuit allows.

    Args:
        handles: The chain.
        breakers: Know whose circuit is open.
        deadline: The time of the call.
        result: Where skipped providers are noted.
        clock: Where the time is read.

    Attributes:
        circuits: What was known of each provider when the call began, or learned since.
        rejections: By model, why it will not take this prompt.
    """

    def __init__(
        self,
        handles: Sequence[ProviderHandle],
        breakers: CircuitBreakers,
        deadline: Deadline,
        result: CallResult,
        clock: Clock,
    ) -> None:
        self._handles = handles
        self._breakers = breakers
        self._deadline = deadline
        self._result = result
        self._clock = clock
        self.circuits = breakers.snapshot()
        self.rejections: dict[object, ProviderError] = {}

    def __iter__(self) -> Iterator[Candidate]:
        waiting = []
        for position, handle in enumerate(self._handles):
            if self._is_out(handle):
                continue
            circuit = self.circuits[handle.name]
            state = self._breakers.state(circuit) if circuit.until else State.CLOSED
            if state is not State.OPEN and self._deadline.is_over():
                self._skip(handle, NO_TIME.copy(provider=handle.name))
            elif state is State.CLOSED or self._may_probe(handle, state):
                to_come = self._handles[position + 1 :]
                yield Candidate(handle, state is not State.CLOSED, to_come)
            else:
                waiting.append(handle)
                error = self._breakers.error_of(handle, circuit)
                self._skip(handle, error)
        yield from self._last_resort(waiting)

    def followers(self, candidate: Candidate) -> int:
        """Return how many may still be asked after a candidate."""
        return sum(map(self._can_be_asked, candidate.to_come))

    def _is_out(self, handle: ProviderHandle) -> bool:
        """Skip a provider that cannot be asked, or whose model has said no."""
        if error := handle.unavailable():
            level = logging.WARNING if handle.is_news(error) else logging.DEBUG
            self._skip(handle, error, level)
            return True
        if handle.model in self.rejections:
            rejection = self.rejections[handle.model]
            self._skip(handle, rejection.copy(provider=handle.name))
            return True
        return False

    def _skip(
        self, handle: ProviderHandle, error: ProviderError, level: int = logging.INFO
    ) -> None:
        log_line(
            level,
            "%s skipped: %s",
            handle.name,
            error.summary,  # without its provider's own words
            provider=handle.name,
            model=handle.model_name,
            kind=error.kind,
            wait_s=error.retry_after,
        )
        self._result.failed(error)
        self._result.skipped(handle, self._clock.monotonic(), error)

    def _last_resort(self, waiting: list[ProviderHandle]) -> Iterator[Candidate]:
        for handle in waiting:
            if self.circuits[handle.name].told or self._deadline.is_over():
                continue
            if self._breakers.acquire_probe(handle):
                yield Candidate(handle, probe=True, to_come=())
                return

    def _may_probe(self, handle: ProviderHandle, state: State) -> bool:
        return state is State.HALF_OPEN and self._breakers.acquire_probe(handle)

    def _can_be_asked(self, handle: ProviderHandle) -> bool:
        state = self._breakers.state(self.circuits[handle.name])
        return state is not State.OPEN and handle.unavailable() is None
