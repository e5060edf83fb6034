"""Who is asked next: which providers one call asks, in which order."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..errors import DeadlineError, ProviderError
from ..resilience.circuit_breaker import State
from ..resilience.clock import Clock
from ..resilience.deadline import Deadline
from .health import CircuitBreakers
from .logs import log_line
from .provider_handle import ProviderHandle
from .result import CallResult

# How often who waits looks whether anybody wants an answer.
_GLANCE_S = 0.25

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
    the single probe that its circuit allows; or the call waits for the outcome of
    another call's probe, inside its deadline.

    Args:
        handles: The chain.
        breakers: Know whose circuit is open.
        deadline: The time of the call.
        result: Where skipped providers are noted.
        clock: Where the time is read.
        is_gone: Tells whether nobody waits for the answer any more.
        patience: The most seconds to wait for room in the app's own limits, where no
            deadline says so.

    Attributes:
        no_room: When there is room for another request, by who had none for this call.
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
        is_gone: Callable[[], bool],
        patience: float = 0.0,
    ) -> None:
        self._patience = patience
        self.no_room: dict[ProviderHandle, float] = {}
        self._handles = handles
        self._breakers = breakers
        self._deadline = deadline
        self._result = result
        self._clock = clock
        self._is_gone = is_gone
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
        yield from self._with_room()

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
        """Yield who may be tried by this call, or who has passed another call's trial.

        A time that a provider has named itself is kept, whatever happens.
        """
        guessed = [each for each in waiting if not self.circuits[each.name].told]
        for handle in guessed:
            if not self._deadline.is_over() and self._claims(handle):
                yield Candidate(handle, probe=True, to_come=())
                return
        for handle in guessed:
            if candidate := self._after_trial(handle):
                yield candidate
                return

    def _with_room(self) -> Iterator[Candidate]:
        """Yield who had no room for this call, as soon as there is some."""
        while self.no_room:
            handle = min(self.no_room, key=lambda each: self.no_room[each])
            wait = max(0.0, self.no_room.pop(handle) - self._clock.monotonic())
            limited = self._deadline.seconds is not None
            # It is no fault of the deadline's if that is too long.
            if wait > (self._deadline.left() if limited else self._patience):
                return
            if not self._can_be_asked(handle) or not self._wait(wait):
                return
            yield Candidate(handle, probe=False, to_come=())

    def _wait(self, seconds: float) -> bool:
        """Wait; return whether somebody still wants an answer."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0 and not self._is_gone():
            self._clock.sleep(min(left, _GLANCE_S))
        return not self._is_gone()

    def _after_trial(self, handle: ProviderHandle) -> Candidate | None:
        """Wait for another call's trial; return whom to ask then, if anybody."""
        limited = self._deadline.seconds is not None
        patience = self._deadline.left() if limited else handle.timeout
        end = self._clock.monotonic() + patience
        while (left := end - self._clock.monotonic()) > 0 and not self._is_gone():
            circuit = self._breakers.after_trial(handle, left, self._is_gone)
            self.circuits[handle.name] = circuit
            if not circuit.until:
                return Candidate(handle, probe=False, to_come=())
            if self._may_probe(handle, self._breakers.state(circuit)):
                return Candidate(handle, probe=True, to_come=())
            circuit = self._breakers.circuit(handle)
            if circuit.until and not self._breakers.is_tried(handle, circuit):
                self._skip(handle, self._breakers.error_of(handle, circuit))
                return None
        return None

    def _may_probe(self, handle: ProviderHandle, state: State) -> bool:
        return state is State.HALF_OPEN and self._claims(handle)

    def _claims(self, handle: ProviderHandle) -> bool:
        """Return whether this call may make a provider's probe, and note it if so."""
        claim = self._breakers.acquire_probe(handle)
        if claim is not None:
            self.circuits[handle.name] = claim
        return claim is not None

    def _can_be_asked(self, handle: ProviderHandle) -> bool:
        circuit = self.circuits[handle.name]
        if self._breakers.state(circuit) is State.OPEN:
            return False
        return (
            not self._breakers.is_tried(handle, circuit)
            and handle.unavailable() is None
        )
