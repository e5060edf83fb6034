"""One call on its way along the providers: ask, wait, switch."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from .breaker import Breaker
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
from .turns import Turn, Turns
from .types import LLMResponse, Request

# A part of its time that makes no difference to an attempt.
_MOST = 0.9

log = logging.getLogger("flask_llm")


class Road(Protocol):
    """What a walk needs to know of the chain."""

    entries: tuple[ChainEntry, ...]
    breaker: Breaker
    lanes: dict[str, Lane]
    secrets: tuple[str, ...]
    fallback_on_blocked: bool
    sender: object
    clock: Clock


@dataclass(slots=True)
class _Sent:
    """When a request went to the provider, and how many seconds it had."""

    at: float
    limit: float | None = None


class Walk:
    """One call on its way along the chain.

    Args:
        chain: The providers, and what they share.
        request: What to ask.
        policy: When to ask the same provider again.
        deadline: The time for all of it.
    """

    def __init__(
        self, chain: Road, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> None:
        self._chain = chain
        self._breaker = chain.breaker
        self._request = request
        self._policy = policy
        self._deadline = deadline
        self._outcome = Outcome(chain.entries[0].name, deadline.seconds)
        self._turns = Turns(chain.entries, chain.breaker, deadline, self._outcome)

    def run(self) -> Outcome:
        """Ask one provider after the other; return how it ended."""
        turns = iter(self._turns)
        turn = next(turns, None)
        while turn is not None:
            log.info("Using %s for content generation", turn.entry.name)
            answer = self._persist(turn)
            if isinstance(answer, LLMResponse):
                self._outcome.entry, self._outcome.response = turn.entry, answer
                return self._outcome
            log.debug("%s failed: %s", turn.entry.name, answer)
            self._outcome.failed(answer)
            if answer.of_model:
                self._turns.rejections[turn.entry.model] = answer
            self._outcome.stopped = not self._may_switch(answer)
            turn = None if self._outcome.stopped else self._switch(answer, turns)
        self._outcome.over = self._deadline.is_over()
        self._outcome.late = self._deadline.has_cut and not self._outcome.stopped
        log.log(self._outcome.severity, "%s", self._outcome.story())
        return self._outcome

    def _persist(self, turn: Turn) -> LLMResponse | ProviderError:
        """Ask one provider as often as it makes sense."""
        policy = ONCE if turn.probe else self._policy
        self._deadline.has_cut = False
        failures = 0
        while True:
            answer = self._ask(turn)
            if isinstance(answer, LLMResponse):
                return answer
            failures += 1
            wait = policy.wait(answer, failures)
            if wait is None or not self._pause(turn, answer, failures, wait):
                return answer

    def _pause(
        self, turn: Turn, error: ProviderError, failures: int, wait: float
    ) -> bool:
        """Wait before the same provider is asked again; return whether it shall be."""
        if not self._deadline.allows(wait):
            return False
        if error.at_once:
            return True
        if self._is_given_up(turn, failures, wait):
            return False
        self._rest(error, failures, wait)
        return not self._is_given_up(turn, failures)

    def _is_given_up(self, turn: Turn, failures: int, wait: float = 0.0) -> bool:
        """Return whether a provider is known to be down, and another one is left."""
        known = self._breaker.advises_against(turn.entry, failures, wait)
        return known and self._turns.followers(turn) > 0

    def _ask(self, turn: Turn) -> LLMResponse | ProviderError:
        """Ask one provider once, and note how it went."""
        entry, clock = turn.entry, self._chain.clock
        limit = self._limit(turn)
        sent = _Sent(clock.monotonic())
        try:
            answer = self._answer(entry, limit, sent)
        except BaseException:  # somebody ends the caller: the probe shows nothing
            if turn.probe:
                self._breaker.release(entry, asked=True)
            raise
        attempt = self._outcome.tried(entry, clock.monotonic() - sent.at, answer)
        self._learn(turn, answer, sent.limit, limit)
        if attempt_made.receivers:
            made = AttemptMade(self._request, attempt)
            emit(attempt_made, self._chain.sender, made)
        return answer

    def _answer(
        self, entry: ChainEntry, limit: float | None, sent: "_Sent"
    ) -> LLMResponse | ProviderError:
        def ask(seconds: float | None) -> LLMResponse:
            sent.at, sent.limit = self._chain.clock.monotonic(), seconds
            request = self._request
            if seconds is not None:
                request = replace(request, timeout=seconds)
            return entry.ask(request, self._chain.secrets)

        try:
            return self._chain.lanes[entry.name].call(ask, limit, entry.timeout)
        except ProviderError as error:
            # Its traceback would tie it to this very frame, in a cycle.
            return error.with_traceback(None).copy(provider=entry.name)

    def _limit(self, turn: Turn) -> float | None:
        """Return the seconds for an attempt, a share kept back for those to come."""
        if self._deadline.seconds is None:
            return None
        return self._deadline.share(self._turns.followers(turn))

    def _learn(
        self,
        turn: Turn,
        answer: LLMResponse | ProviderError,
        given: float | None,
        limit: float | None,
    ) -> None:
        """Tell the breaker what an answer says of the provider's health.

        Args:
            turn: Who was asked.
            answer: What came of it.
            given: Seconds that the provider had.
            limit: Seconds that it would have had without a queue in this process.
        """
        entry = turn.entry
        if isinstance(answer, LLMResponse) or answer.alive:
            self._breaker.succeeded(entry, self._turns.circuits[entry.name])
        elif answer.silent and not self._is_fair(entry, given, limit):
            if turn.probe:
                self._breaker.release(entry, asked=True)
        elif answer.trips or answer.cooldown:
            self._turns.circuits[entry.name] = self._breaker.failed(entry, answer)
        elif turn.probe:
            self._breaker.release(entry, asked=answer.asked)

    def _is_fair(
        self, entry: ChainEntry, given: float | None, limit: float | None
    ) -> bool:
        """Return whether a provider is to blame for its silence."""
        queued = given is not None and limit is not None and given < limit * _MOST
        return self._deadline.is_fair(given, entry.timeout, hurried=queued)

    def _rest(self, error: ProviderError, failures: int, wait: float) -> None:
        """Wait before the same provider is asked again."""
        told = (error.provider, error.summary)
        log.warning("%s %s, retrying in %g s", *told, round(wait, 2))
        event = RetryScheduled(
            error.provider, error.kind, error.summary, failures, wait
        )
        emit(retry_scheduled, self._chain.sender, event)
        self._chain.clock.sleep(wait)

    def _may_switch(self, error: ProviderError) -> bool:
        return error.fallbackable or self._chain.fallback_on_blocked

    def _switch(self, error: ProviderError, turns: Iterator[Turn]) -> Turn | None:
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
