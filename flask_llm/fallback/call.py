"""One call: filters, then try, retry and switch, then the response."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

from ..errors import (
    InvalidRequestError,
    OwnLimitError,
    ProviderError,
    SchemaError,
    UnavailableError,
)
from ..filters import Filters
from ..resilience.deadline import Deadline
from ..resilience.retry import ONCE, RetryPolicy
from ..signals import (
    GenerationFinished,
    attempt_made,
    attempt_started,
    emit,
    generation_finished,
    generation_started,
)
from ..types import LLMResponse, Request
from . import events
from .chain import Chain
from .logs import current_context, log
from .rate_limits import RateLimits, Taken
from .result import CallResult, is_truncated
from .routing import ORDER, route
from .selection import NO_TIME, Candidate, Candidates

A = TypeVar("A")

_NO_RETRY = "not asked again, LLM_RETRY_BUDGET is used up"

MOST = 0.9
"""A part of its time that makes no difference to an attempt."""


@dataclass(slots=True)
class AttemptTiming:
    """When a request went to a provider, and how much time it had.

    Attributes:
        at: When it went there.
        limit: Seconds that it had without a queue in this process; None for no limit.
        given: Seconds that were left for the provider itself.
        settled: Whether somebody notes how it went.
        taken: What it has taken of the app's own limit of tokens.
    """

    at: float
    limit: float | None = None
    given: float | None = None
    settled: bool = False
    taken: Taken | None = None


class BaseCall(ABC, Generic[A]):
    """One prompt on its way: filters, providers, response.

    A subclass says how a provider is asked, and what is done with its answer.

    Args:
        chain: The providers, and what calls share.
        request: What to ask.
        policy: When to ask the same provider again.
        deadline: The time for all of it.
        routing: Who is asked first.

    Attributes:
        request: What is asked, as the filters have left it.
        handles: The providers that may be asked, in their order.
        route: Why the first of them is the first; None by the configured order.
        streamed: Whether the answers come piece by piece.
        result: How it went so far.
        tries: How often a provider has been asked.
        first_token_s: Seconds until the first text of a stream.
    """

    streamed: ClassVar[bool] = False
    first_token_s: float | None = None
    route: str | None = None
    _taken: Taken | None = None  # of the app's own limits, by the next request
    # Whether the caller waits no longer; only that of a stream can leave.
    _is_gone: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(
        self,
        chain: Chain,
        request: Request,
        policy: RetryPolicy,
        deadline: Deadline,
        routing: str = ORDER,
    ) -> None:
        self._chain = chain
        self._breakers = chain.breakers
        self._clock = chain.clock
        self._policy = policy
        self._deadline = deadline
        # Of the call, not of what filters make of it: they cannot widen it.
        self.handles = chain.tagged(request.only) if request.only else chain.handles
        if routing != ORDER:
            found = route(routing, self.handles, request, chain.prices)
            self.handles, self.route = found
        self._asked_for = request  # with a correction, if the model is to have one
        self.request = request
        self.result = CallResult(
            chain.handles[0].name, deadline.seconds, chain.clock.monotonic()
        )
        self.tries = 0
        self._logs_info = log.isEnabledFor(logging.INFO)

    def _refusal(self) -> LLMResponse | None:
        """Run the prompt filters; return the response if nobody shall be asked."""
        chain = self._chain
        if generation_started.receivers:
            events.started(chain, self.request)
        try:
            if not self.handles:
                raise UnavailableError(reason=_untagged(self.request.only))
            self.request = chain.filters.ask(self.request)
            fault = self.request.fault
            if fault is None:
                if chain.content:
                    chain.content.asked(self.request)
                return None
            error: ProviderError = InvalidRequestError()
        except ProviderError as refusal:
            error, fault = refusal, str(refusal)
        error = error.copy(provider=chain.handles[0].name)
        events.refused(error)
        response = self.result.refused(f"No provider was asked: {fault}", error)
        return self._finished(response, error.reason)

    def _finished(
        self, response: LLMResponse, reason: str | None = None
    ) -> LLMResponse:
        """Complete the response, tell everybody of it, and return it.

        Args:
            response: What the caller gets.
            reason: Why no provider was asked; None if one was.
        """
        chain, origin = self._chain, self.request.origin
        metadata = response.metadata
        latency = self._clock.monotonic() - self.result.started
        metadata["latency_s"] = latency
        if self.streamed:
            # A stream of one piece has its first text at its end.
            whole = latency if response.success else None
            first = self.first_token_s
            metadata["first_token_s"] = whole if first is None else first
        if self.route is not None:
            metadata["route"] = self.route
        metadata["call_id"] = origin.call_id
        metadata["purpose"] = origin.purpose
        if response.success:
            if chain.answered != response.provider_name:
                chain.answered_by(response.provider_name)
            if self._logs_info:
                events.answered(chain, response)
        if generation_finished.receivers:
            event = GenerationFinished(self.request, response, reason)
            emit(generation_finished, chain.sender, event)
        return response

    def _from_first(self) -> A | None:
        """Ask one provider after the other; return the first answer, or None."""
        self._candidates = Candidates(
            self.handles,
            self._breakers,
            self._deadline,
            self.result,
            self._clock,
            self._is_gone,
            self._policy.max_retry_after,
        )
        self._queue = iter(self._candidates)
        return self._from(next(self._queue, None))

    def _from(self, candidate: Candidate | None) -> A | None:
        """Ask from one candidate on."""
        while candidate is not None:
            self._asked_for = self.request
            answer = self._persist(candidate)
            if not isinstance(answer, ProviderError):
                self.result.handle = candidate.handle
                return answer
            candidate = self._after(candidate, answer)
        self._nobody_answered()
        return None

    def _after(self, candidate: Candidate, error: ProviderError) -> Candidate | None:
        """Note why a provider did not answer; return whom to ask next."""
        events.gave_up(self._chain, candidate.handle, error, self._latest())
        self.result.failed(error)
        if error.of_model:
            self._candidates.rejections[candidate.handle.model] = error
        self.result.stopped = not self._may_switch(error)
        return None if self.result.stopped else self._switch(error)

    def _may_switch(self, error: ProviderError) -> bool:
        # Not what the caller or the clock has ended.
        blocked = error.of_model and self._chain.fallback_on_blocked
        return error.fallbackable or blocked

    def _switch(self, error: ProviderError) -> Candidate | None:
        """Return whom to ask next, telling that the chain moves on; None at its end."""
        following = next(self._queue, None)
        if following is not None:
            name = following.handle.name
            events.switched(self._chain, self.request, error, name, self._latest())
        return following

    def _nobody_answered(self) -> None:
        result = self.result
        result.over = self._deadline.is_over()
        result.late = self._deadline.has_cut and not result.stopped
        latency = self._clock.monotonic() - result.started
        events.nobody_answered(result, latency)

    def _persist(self, candidate: Candidate) -> A | ProviderError:
        """Ask one provider as often as it makes sense."""
        policy = ONCE if candidate.probe else self._policy
        self._deadline.has_cut = False
        failures = 0
        limits = self._chain.limits
        while True:
            refusal = limits and self._without_room(candidate, limits)
            if refusal:
                return refusal
            if not failures and self._asked_for is self.request:
                if self._logs_info:
                    events.asking(candidate.handle, self.tries + 1)
                if self._chain.retry_budget is not None:
                    self._chain.retry_budget.first(candidate.handle)
            if attempt_started.receivers:
                # In a context of its own: what a receiver leaves there ends with it.
                answer = copy_context().run(self._announced, candidate)
            else:
                answer = self._asked(candidate)
            if not isinstance(answer, ProviderError):
                return answer
            if self._corrects(answer):
                continue
            failures += 1
            wait = policy.wait(answer, failures)
            if wait is None or not self._pause(candidate, answer, failures, wait):
                return answer

    def _without_room(
        self, candidate: Candidate, limits: RateLimits
    ) -> OwnLimitError | None:
        """Take room for a request; return why it is not sent if there is none."""
        handle = candidate.handle
        try:
            self._taken = limits.take(handle, self._asked_for)
        except OwnLimitError as error:
            refusal = error.with_traceback(None)
        else:
            return None
        self.result.skipped(handle, self._clock.monotonic(), refusal)
        self._no_room(candidate, refusal)
        if candidate.probe:
            self._breakers.release_probe(handle, asked=False)
        return refusal

    def _no_room(self, candidate: Candidate, error: OwnLimitError) -> None:
        """Note when there is room for a request that was not sent."""
        if error.retry_after is not None:
            at = self._clock.monotonic() + error.retry_after
            self._candidates.no_room[candidate.handle] = at

    def _corrects(self, error: ProviderError) -> bool:
        """Return whether the model is told what is wrong with its answer, once."""
        if not isinstance(error, SchemaError) or not error.correctable:
            return False
        if self._asked_for is not self.request or not self._deadline.allows(0.0):
            return False
        events.corrected(error, self._latest())
        fault = error.detail or error.reason
        self._asked_for = self.request.corrected(error.answer, fault)
        return True

    def _pause(
        self, candidate: Candidate, error: ProviderError, failures: int, wait: float
    ) -> bool:
        """Wait before the same provider is asked again; return whether it shall be."""
        if not self._deadline.allows(wait):
            return False
        if error.at_once:
            return True
        if self._is_given_up(candidate, failures, wait):
            return False
        if self._is_over_budget(candidate, error):
            return False
        retry = (error, failures, wait)
        events.retried(self._chain, self._asked_for, *retry, self._latest())
        self._sleep(wait)
        return not self._is_given_up(candidate, failures)

    def _is_over_budget(self, candidate: Candidate, error: ProviderError) -> bool:
        """Return whether all calls together have made enough retries; note it then."""
        budget, handle = self._chain.retry_budget, candidate.handle
        if budget is None or budget.allows(handle, self._policy.max_attempts):
            return False
        stopped = error.copy(reason=f"{error.reason}; {_NO_RETRY}", retry_after=None)
        self.result.skipped(handle, self._clock.monotonic(), stopped)
        return True

    def _is_given_up(
        self, candidate: Candidate, failures: int, wait: float = 0.0
    ) -> bool:
        """Return whether a provider is known to be down, and another one is left."""
        known = self._breakers.advises_against(candidate.handle, failures, wait)
        return known and self._candidates.followers(candidate) > 0

    def _sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def _announced(self, candidate: Candidate) -> A | ProviderError:
        """Tell that an attempt begins, and make it."""
        begun = (self._asked_for, candidate.handle, self.streamed)
        events.attempt_begins(self._chain, *begun)
        return self._asked(candidate)

    def _asked(self, candidate: Candidate) -> A | ProviderError:
        """Ask one provider once, and note how it went."""
        limit = None
        if self._deadline.seconds is not None:
            # A share is kept back for those who may have to answer instead.
            limit = self._deadline.share(self._candidates.followers(candidate))
        timing = AttemptTiming(self._clock.monotonic(), limit, taken=self._taken)
        self.tries += 1
        try:
            if self._deadline.seconds is not None:
                self._require_time()
            return self._answer(candidate, timing)
        except ProviderError as error:
            # Its traceback would tie it to this very frame, in a cycle.
            fault = error.with_traceback(None).copy(provider=candidate.handle.name)
            if isinstance(fault, OwnLimitError):
                self._no_room(candidate, fault)
        except BaseException:  # somebody ends the caller: the probe shows nothing
            if candidate.probe:
                self._breakers.release_probe(candidate.handle, asked=True)
            raise
        self._note(candidate, timing, fault)
        return fault

    def _require_time(self) -> None:
        """Raise if a receiver has taken what was left of the deadline."""
        if self._deadline.is_over():
            raise NO_TIME.copy()

    @abstractmethod
    def _answer(self, candidate: Candidate, timing: AttemptTiming) -> A:
        """Return what a provider answers, or raise its `ProviderError`.

        Args:
            candidate: Who is asked.
            timing: To be told when the request went there.
        """

    def _note(
        self,
        candidate: Candidate,
        timing: AttemptTiming,
        answer: LLMResponse | ProviderError,
        *,
        begun: bool = False,
    ) -> None:
        """Note how an attempt has ended, and what that says of the provider.

        Args:
            candidate: Who was asked.
            timing: When the request went there.
            answer: What came of it.
            begun: Whether there was some of an answer, though it ended in an error.
        """
        latency = self._clock.monotonic() - timing.at
        attempt = self.result.record(
            candidate.handle,
            (timing.at, latency),
            answer,
            self._chain.prices,
            begun=begun,
        )
        self._learn(candidate, answer, timing)
        if timing.taken is not None and self._chain.limits is not None:
            self._chain.limits.settle(timing.taken, attempt.usage)
        if attempt_made.receivers:
            events.attempt_ended(self._chain, self._asked_for, attempt)

    def _learn(
        self,
        candidate: Candidate,
        answer: LLMResponse | ProviderError,
        timing: AttemptTiming,
    ) -> None:
        """Tell the circuit breaker what an answer says of the provider's health."""
        handle, circuits = candidate.handle, self._candidates.circuits
        if isinstance(answer, LLMResponse) or answer.alive:
            self._breakers.succeeded(handle, circuits[handle.name])
        elif answer.silent and not self._is_fair(candidate, timing):
            if candidate.probe:
                self._breakers.release_probe(handle, asked=True)
        elif answer.trips or answer.cooldown:
            circuits[handle.name] = self._breakers.failed(handle, answer)
        elif candidate.probe:
            self._breakers.release_probe(handle, asked=answer.asked)

    def _is_fair(self, candidate: Candidate, timing: AttemptTiming) -> bool:
        """Return whether a provider is to blame for its silence."""
        given, limit = timing.given, timing.limit
        queued = given is not None and limit is not None and given < limit * MOST
        timeout = candidate.handle.timeout
        return self._deadline.is_fair(given, timeout, hurried=queued)

    def _latest(self) -> events.Latest:
        """Return what lines of the log are about: the latest attempt, its number."""
        attempts = self.result.attempts
        asked = (each for each in reversed(attempts) if not each.skipped)
        return next(asked, None), self.tries


class Call(BaseCall[LLMResponse]):
    """A call for an answer in one piece."""

    def run(self) -> LLMResponse:
        """Return the whole answer, or why there is none."""
        token = current_context.set(self.request.origin)
        try:
            return self._refusal() or self._finished(self.answered())
        finally:
            current_context.reset(token)

    def answered(self) -> LLMResponse:
        """Return what the providers have answered, nobody told of it yet."""
        return self.result.response(self._from_first())

    def _answer(self, candidate: Candidate, timing: AttemptTiming) -> LLMResponse:
        handle, chain, clock = candidate.handle, self._chain, self._clock

        def ask(seconds: float | None) -> LLMResponse:
            if timing.taken is not None and chain.limits is not None:
                chain.limits.sending(handle, timing.taken)
            timing.at, timing.given = clock.monotonic(), seconds
            request = self._asked_for
            if seconds is not None:
                request = request.within(seconds)
            return handle.ask(request, chain.secrets)

        bulkhead = chain.bulkheads[handle.name]
        response = bulkhead.call(ask, timing.limit, handle.timeout)
        if self.request.schema is not None or chain.filters.has_output:
            response = _examined(response, self._asked_for, chain.filters)
        self._note(candidate, timing, response)
        return response


def _untagged(tags: Iterable[str]) -> str:
    names = ", ".join(map(repr, sorted(tags)))
    return f"no provider of the chain has the tags {names}"


def _examined(response: LLMResponse, request: Request, filters: Filters) -> LLMResponse:
    """Return an answer after the app's filters, parsed if it must match a schema.

    Raises:
        ProviderError: It is rejected; tells the tokens that it has cost.
    """
    try:
        checked = _checked(response, filters)
        if request.schema is None:
            return checked
        cut = is_truncated(checked.metadata)
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
