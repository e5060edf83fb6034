"""OpenTelemetry spans of an app's calls."""

import logging
from collections import deque
from importlib.metadata import version
from time import time_ns
from typing import TYPE_CHECKING
from flask import Flask

from ..errors import ConfigurationError
from ..factory import LLMFactory
from ..packages import installed
from ..signals import AttemptMade, AttemptStarted, GenerationFinished, GenerationStarted, ProviderSwitched, RetryScheduled, attempt_made, attempt_started, generation_finished, generation_started, lossless, provider_switched, retry_scheduled
from ..types import Request
from .records import CallRecord
from .semconv import Facts

if TYPE_CHECKING:
    from .call_span import CallSpan

log = logging.getLogger("flask_llm")

NAME = "llm.tracing"


def install(app: Flask, factory: LLMFactory) -> None:
    """Make spans of an app's calls, for whatever SDK of OpenTelemetry the app sets up.

    Args:
        app: The app.
        factory: Its factory.

    Raises:
        ConfigurationError: The package is not installed.
    """
    if not installed("opentelemetry.trace"):
        fault = "needs opentelemetry-api, which is not installed"
        raise ConfigurationError(
            [f'LLM_TRACES {fault}: pip install "Flask-LLM[traces]"']
        )
    # The signals hold their receivers weakly, and the app holds this.
    tracing = app.extensions[NAME] = Tracing(factory)
    generation_started.connect(tracing.begin, app)
    attempt_started.connect(tracing.attempt, app)
    attempt_made.connect(tracing.made, app)
    retry_scheduled.connect(tracing.retry, app)
    provider_switched.connect(tracing.switch, app)
    generation_finished.connect(tracing.finish, app)
    app.teardown_appcontext(tracing.end_forgotten)


class Tracing:
    """Turns the signals of one app into spans.

    Where a processor of spans is slow only `begin` may be left out, and then a call has
    no span at all: half of them would be worse than none.

    Args:
        factory: The app's factory.
    """

    def __init__(self, factory: LLMFactory) -> None:
        from opentelemetry.trace import get_tracer

        from .call_span import CallSpan

        self._entries = {each.name: each for each in factory.entries}
        self._facts: dict[str, Facts] = {}
        self._tracer = get_tracer("flask_llm", version("Flask-LLM"))
        self._new = CallSpan
        self._calls: dict[str, CallSpan] = {}
        self._forgotten: deque[tuple[str, int]] = deque()

    def begin(self, _: object, event: GenerationStarted) -> None:
        """Begin a call's span, in the context of its caller."""
        self.end_forgotten()
        call = self._new(self._tracer, event.request)
        if not call.is_real:
            return
        origin, forgotten = event.request.origin, self._forgotten
        key = origin.call_id
        # No more than that: the collector may run where a lock is held. All that goes
        # on in a call holds its origin, and we do not.
        call.watch(origin, lambda _: forgotten.append((key, time_ns())))
        self._calls[key] = call

    @lossless
    def attempt(self, _: object, event: AttemptStarted) -> None:
        """Begin an attempt's span."""
        if call := self._call_of(event.request):
            call.begin(event, self._facts_of(event.provider))

    @lossless
    def made(self, _: object, event: AttemptMade) -> None:
        """End an attempt's span."""
        if call := self._call_of(event.request):
            call.made(event.attempt)

    @lossless
    def retry(self, _: object, event: RetryScheduled) -> None:
        """Note that a provider will be asked again."""
        if call := self._call_of(event.request):
            told = {"failures": event.failures, "wait_s": event.wait_s}
            call.note("flask_llm.retry", _why(event, **told))

    @lossless
    def switch(self, _: object, event: ProviderSwitched) -> None:
        """Note that the chain moves on."""
        if call := self._call_of(event.request):
            told = {"next_provider": event.next_provider}
            call.note("flask_llm.switch", _why(event, **told))

    @lossless
    def finish(self, _: object, event: GenerationFinished) -> None:
        """End a call's span."""
        if call := self._calls.pop(event.request.origin.call_id, None):
            finish_reason = event.response.metadata["finish_reason"]
            call.finish(CallRecord.of(event), finish_reason)

    def end_forgotten(self, _: object = None) -> None:
        """End the spans of calls that nobody has ended and nobody can end any more.

        Raises nothing: at the end of a request nobody else would catch it.
        """
        while self._forgotten:
            try:
                key, at = self._forgotten.popleft()
            except IndexError:  # another thread was quicker
                return
            if call := self._calls.pop(key, None):
                try:
                    call.forget(at)
                except Exception:
                    log.exception("The spans of a forgotten call cannot be ended")

    def _call_of(self, request: Request) -> "CallSpan | None":
        return self._calls.get(request.origin.call_id)

    def _facts_of(self, name: str) -> Facts:
        if name not in self._facts:
            self._facts[name] = Facts.of(self._entries[name])
        return self._facts[name]


def _why(
    event: RetryScheduled | ProviderSwitched, **more: float | str
) -> dict[str, float | str]:
    """Return the attributes of an event of a call's span."""
    return {
        "flask_llm.provider": event.provider,
        "error.type": event.kind,
        "flask_llm.reason": event.reason,
        **{f"flask_llm.{name}": value for name, value in more.items()},
    }
