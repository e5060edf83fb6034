"""One call: filters, then try, retry and switch, then the response."""

from abc import ABC, abstractmethod
from contextvars import copy_context
from dataclasses import replace
from typing import ClassVar, Generic, TypeVar

from ..errors import ProviderError, SchemaError
from ..filters import Filters
from ..resilience.deadline import Deadline
from ..resilience.retry import ONCE, RetryPolicy
from ..types import LLMResponse, Request
from .events import CallEvents
from .provider_handle import ProviderHandle
from .result import CallResult, is_cut
from .road import MOST, Road, Sent
from .selection import NO_TIME, Candidate, Candidates

A = TypeVar("A")


class Walk(ABC, Generic[A]):
    """One call on its way along the chain.

    A subclass says how a provider is asked, and what is done with its answer.

    Args:
        chain: The providers, and what they share.
        request: What to ask.
        policy: When to ask the same provider again.
        deadline: The time for all of it.

    Attributes:
        streamed: Whether the answers come piece by piece.
        outcome: How it went so far.
    """

    streamed: ClassVar[bool] = False

    def __init__(
        self, chain: Road, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> None:
        self._chain = chain
        self._breaker = chain.breaker
        self._request = request
        self._policy = policy
        self._deadline = deadline
        self.outcome = CallResult(
            chain.entries[0].name,
            deadline.seconds,
            chain.clock.monotonic(),
            chain.prices,
        )
        self._turns = Candidates(
            chain.entries, chain.breaker, deadline, self.outcome, chain.clock
        )
        self._queue = iter(self._turns)
        self._asked_for = request
        self._telling = CallEvents(chain)

    def run(self) -> A | None:
        """Ask one provider after the other; return the first answer, or None."""
        return self._go(next(self._queue, None))

    def _go(self, turn: Candidate | None) -> A | None:
        """Ask from one turn on."""
        while turn is not None:
            self._telling.turns_to(turn.entry)
            self._asked_for = self._request
            answer = self._persist(turn)
            if not isinstance(answer, ProviderError):
                self.outcome.entry = turn.entry
                return answer
            turn = self._leave(turn, answer)
        self._conclude()
        return None

    def _leave(self, turn: Candidate, error: ProviderError) -> Candidate | None:
        """Note why a provider did not answer; return whom to ask next."""
        self._telling.failed(turn.entry, error)
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
        self._telling.ended(outcome)

    def _persist(self, turn: Candidate) -> A | ProviderError:
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
        self._telling.corrected(error)
        fault = error.detail or error.reason
        self._asked_for = self._request.corrected(error.answer, fault)
        return True

    def _pause(
        self, turn: Candidate, error: ProviderError, failures: int, wait: float
    ) -> bool:
        """Wait before the same provider is asked again; return whether it shall be."""
        if not self._deadline.allows(wait):
            return False
        if error.at_once:
            return True
        if self._is_given_up(turn, failures, wait):
            return False
        self._telling.retried(self._asked_for, error, failures, wait)
        self._sleep(wait)
        return not self._is_given_up(turn, failures)

    def _is_given_up(self, turn: Candidate, failures: int, wait: float = 0.0) -> bool:
        """Return whether a provider is known to be down, and another one is left."""
        known = self._breaker.advises_against(turn.entry, failures, wait)
        return known and self._turns.followers(turn) > 0

    def _ask(self, turn: Candidate) -> A | ProviderError:
        """Ask one provider once, and note how it went."""
        if not self._telling.is_heard:
            return self._asked(turn)
        # In a context of its own: what a receiver leaves there ends with the attempt.
        return copy_context().run(self._told, turn)

    def _told(self, turn: Candidate) -> A | ProviderError:
        """Ask one provider once, and tell of it."""
        self._telling.begun(self._asked_for, turn.entry, streamed=self.streamed)
        return self._asked(turn)

    def _asked(self, turn: Candidate) -> A | ProviderError:
        sent = Sent(self._chain.clock.monotonic(), self._limit(turn))
        self._telling.tries += 1
        try:
            self._require_time()
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

    def _require_time(self) -> None:
        """Raise if a receiver has taken what was left of the deadline."""
        if self._deadline.is_over():
            raise NO_TIME.copy()

    @abstractmethod
    def _answer(self, turn: Candidate, sent: Sent) -> A:
        """Return what a provider answers, or raise its `ProviderError`.

        Args:
            turn: Who is asked.
            sent: To be told when the request went there.
        """

    def _note(
        self,
        turn: Candidate,
        sent: Sent,
        answer: LLMResponse | ProviderError,
        *,
        begun: bool = False,
    ) -> None:
        """Note how an attempt has ended, and what that says of the provider.

        Args:
            turn: Who was asked.
            sent: When the request went there.
            answer: What came of it.
            begun: Whether there was some of an answer, though it ended in an error.
        """
        latency = self._chain.clock.monotonic() - sent.at
        told = (turn.entry, sent.at, latency, answer)
        attempt = self.outcome.tried(*told, begun=begun)
        self._learn(turn, answer, sent.given, sent.limit)
        self._telling.made(self._asked_for, attempt)

    def _limit(self, turn: Candidate) -> float | None:
        """Return the seconds for an attempt, a share kept back for those to come."""
        if self._deadline.seconds is None:
            return None
        return self._deadline.share(self._turns.followers(turn))

    def _learn(
        self,
        turn: Candidate,
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
        self, entry: ProviderHandle, given: float | None, limit: float | None
    ) -> bool:
        """Return whether a provider is to blame for its silence."""
        queued = given is not None and limit is not None and given < limit * MOST
        return self._deadline.is_fair(given, entry.timeout, hurried=queued)

    def _sleep(self, seconds: float) -> None:
        self._chain.clock.sleep(seconds)

    def _may_switch(self, error: ProviderError) -> bool:
        # Not what the caller or the clock has ended.
        blocked = error.of_model and self._chain.fallback_on_blocked
        return error.fallbackable or blocked

    def _switch(self, error: ProviderError) -> Candidate | None:
        """Return whom to ask next, telling that the chain moves on; None at its end."""
        following = next(self._queue, None)
        if following is None:
            return None
        self._telling.switched(self._request, error, following.entry.name)
        return following


class Call(Walk[LLMResponse]):
    """A walk along the chain for an answer in one piece."""

    def _answer(self, turn: Candidate, sent: Sent) -> LLMResponse:
        entry, chain = turn.entry, self._chain

        def ask(seconds: float | None) -> LLMResponse:
            sent.at, sent.given = chain.clock.monotonic(), seconds
            request = self._asked_for
            if seconds is not None:
                request = replace(request, timeout=seconds)
            return entry.ask(request, chain.secrets)

        response = chain.bulkheads[entry.name].call(ask, sent.limit, entry.timeout)
        response = _examined(response, self._asked_for, chain.filters)
        self._note(turn, sent, response)
        return response


def _examined(response: LLMResponse, request: Request, filters: Filters) -> LLMResponse:
    """Return an answer after the app's filters, parsed if it must match a schema.

    Raises:
        ProviderError: It is rejected; tells the tokens that it has cost.
    """
    if request.schema is None and not filters.has_output:
        return response
    try:
        checked = _checked(response, filters)
        if request.schema is None:
            return checked
        cut = is_cut(checked.metadata)
        parsed = request.schema.read(checked.content, cut=cut)
    except ProviderError as error:
        error.usage = response.usage_told
        raise
    return replace(checked, parsed=parsed)


def _checked(response: LLMResponse, filters: Filters) -> LLMResponse:
    """Return an answer after the app's filters, with what its provider told of it.

    A filter may make a response of its own, which knows no model and no tokens.
    """
    checked = filters.check(response)
    return replace(checked, metadata=response.metadata | checked.metadata)
