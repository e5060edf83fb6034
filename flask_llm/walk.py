"""One call on its way along the providers: ask, wait, switch."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .breaker import Breaker
from .clock import Clock
from .deadline import Deadline
from .entry import ChainEntry
from .errors import ProviderError, SchemaError
from .filtering import Filters
from .lane import Lane
from .outcome import Outcome
from .prices import Prices
from .retry import ONCE, RetryPolicy
from .signals import (
    AttemptMade,
    AttemptStarted,
    ProviderSwitched,
    RetryScheduled,
    attempt_made,
    attempt_started,
    emit,
    provider_switched,
    retry_scheduled,
)
from .turns import Turn, Turns
from .types import LLMResponse, Request

A = TypeVar("A")

MOST = 0.9
"""A part of its time that makes no difference to an attempt."""

log = logging.getLogger("flask_llm")


class Road(Protocol):
    """What a walk needs to know of the chain."""

    entries: tuple[ChainEntry, ...]
    breaker: Breaker
    lanes: dict[str, Lane]
    secrets: tuple[str, ...]
    filters: Filters
    prices: Prices
    fallback_on_blocked: bool
    sender: object
    clock: Clock


@dataclass(slots=True)
class Sent:
    """When a request went to a provider, and how much time it had.

    Attributes:
        at: When it went there.
        limit: Seconds that it had without a queue in this process; None for no limit.
        given: Seconds that were left for the provider itself.
        settled: Whether somebody notes how it went.
    """

    at: float
    limit: float | None = None
    given: float | None = None
    settled: bool = False


class Walk(ABC, Generic[A]):
    """One call on its way along the chain.

    A subclass says how a provider is asked, and what is done with its answer.

    Args:
        chain: The providers, and what they share.
        request: What to ask.
        policy: When to ask the same provider again.
        deadline: The time for all of it.

    Attributes:
        outcome: How it went so far.
    """

    def __init__(
        self, chain: Road, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> None:
        self._chain = chain
        self._breaker = chain.breaker
        self._request = request
        self._policy = policy
        self._deadline = deadline
        self.outcome = Outcome(
            chain.entries[0].name,
            deadline.seconds,
            chain.clock.monotonic(),
            chain.prices,
        )
        self._turns = Turns(
            chain.entries, chain.breaker, deadline, self.outcome, chain.clock
        )
        self._queue = iter(self._turns)
        self._asked_for = request

    def run(self) -> A | None:
        """Ask one provider after the other; return the first answer, or None."""
        return self._go(next(self._queue, None))

    def _go(self, turn: Turn | None) -> A | None:
        """Ask from one turn on."""
        while turn is not None:
            log.info("Using %s for content generation", turn.entry.name)
            self._asked_for = self._request
            answer = self._persist(turn)
            if not isinstance(answer, ProviderError):
                self.outcome.entry = turn.entry
                return answer
            turn = self._leave(turn, answer)
        self._conclude()
        return None

    def _leave(self, turn: Turn, error: ProviderError) -> Turn | None:
        """Note why a provider did not answer; return whom to ask next."""
        log.debug("%s failed: %s", turn.entry.name, error)
        self.outcome.failed(error)
        if error.of_model:
            self._turns.rejections[turn.entry.model] = error
        self.outcome.stopped = not self._may_switch(error)
        return None if self.outcome.stopped else self._switch(error)

    def _conclude(self) -> None:
        """Note that nobody has answered."""
        outcome = self.outcome
        outcome.over = self._deadline.is_over()
        outcome.late = self._deadline.has_cut and not outcome.stopped
        log.log(outcome.severity, "%s", outcome.story())

    def _persist(self, turn: Turn) -> A | ProviderError:
        """Ask one provider as often as it makes sense."""
        policy = ONCE if turn.probe else self._policy
        self._deadline.has_cut = False
        failures = 0
        while True:
            answer = self._ask(turn)
            if not isinstance(answer, ProviderError):
                return answer
            if self._corrects(answer):
                continue
            failures += 1
            wait = policy.wait(answer, failures)
            if wait is None or not self._pause(turn, answer, failures, wait):
                return answer

    def _corrects(self, error: ProviderError) -> bool:
        """Return whether the model is told what is wrong with its answer, once."""
        if not isinstance(error, SchemaError) or not error.correctable:
            return False
        if self._asked_for is not self._request or not self._deadline.allows(0.0):
            return False
        log.warning("%s %s, told so", error.provider, error.summary)
        fault = error.detail or error.reason
        self._asked_for = self._request.corrected(error.answer, fault)
        return True

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

    def _ask(self, turn: Turn) -> A | ProviderError:
        """Ask one provider once, and note how it went."""
        sent = Sent(self._chain.clock.monotonic(), self._limit(turn))
        if attempt_started.receivers:
            entry = turn.entry
            begun = AttemptStarted(self._asked_for, entry.name, entry.model_name)
            emit(attempt_started, self._chain.sender, begun)
        try:
            return self._answer(turn, sent)
        except ProviderError as error:
            # Its traceback would tie it to this very frame, in a cycle.
            fault = error.with_traceback(None).copy(provider=turn.entry.name)
        except BaseException:  # somebody ends the caller: the probe shows nothing
            if turn.probe:
                self._breaker.release(turn.entry, asked=True)
            raise
        self._note(turn, sent, fault)
        return fault

    @abstractmethod
    def _answer(self, turn: Turn, sent: Sent) -> A:
        """Return what a provider answers, or raise its `ProviderError`.

        Args:
            turn: Who is asked.
            sent: To be told when the request went there.
        """

    def _note(
        self, turn: Turn, sent: Sent, answer: LLMResponse | ProviderError
    ) -> None:
        """Note how an attempt has ended, and what that says of the provider."""
        latency = self._chain.clock.monotonic() - sent.at
        attempt = self.outcome.tried(turn.entry, sent.at, latency, answer)
        self._learn(turn, answer, sent.given, sent.limit)
        if attempt_made.receivers:
            made = AttemptMade(self._asked_for, attempt)
            emit(attempt_made, self._chain.sender, made)

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
        """Tell the breaker what an answer says of the provider's health."""
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
        queued = given is not None and limit is not None and given < limit * MOST
        return self._deadline.is_fair(given, entry.timeout, hurried=queued)

    def _rest(self, error: ProviderError, failures: int, wait: float) -> None:
        """Wait before the same provider is asked again."""
        told = (error.provider, error.summary)
        log.warning("%s %s, retrying in %g s", *told, round(wait, 2))
        event = RetryScheduled(
            error.provider,
            error.kind,
            error.summary,
            failures,
            wait,
            request=self._asked_for,
        )
        emit(retry_scheduled, self._chain.sender, event)
        self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        self._chain.clock.sleep(seconds)

    def _may_switch(self, error: ProviderError) -> bool:
        # Not what the caller or the clock has ended.
        blocked = error.of_model and self._chain.fallback_on_blocked
        return error.fallbackable or blocked

    def _switch(self, error: ProviderError) -> Turn | None:
        """Return whom to ask next, telling that the chain moves on; None at its end."""
        following = next(self._queue, None)
        if following is None:
            return None
        name = following.entry.name
        line = "%s %s, switching to %s"
        log.log(error.severity, line, error.provider, error.summary, name)
        event = ProviderSwitched(
            error.provider, name, error.kind, error.summary, request=self._request
        )
        emit(provider_switched, self._chain.sender, event)
        return following
