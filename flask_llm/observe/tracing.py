"""OpenTelemetry: a span for a call, one for each attempt.

After github.com/open-telemetry/semantic-conventions-genai as of autumn 2026, where they
are still in development.
"""

import logging
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from time import time_ns
from typing import Any, Self

from flask import Flask
from opentelemetry import context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from ..factory import LLMFactory
from ..fallback.provider_handle import ProviderHandle, provider_name, provider_of
from ..providers.sdk import has_span
from ..signals import (
    AttemptMade,
    AttemptStarted,
    GenerationFinished,
    GenerationStarted,
    ProviderSwitched,
    RetryScheduled,
    attempt_made,
    attempt_started,
    generation_finished,
    generation_started,
    provider_switched,
    retry_scheduled,
)
from ..types import Attempt, Request
from .records import CLOSED, SUCCESS, CallRecord

# By the name of a provider's class; the last two have no well-known name.
_PROVIDERS = {
    "claude": "anthropic",
    "cohere": "cohere",
    "gemini": "gcp.gemini",
    "genai": "gcp.gemini",
    "openai": "openai",
    "vertex": "gcp.vertex_ai",
    "ollama": "ollama",
    "local": "local",
}

_GOOGLES = ("gemini", "genai", "vertex")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the conventions want to know of a provider.

    Attributes:
        provider: `gen_ai.provider.name`; a third party's is its own name.
        operation: `gen_ai.operation.name`.
        remote: Whether the model is outside of this process.
    """

    provider: str
    operation: str
    remote: bool

    @classmethod
    def of(cls, entry: ProviderHandle) -> Self:
        """Return the facts of a provider, which is made if it was not yet."""
        classes = type(provider_of(entry)).__mro__
        names = (vars(each).get("name") for each in classes)
        own = next((each for each in names if each in tuple(_PROVIDERS)), "")
        return cls(
            _PROVIDERS.get(own, provider_name(entry)),
            "generate_content" if own in _GOOGLES else "chat",
            remote=own != "local",
        )


log = logging.getLogger("flask_llm")

NAME = "llm.tracing"


def install(app: Flask, factory: LLMFactory) -> None:
    """Make spans of an app's calls, for whatever SDK of OpenTelemetry the app sets up.

    Args:
        app: The app.
        factory: Its factory.
    """
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

    Args:
        factory: The app's factory.
    """

    def __init__(self, factory: LLMFactory) -> None:
        from opentelemetry.trace import get_tracer

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

    def attempt(self, _: object, event: AttemptStarted) -> None:
        """Begin an attempt's span."""
        if call := self._call_of(event.request):
            call.begin(event, self._facts_of(event.provider))

    def made(self, _: object, event: AttemptMade) -> None:
        """End an attempt's span."""
        if call := self._call_of(event.request):
            call.made(event.attempt)

    def retry(self, _: object, event: RetryScheduled) -> None:
        """Note that a provider will be asked again."""
        if call := self._call_of(event.request):
            told = {"failures": event.failures, "wait_s": event.wait_s}
            call.note("flask_llm.retry", _why(event, **told))

    def switch(self, _: object, event: ProviderSwitched) -> None:
        """Note that the chain moves on."""
        if call := self._call_of(event.request):
            told = {"next_provider": event.next_provider}
            call.note("flask_llm.switch", _why(event, **told))

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


FORGOTTEN = "forgotten"
"""The outcome of a call that nobody has ended: a stream neither read to its end nor
closed, or a caller that was stopped."""

# By which the instrumentations of OpenLLMetry leave a call to who has a span for it.
_SUPPRESSED = "suppress_language_model_instrumentation"

_NS = 1_000_000_000


class CallSpan:
    """The spans of one call, for one thread at a time.

    Args:
        tracer: Makes them. The first becomes a child of the span that is current.
        request: What is asked for.
    """

    def __init__(self, tracer: Tracer, request: Request) -> None:
        origin = request.origin
        self._tracer = tracer
        self._of_all = _known(
            {
                "flask_llm.call_id": origin.call_id,
                "flask_llm.purpose": origin.purpose or None,
                "flask_llm.request_id": origin.request_id,
            }
        )
        self._started = time_ns()
        self._span = tracer.start_span(
            f"llm {origin.purpose}".rstrip(),
            kind=SpanKind.INTERNAL,
            attributes=self._of_all,
            start_time=self._started,
        )
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._attempts = 0
        self._attempt: Span | None = None
        self._answered: int | None = None

    def watch(self, call: object, over: Callable[[object], None]) -> None:
        """Ask to be called when nobody can end the call any more, while this is kept.

        Args:
            call: What lives as long as anything goes on in the call.
            over: Called in whichever thread lets go of it.
        """
        self._life = weakref.ref(call, over)

    @property
    def is_real(self) -> bool:
        """Whether there is an SDK, or somebody else's trace, that these belong to."""
        return self._span.get_span_context().is_valid

    def begin(self, event: AttemptStarted, facts: Facts) -> None:
        """Begin an attempt's span, and make it the current one.

        The walk drops this context with the attempt, so nobody has to detach it.

        Args:
            event: What is asked.
            facts: Who is asked.
        """
        self._end_attempt()  # one whose end was not reported
        self._attempts += 1
        self._attempt = self._tracer.start_span(
            f"{facts.operation} {event.model or ''}".rstrip(),
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT if facts.remote else SpanKind.INTERNAL,
            attributes=self._of_all | _asked(event, facts, self._attempts),
        )
        inside = set_span_in_context(self._attempt)
        context.attach(context.set_value(_SUPPRESSED, True, inside))  # noqa: FBT003  # a value
        has_span.set(True)

    def made(self, attempt: Attempt) -> None:
        """End the attempt's span; that of the answer waits for its report."""
        if self._attempt is None:
            return
        self._attempt.set_attributes(_of_attempt(attempt))
        if attempt.outcome == SUCCESS:
            self._answered = time_ns()
            return
        _judge(self._attempt, attempt.outcome, attempt.error)
        self._end_attempt()

    def note(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Keep an event of now for the call's span."""
        self._events.append((time_ns(), name, dict(attributes)))

    def finish(self, record: CallRecord, finish_reason: str | None) -> None:
        """End all spans.

        Args:
            record: How the call went.
            finish_reason: Why the model has ended its answer.
        """
        if self._attempt is not None:
            self._attempt.set_attributes(_of_answer(record, finish_reason))
            self._end_attempt()
        for each in record.attempts:
            if each.skipped:
                at = self._started + int(each.started_s * _NS)
                self._events.append((at, "flask_llm.skip", _skipped(each)))
        self._span.set_attributes(_of_call(record))
        _judge(self._span, record.outcome, record.error)
        self._end(None)

    def forget(self, at: int) -> None:
        """End all spans of a call that nobody has ended, as of a time gone by."""
        told = {"flask_llm.outcome": FORGOTTEN}
        if self._attempt is not None:
            if self._answered is None:
                self._attempt.set_attributes(told)
            self._end_attempt(at)
        self._span.set_attributes(told)
        self._end(at)

    def _end_attempt(self, at: int | None = None) -> None:
        if self._attempt is not None:
            self._attempt.end(self._answered or at)
        self._attempt = self._answered = None

    def _end(self, at: int | None) -> None:
        for moment, name, attributes in sorted(self._events, key=lambda each: each[0]):
            self._span.add_event(name, attributes, moment)
        self._span.end(at)


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _asked(event: AttemptStarted, facts: Facts, number: int) -> dict[str, Any]:
    """Return what is known of an attempt at its beginning, where samplers look."""
    request = event.request
    return _known(
        {
            "gen_ai.operation.name": facts.operation,
            "gen_ai.provider.name": facts.provider,
            "gen_ai.request.model": event.model,
            "gen_ai.request.temperature": float(request.temperature),
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.stop_sequences": request.stop or None,
            "gen_ai.request.stream": event.streamed or None,
            "gen_ai.output.type": None if request.schema is None else "json",
            "flask_llm.provider": event.provider,
            "flask_llm.attempt": number,
        }
    )


def _of_attempt(attempt: Attempt) -> dict[str, Any]:
    """Return what is known of an attempt at its end."""
    usage = attempt.usage or {}
    answered = attempt.outcome == SUCCESS
    return _known(
        {
            "flask_llm.outcome": attempt.outcome,
            "gen_ai.response.model": attempt.model if answered else None,
            "gen_ai.usage.input_tokens": usage.get("input_tokens"),
            "gen_ai.usage.output_tokens": usage.get("output_tokens"),
            "gen_ai.usage.cache_read.input_tokens": usage.get("cached_tokens"),
            "gen_ai.usage.cache_creation.input_tokens": usage.get("cache_write_tokens"),
            "gen_ai.usage.reasoning.output_tokens": usage.get("reasoning_tokens"),
            "http.response.status_code": attempt.status,
            "flask_llm.retry_after_s": attempt.retry_after_s,
            "flask_llm.cost_usd": attempt.cost_usd,
            "flask_llm.cost_note": attempt.cost_note,
        }
    )


def _of_answer(record: CallRecord, finish_reason: str | None) -> dict[str, Any]:
    """Return what the call reports of the attempt that has answered."""
    first = record.first_token_s
    wait = None if first is None else first - record.attempts[-1].started_s
    return _known(
        {
            "gen_ai.response.finish_reasons": finish_reason and (finish_reason,),
            # Below 0 it is that of an earlier answer, which has broken off.
            "gen_ai.response.time_to_first_chunk": wait if wait and wait > 0 else None,
        }
    )


def _of_call(record: CallRecord) -> dict[str, Any]:
    """Return what is known of a call at its end.

    Its sums have names of their own: under those of the attempts a sum over all spans
    would count each token twice.
    """
    counted = any(each.usage for each in record.attempts)
    priced = any(each.cost_usd is not None for each in record.attempts)
    return _known(
        {
            "flask_llm.outcome": record.outcome,
            "flask_llm.provider": record.provider or None,
            "flask_llm.model": record.model,
            "flask_llm.fallback": record.fallback,
            "flask_llm.streamed": record.streamed,
            "flask_llm.first_token_s": record.first_token_s,
            "flask_llm.attempts": sum(not each.skipped for each in record.attempts),
            "flask_llm.total.input_tokens": record.input_tokens if counted else None,
            "flask_llm.total.output_tokens": record.output_tokens if counted else None,
            "flask_llm.total.cost_usd": record.cost_usd if priced else None,
            "flask_llm.total.unpriced": record.unpriced or None,
        }
    )


def _skipped(attempt: Attempt) -> dict[str, Any]:
    return _known(
        {
            "flask_llm.provider": attempt.provider,
            "error.type": attempt.outcome,
            "flask_llm.reason": attempt.error,
        }
    )


def _judge(span: Span, outcome: str, reason: str | None) -> None:
    """Mark a span as failed, unless it is not or its caller has ended it."""
    if outcome not in {SUCCESS, CLOSED}:
        span.set_attribute("error.type", outcome)
        span.set_status(StatusCode.ERROR, reason)
