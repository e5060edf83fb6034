"""What a call tells on its way: signals and lines of the log."""

import logging
from typing import Any

from ..errors import ProviderError
from ..signals import (
    AttemptMade,
    AttemptStarted,
    GenerationStarted,
    ProviderSwitched,
    RetryScheduled,
    attempt_made,
    attempt_started,
    emit,
    generation_started,
    provider_switched,
    retry_scheduled,
)
from ..types import Attempt, LLMResponse, Request
from .chain import Chain
from .logs import log_line, of_attempt, of_response
from .provider_handle import ProviderHandle
from .result import CallResult

Latest = tuple[Attempt | None, int]
"""The attempt that a line of the log is about, and how many there have been."""


def started(chain: Chain, request: Request) -> None:
    """Tell that a call begins."""
    emit(generation_started, chain.sender, GenerationStarted(request))


def refused(error: ProviderError) -> None:
    """Tell that nobody is asked; without a filter's own words, which may quote."""
    line = "No provider was asked: %s"
    log_line(logging.INFO, line, error.reason, provider=error.provider, kind=error.kind)


def asking(handle: ProviderHandle, number: int) -> None:
    """Tell who is asked now."""
    line = "Using %s for content generation"
    who = {"provider": handle.name, "model": handle.model_name}
    log_line(logging.INFO, line, handle.name, **who, attempt=number)


def attempt_begins(
    chain: Chain,
    request: Request,
    handle: ProviderHandle,
    streamed: bool,  # noqa: FBT001  # handed on
) -> None:
    """Tell that an attempt begins."""
    begun = AttemptStarted(request, handle.name, handle.model_name, streamed)
    emit(attempt_started, chain.sender, begun)


def attempt_ended(chain: Chain, request: Request, attempt: Attempt) -> None:
    """Tell that an attempt has ended."""
    emit(attempt_made, chain.sender, AttemptMade(request, attempt))


def corrected(error: ProviderError, latest: Latest) -> None:
    """Tell that a model is told what is wrong with its answer."""
    words = (error.provider, error.summary)
    _log(latest, logging.WARNING, "%s %s, told so", *words)


def retried(  # what a retry is
    chain: Chain,
    request: Request,
    error: ProviderError,
    failures: int,
    wait: float,
    latest: Latest,
) -> None:
    """Tell that the same provider is asked again after some seconds."""
    words = (error.provider, error.summary, round(wait, 2))
    line = "%s %s, retrying in %g s"
    _log(latest, logging.WARNING, line, *words, wait_s=wait)
    event = RetryScheduled(
        error.provider, error.kind, error.summary, failures, wait, request=request
    )
    emit(retry_scheduled, chain.sender, event)


def gave_up(
    chain: Chain, handle: ProviderHandle, error: ProviderError, latest: Latest
) -> None:
    """Tell why a provider is not asked any more."""
    content = chain.content
    why = content.shown(str(error)) if content else error.summary
    _log(latest, logging.DEBUG, "%s failed: %s", handle.name, why)


def switched(
    chain: Chain,
    request: Request,
    error: ProviderError,
    following: str,
    latest: Latest,
) -> None:
    """Tell that the chain moves on."""
    words = (error.provider, error.summary, following)
    line = "%s %s, switching to %s"
    _log(latest, error.severity, line, *words, next_provider=following)
    event = ProviderSwitched(
        error.provider, following, error.kind, error.summary, request=request
    )
    emit(provider_switched, chain.sender, event)


def nobody_answered(result: CallResult, latency_s: float) -> None:
    """Tell that nobody has answered."""
    response = result.response(None)
    response.metadata["latency_s"] = latency_s
    log_line(result.severity, "%s", result.summary(), **of_response(response))


def answered(chain: Chain, response: LLMResponse) -> None:
    """Tell that a call has its answer; why one failed has been logged before."""
    words = (response.provider_name, response.metadata["latency_s"])
    line = "%s answered in %.2f s"
    log_line(logging.INFO, line, *words, **of_response(response))
    if chain.content:
        chain.content.answered(response)


def _log(latest: Latest, level: int, line: str, *words: object, **fields: Any) -> None:
    """Log a line about the latest attempt."""
    attempt, number = latest
    if attempt is not None:
        fields = of_attempt(attempt) | {"attempt": number} | fields
    log_line(level, line, *words, **fields)
