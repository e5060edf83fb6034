"""One prompt of the app's code, from its filters to its response."""

import logging
from collections.abc import Callable

from ..errors import InvalidRequestError, ProviderError
from ..resilience.deadline import Deadline
from ..resilience.retry import RetryPolicy, StreamLimits
from ..signals import (
    GenerationFinished,
    GenerationStarted,
    emit,
    generation_finished,
    generation_started,
)
from ..types import LLMResponse, Request
from .chain import Chain
from .logs import log, of_response, tell, within_its_call
from .result import CallResult, failure, of_call, of_stream
from .stream import LLMStream, WholeStream


class Generation:
    """One prompt on its way.

    Args:
        chain: The providers.
        request: What the caller asks for.
        policy: When to ask the same provider again.
        deadline: The time for all of it.
    """

    def __init__(
        self, chain: Chain, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> None:
        self._chain = chain
        self._request = request
        self._policy = policy
        self._deadline = deadline
        self._started = chain.clock.monotonic()
        self._streams = False
        self._first_token_s: float | None = None

    @within_its_call
    def answer(self) -> LLMResponse:
        """Return the whole answer, or why there is none."""
        return self._refused() or self._answered()

    @within_its_call
    def stream(
        self,
        limits: StreamLimits,
        *,
        restarts: bool,
        is_gone: Callable[[], bool] | None = None,
    ) -> LLMStream:
        """Return the answer as it comes, as soon as there is some of it.

        Args:
            limits: How long it may be silent.
            restarts: Whether it begins anew when it breaks off.
            is_gone: Tells whether nobody waits for the first text any more.
        """
        self._streams = True
        stream = self._stream(limits, restarts, is_gone)
        stream.origin = self._request.origin
        return stream

    def _stream(
        self,
        limits: StreamLimits,
        restarts: bool,  # noqa: FBT001  # handed on
        is_gone: Callable[[], bool] | None,
    ) -> LLMStream:
        if refused := self._refused():
            return WholeStream(refused)
        if self._chain.filters.has_output:
            return WholeStream(self._answered())
        way = (self._request, self._policy, self._deadline)
        walk = self._chain.stream(*way, limits, is_gone)
        stream = LLMStream(walk, self._streamed, restarts=restarts)
        self._first_token_s = self._chain.clock.monotonic() - self._started
        return stream

    def _refused(self) -> LLMResponse | None:
        """Run the prompt filters; return the response if nobody shall be asked."""
        if generation_started.receivers:
            begun = GenerationStarted(self._request)
            emit(generation_started, self._chain.sender, begun)
        try:
            self._request = self._chain.filters.ask(self._request)
            fault = self._request.fault
            if fault is None:
                if self._chain.content:
                    self._chain.content.asked(self._request)
                return None
            error: ProviderError = InvalidRequestError()
        except ProviderError as refusal:
            error, fault = refusal, str(refusal)
        error = error.copy(provider=self._chain.entries[0].name)
        # Not the fault: a filter's own words may quote the prompt.
        told = (logging.INFO, "No provider was asked: %s", error.reason)
        tell(*told, provider=error.provider, kind=error.kind)
        response = failure(f"No provider was asked: {fault}", error)
        return self._finished(response, error.reason)

    def _answered(self) -> LLMResponse:
        outcome = self._chain.run(self._request, self._policy, self._deadline)
        return self._finished(of_call(outcome))

    @within_its_call
    def _streamed(
        self, outcome: CallResult, text: str, ending: LLMResponse | ProviderError | None
    ) -> LLMResponse:
        """Conclude a stream."""
        return self._finished(of_stream(outcome, text, ending))

    def _finished(
        self, response: LLMResponse, reason: str | None = None
    ) -> LLMResponse:
        """Tell everybody of the response, and return it."""
        chain = self._chain
        origin = self._request.origin
        latency = chain.clock.monotonic() - self._started
        response.metadata["latency_s"] = latency
        if self._streams:
            # A stream of one piece has its first text at its end.
            whole = latency if response.success else None
            first = self._first_token_s
            response.metadata["first_token_s"] = whole if first is None else first
        response.metadata["call_id"] = origin.call_id
        response.metadata["purpose"] = origin.purpose
        if response.success:
            chain.answered_by(response.provider_name)
            self._tell(response)
        if generation_finished.receivers:
            finished = GenerationFinished(self._request, response, reason)
            emit(generation_finished, chain.sender, finished)
        return response

    def _tell(self, response: LLMResponse) -> None:
        """Log an answer; what has failed has been logged by the chain."""
        if log.isEnabledFor(logging.INFO):
            told = (response.provider_name, response.metadata["latency_s"])
            line = "%s answered in %.2f s"
            tell(logging.INFO, line, *told, **of_response(response))
            if self._chain.content:
                self._chain.content.answered(response)
