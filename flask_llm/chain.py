"""The walk along the providers: skip, ask, wait, switch."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .entry import ChainEntry
from .errors import ProviderError, UnavailableError
from .retry import RetryPolicy
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

log = logging.getLogger("flask_llm")


class Clock(Protocol):
    """What the chain needs to know of time. The module `time` is one."""

    def monotonic(self) -> float:
        """Return seconds from any fixed moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


@dataclass
class Outcome:
    """How one walk ended.

    Attributes:
        attempts: Every try and every skipped provider, in order.
        errors: The last error of each provider that did not answer, in order.
        entry: The entry that answered.
        response: Its answer.
        stopped: Whether the walk ended before the end of the chain.
    """

    attempts: list[Attempt] = field(default_factory=list)
    errors: list[ProviderError] = field(default_factory=list)
    entry: ChainEntry | None = None
    response: LLMResponse | None = None
    stopped: bool = False

    def story(self, *, detailed: bool = False) -> str:
        """Return who failed and why, in the documented words.

        Args:
            detailed: Whether to repeat what the providers themselves said.
        """
        head = "LLM call stopped" if self.stopped else "All LLM providers failed"
        told = (str(each) if detailed else each.summary for each in self.errors)
        names = (each.provider for each in self.errors)
        pairs = ", ".join(
            f"{name}: {why}" for name, why in zip(names, told, strict=True)
        )
        return f"{head}: [{pairs}]"

    def telling_error(self) -> ProviderError:
        """Return the error that stands for the failed call.

        The last one of a provider that was asked: that another has no key says little.
        """
        asked = [each for each in self.errors if not isinstance(each, UnavailableError)]
        return (asked or self.errors)[-1]


class Chain:
    """The providers of one app in order. Holds no state of a call.

    Args:
        entries: The providers, the primary first.
        sender: Sender of the signals.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        clock: Where time is read and waited for.
    """

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        *,
        sender: object,
        fallback_on_blocked: bool = False,
        clock: Clock = time,
    ) -> None:
        self.entries = tuple(entries)
        self._sender = sender
        self._fallback_on_blocked = fallback_on_blocked
        self._clock = clock
        self._secrets = tuple(key for each in entries for key in each.secrets if key)

    def run(self, request: Request, policy: RetryPolicy) -> Outcome:
        """Walk the chain until a provider answers. Raises for no provider's failure.

        Args:
            request: What to ask.
            policy: When to ask the same provider again.
        """
        outcome = Outcome()
        turns = self._available(outcome)
        entry = next(turns, None)
        while entry is not None:
            log.info("Using %s for content generation", entry.name)
            answer = self._persist(entry, request, policy, outcome)
            if isinstance(answer, LLMResponse):
                outcome.entry, outcome.response = entry, answer
                return outcome
            log.debug("%s failed: %s", entry.name, answer)
            outcome.errors.append(answer)
            outcome.stopped = not self._may_switch(answer)
            entry = None if outcome.stopped else self._switch(answer, turns)
        log.error("%s", outcome.story())
        return outcome

    def _available(self, outcome: Outcome) -> Iterator[ChainEntry]:
        """Yield the entries that can be asked; note the others as skipped."""
        for entry in self.entries:
            error = entry.unavailable()
            if error is None:
                yield entry
                continue
            level = logging.WARNING if entry.is_news(error) else logging.DEBUG
            log.log(level, "%s skipped: %s", entry.name, error)
            outcome.errors.append(error)
            outcome.attempts.append(_attempt(entry, 0.0, error))

    def _persist(
        self,
        entry: ChainEntry,
        request: Request,
        policy: RetryPolicy,
        outcome: Outcome,
    ) -> LLMResponse | ProviderError:
        """Ask one provider as often as the policy allows."""
        failures = 0
        while True:
            answer = self._ask(entry, request, outcome)
            if isinstance(answer, LLMResponse):
                return answer
            failures += 1
            wait = policy.wait(answer, failures)
            if wait is None:
                return answer
            self._rest(answer, failures, wait)

    def _ask(
        self, entry: ChainEntry, request: Request, outcome: Outcome
    ) -> LLMResponse | ProviderError:
        """Ask one provider once, and note how it went."""
        started = self._clock.monotonic()
        answer: LLMResponse | ProviderError
        try:
            answer = entry.ask(request, self._secrets)
        except ProviderError as error:
            # Its traceback would tie it to this very frame, in a cycle.
            answer = error.with_traceback(None)
        attempt = _attempt(entry, self._clock.monotonic() - started, answer)
        outcome.attempts.append(attempt)
        emit(attempt_made, self._sender, AttemptMade(request, attempt))
        return answer

    def _rest(self, error: ProviderError, failures: int, wait: float) -> None:
        """Wait before the same provider is asked again."""
        log.warning("%s %s, retrying in %g s", error.provider, error.summary, wait)
        event = RetryScheduled(
            error.provider, error.kind, error.summary, failures, wait
        )
        emit(retry_scheduled, self._sender, event)
        self._clock.sleep(wait)

    def _may_switch(self, error: ProviderError) -> bool:
        return error.fallbackable or self._fallback_on_blocked

    def _switch(
        self, error: ProviderError, turns: Iterator[ChainEntry]
    ) -> ChainEntry | None:
        """Return whom to ask next, telling that the chain moves on; None at its end."""
        following = next(turns, None)
        if following is None:
            return None
        line = "%s %s, switching to %s"
        log.log(error.severity, line, error.provider, error.summary, following.name)
        event = ProviderSwitched(
            error.provider, following.name, error.kind, error.summary
        )
        emit(provider_switched, self._sender, event)
        return following


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
