"""The walk along the providers: skip, ask, wait, switch."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from .breaker import Breaker
from .circuit import State
from .clock import Clock
from .deadline import Deadline
from .entry import ChainEntry
from .errors import ProviderError
from .lane import Lane
from .outcome import Outcome
from .retry import ONCE, RetryPolicy
from .signals import (
    AttemptMade,
    ProviderSwitched,
    RetryScheduled,
    attempt_made,
    emit,
    provider_switched,
    retry_scheduled,
)
from .types import Attempt, LLMResponse, Request
from .workers import Workers

log = logging.getLogger("flask_llm")

# A provider that was given less time than this is not to blame for its silence.
_FAIR_S = 1.0

# With less than this left nobody can answer any more.
_TOO_LATE_S = 0.005


class Chain:
    """The providers of one app in order. Holds no state of a call.

    Args:
        entries: The providers, the primary first.
        breaker: Knows which of them rest.
        sender: Sender of the signals.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        clock: Where time is read and waited for.
    """

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        *,
        breaker: Breaker,
        sender: object,
        fallback_on_blocked: bool,
        clock: Clock,
    ) -> None:
        self.entries = tuple(entries)
        self.breaker = breaker
        self.sender = sender
        self.fallback_on_blocked = fallback_on_blocked
        self.clock = clock
        self.secrets = tuple(key for each in entries for key in each.secrets if key)
        workers = Workers(clock)
        self.lanes = {
            each.name: Lane(each.max_concurrency, workers, clock) for each in entries
        }

    def run(
        self, request: Request, policy: RetryPolicy, seconds: float | None = None
    ) -> Outcome:
        """Walk the chain until a provider answers. Raises for no provider's failure.

        Args:
            request: What to ask.
            policy: When to ask the same provider again.
            seconds: The time for all of it; None for no limit.
        """
        return _Walk(self, request, policy, Deadline(seconds, self.clock)).run()


class _Turn(NamedTuple):
    """Whom to ask next.

    Attributes:
        entry: The provider.
        probe: Whether it has been resting, and is only tried.
        last: Whether nobody comes after it.
    """

    entry: ChainEntry
    probe: bool
    last: bool = False


class _Walk:
    """One call on its way along the chain."""

    def __init__(
        self, chain: Chain, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> None:
        self._chain = chain
        self._breaker = chain.breaker
        self._request = request
        self._policy = policy
        self._deadline = deadline
        self._circuits = chain.breaker.look(chain.entries)
        self._outcome = Outcome(chain.entries[0].name, deadline.seconds)

    def run(self) -> Outcome:
        outcome = self._outcome
        turns = self._turns()
        turn = next(turns, None)
        while turn is not None:
            log.info("Using %s for content generation", turn.entry.name)
            answer = self._persist(turn)
            if isinstance(answer, LLMResponse):
                outcome.entry, outcome.response = turn.entry, answer
                outcome.late = False
                return outcome
            log.debug("%s failed: %s", turn.entry.name, answer)
            outcome.failed(answer)
            outcome.stopped = not self._may_switch(answer)
            turn = None if outcome.stopped else self._switch(answer, turns)
        log.error("%s", outcome.story())
        return outcome

    def _turns(self) -> Iterator[_Turn]:
        """Yield whom to ask, in order; note the others as skipped.

        If nobody answered, a provider that only rests by our own guess may get the
        single probe that its circuit allows.
        """
        resting = []
        for entry in self._chain.entries:
            if self._is_too_late():
                return
            if error := entry.unavailable():
                self._skip(entry, error, news=entry.is_news(error))
                continue
            state = self._breaker.state(self._circuits[entry.name])
            if state is State.CLOSED or self._may_probe(entry, state):
                yield _Turn(entry, state is not State.CLOSED)
                continue
            resting.append(entry)
            circuit = self._circuits[entry.name]
            self._skip(entry, self._breaker.resting(entry, circuit), news=False)
        yield from self._last_resort(resting)

    def _last_resort(self, resting: list[ChainEntry]) -> Iterator[_Turn]:
        for entry in resting:
            told = self._circuits[entry.name].told
            if not told and not self._is_too_late() and self._breaker.claim(entry):
                yield _Turn(entry, probe=True, last=True)
                return

    def _may_probe(self, entry: ChainEntry, state: State) -> bool:
        return state is State.HALF_OPEN and self._breaker.claim(entry)

    def _is_too_late(self) -> bool:
        is_late = self._deadline.left() < _TOO_LATE_S
        self._outcome.late |= is_late
        return is_late

    def _skip(self, entry: ChainEntry, error: ProviderError, *, news: bool) -> None:
        level = logging.WARNING if news else logging.DEBUG
        log.log(level, "%s skipped: %s", entry.name, error)
        self._outcome.failed(error)
        self._outcome.attempts.append(_attempt(entry, 0.0, error))

    def _persist(self, turn: _Turn) -> LLMResponse | ProviderError:
        """Ask one provider as often as it makes sense."""
        policy = ONCE if turn.probe else self._policy
        self._outcome.late = False
        failures = 0
        while True:
            answer = self._ask(turn)
            if isinstance(answer, LLMResponse):
                return answer
            failures += 1
            wait = policy.wait(answer, failures)
            if wait is None or not self._pause(turn.entry, answer, failures, wait):
                self._is_too_late()
                return answer

    def _pause(
        self, entry: ChainEntry, error: ProviderError, failures: int, wait: float
    ) -> bool:
        """Wait before the same provider is asked again; return whether it shall be."""
        if wait + _TOO_LATE_S > self._deadline.left():
            self._outcome.late = True
            return False
        if error.at_once:
            return True
        if self._is_given_up(entry, failures):
            return False
        self._rest(error, failures, wait)
        return not self._is_given_up(entry, failures)

    def _ask(self, turn: _Turn) -> LLMResponse | ProviderError:
        """Ask one provider once, and note how it went."""
        entry, clock = turn.entry, self._chain.clock
        limit = self._limit(turn)
        started = clock.monotonic()
        answer = self._answer(entry, limit)
        attempt = _attempt(entry, clock.monotonic() - started, answer)
        self._outcome.attempts.append(attempt)
        self._learn(turn, answer, limit)
        made = AttemptMade(self._request, attempt)
        emit(attempt_made, self._chain.sender, made)
        return answer

    def _answer(
        self, entry: ChainEntry, limit: float | None
    ) -> LLMResponse | ProviderError:
        request, secrets = self._request, self._chain.secrets
        if limit is not None:
            request = replace(request, timeout=limit)
        lane = self._chain.lanes[entry.name]
        try:
            return lane.call(lambda: entry.ask(request, secrets), limit, entry.timeout)
        except ProviderError as error:
            # Its traceback would tie it to this very frame, in a cycle.
            return error.with_traceback(None).copy(provider=entry.name)

    def _limit(self, turn: _Turn) -> float | None:
        """Return the seconds for an attempt, a share kept back for those to come."""
        if self._deadline.seconds is None:
            return None
        return self._deadline.share(0 if turn.last else self._followers(turn.entry))

    def _is_given_up(self, entry: ChainEntry, failures: int) -> bool:
        """Return whether others have found a provider down, and another one is left."""
        opened = self._breaker.was_opened_by_others(entry, failures)
        return opened and self._followers(entry) > 0

    def _followers(self, entry: ChainEntry) -> int:
        """Return how many may still be asked after an entry."""
        entries = self._chain.entries
        return sum(map(self._can_be_asked, entries[entries.index(entry) + 1 :]))

    def _can_be_asked(self, entry: ChainEntry) -> bool:
        state = self._breaker.state(self._circuits[entry.name])
        return state is not State.OPEN and entry.unavailable() is None

    def _learn(
        self, turn: _Turn, answer: LLMResponse | ProviderError, limit: float | None
    ) -> None:
        """Tell the breaker what an answer says of the provider's health."""
        entry = turn.entry
        if isinstance(answer, LLMResponse) or answer.alive:
            self._breaker.succeeded(entry, self._circuits[entry.name])
        elif (answer.trips or answer.cooldown) and _is_fair(answer, limit):
            self._circuits[entry.name] = self._breaker.failed(entry, answer)
        elif turn.probe:
            self._breaker.release(entry)

    def _rest(self, error: ProviderError, failures: int, wait: float) -> None:
        """Wait before the same provider is asked again."""
        log.warning("%s %s, retrying in %.4g s", error.provider, error.summary, wait)
        event = RetryScheduled(
            error.provider, error.kind, error.summary, failures, wait
        )
        emit(retry_scheduled, self._chain.sender, event)
        self._chain.clock.sleep(wait)

    def _may_switch(self, error: ProviderError) -> bool:
        return error.fallbackable or self._chain.fallback_on_blocked

    def _switch(self, error: ProviderError, turns: Iterator[_Turn]) -> _Turn | None:
        """Return whom to ask next, telling that the chain moves on; None at its end."""
        following = next(turns, None)
        if following is None:
            return None
        name = following.entry.name
        line = "%s %s, switching to %s"
        log.log(error.severity, line, error.provider, error.summary, name)
        event = ProviderSwitched(error.provider, name, error.kind, error.summary)
        emit(provider_switched, self._chain.sender, event)
        return following


def _is_fair(error: ProviderError, limit: float | None) -> bool:
    return not error.silent or limit is None or limit >= _FAIR_S


def _attempt(
    entry: ChainEntry, latency: float, answer: LLMResponse | ProviderError
) -> Attempt:
    if isinstance(answer, LLMResponse):
        return Attempt(entry.name, "success", latency)
    return Attempt(
        entry.name,
        answer.kind,
        latency,
        answer.summary,
        answer.status,
        answer.retry_after,
    )
