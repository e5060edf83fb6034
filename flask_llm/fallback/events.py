"""What a call tells on its way: lines of the log, and signals."""

import logging
from typing import Any

from ..errors import ProviderError
from ..signals import (
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
from ..types import Attempt, Request
from .logs import of_attempt, of_response, tell
from .provider_handle import ProviderHandle
from .result import CallResult, of_call
from .road import Road


class CallEvents:
    """Tells of one call on its way along the chain.

    Args:
        chain: The providers, and what they share.

    Attributes:
        tries: How often a provider has been asked.
    """

    def __init__(self, chain: Road) -> None:
        self._chain = chain
        self._latest: Attempt | None = None
        self.tries = 0

    def turns_to(self, entry: ProviderHandle) -> None:
        """Tell who is asked now."""
        line = "Using %s for content generation"
        who = {"provider": entry.name, "model": entry.model_name}
        tell(logging.INFO, line, entry.name, **who, attempt=self.tries + 1)

    @property
    def is_heard(self) -> bool:
        """Whether somebody hears of an attempt's beginning."""
        return bool(attempt_started.receivers)

    def begun(self, request: Request, entry: ProviderHandle, *, streamed: bool) -> None:
        """Tell that an attempt begins."""
        begun = AttemptStarted(request, entry.name, entry.model_name, streamed)
        emit(attempt_started, self._chain.sender, begun)

    def made(self, request: Request, attempt: Attempt) -> None:
        """Tell that an attempt has ended; the lines to come are about it."""
        self._latest = attempt
        if attempt_made.receivers:
            emit(attempt_made, self._chain.sender, AttemptMade(request, attempt))

    def corrected(self, error: ProviderError) -> None:
        """Tell that a model is told what is wrong with its answer."""
        told = (error.provider, error.summary)
        self._tell(logging.WARNING, "%s %s, told so", *told)

    def retried(
        self, request: Request, error: ProviderError, failures: int, wait: float
    ) -> None:
        """Tell that the same provider is asked again after some seconds."""
        told = (error.provider, error.summary)
        line = "%s %s, retrying in %g s"
        self._tell(logging.WARNING, line, *told, round(wait, 2), wait_s=wait)
        event = RetryScheduled(
            error.provider, error.kind, error.summary, failures, wait, request=request
        )
        emit(retry_scheduled, self._chain.sender, event)

    def failed(self, entry: ProviderHandle, error: ProviderError) -> None:
        """Tell why a provider is not asked any more."""
        content = self._chain.content
        why = content.shown(str(error)) if content else error.summary
        self._tell(logging.DEBUG, "%s failed: %s", entry.name, why)

    def switched(self, request: Request, error: ProviderError, following: str) -> None:
        """Tell that the chain moves on."""
        told = (error.provider, error.summary, following)
        line = "%s %s, switching to %s"
        self._tell(error.severity, line, *told, next_provider=following)
        event = ProviderSwitched(
            error.provider, following, error.kind, error.summary, request=request
        )
        emit(provider_switched, self._chain.sender, event)

    def ended(self, outcome: CallResult) -> None:
        """Tell that nobody has answered."""
        response = of_call(outcome)
        since = self._chain.clock.monotonic() - outcome.started
        response.metadata["latency_s"] = since
        tell(outcome.severity, "%s", outcome.story(), **of_response(response))

    def _tell(self, level: int, sentence: str, *told: object, **fields: Any) -> None:
        """Log a line about the latest attempt."""
        if self._latest is not None:
            fields = of_attempt(self._latest) | {"attempt": self.tries} | fields
        tell(level, sentence, *told, **fields)
