"""One prompt of the app's code, from its filters to its response."""

from collections.abc import Callable

from .answers import failure, of_call, of_stream
from .chain import Chain
from .deadline import Deadline
from .errors import InvalidRequestError, ProviderError
from .outcome import Outcome
from .retry import RetryPolicy, StreamLimits
from .signals import (
    GenerationFinished,
    GenerationStarted,
    emit,
    generation_finished,
    generation_started,
)
from .stream import LLMStream, WholeStream
from .types import LLMResponse, Request


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
        self._first_token_s: float | None = None

    def answer(self) -> LLMResponse:
        """Return the whole answer, or why there is none."""
        return self._refused() or self._answered()

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
                return None
            error: ProviderError = InvalidRequestError()
        except ProviderError as refusal:
            error, fault = refusal, str(refusal)
        error = error.copy(provider=self._chain.entries[0].name)
        return self._finished(failure(f"No provider was asked: {fault}", error))

    def _answered(self) -> LLMResponse:
        outcome = self._chain.run(self._request, self._policy, self._deadline)
        return self._finished(of_call(outcome))

    def _streamed(
        self, outcome: Outcome, text: str, ending: LLMResponse | ProviderError | None
    ) -> LLMResponse:
        """Conclude a stream."""
        response = of_stream(outcome, text, ending)
        response.metadata["first_token_s"] = self._first_token_s
        return self._finished(response)

    def _finished(self, response: LLMResponse) -> LLMResponse:
        """Tell everybody of the response, and return it."""
        chain = self._chain
        origin = self._request.origin
        response.metadata["latency_s"] = chain.clock.monotonic() - self._started
        response.metadata["call_id"] = origin.call_id
        response.metadata["purpose"] = origin.purpose
        if response.success:
            chain.answered_by(response.provider_name)
        if generation_finished.receivers:
            finished = GenerationFinished(self._request, response)
            emit(generation_finished, chain.sender, finished)
        return response
