"""The spans of one call: its own, and one for each attempt."""

import weakref
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any
from opentelemetry import context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from ..signals import AttemptStarted
from ..spans import has_span
from ..types import Attempt, Request
from .records import CLOSED, SUCCESS, CallRecord
from .semconv import Facts

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
        """Ask to be told when nobody can end the call any more, while this is kept.

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
        self._end_attempt()  # one whose end was not told
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
        """End the attempt's span; that of the answer waits for what is told of it."""
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
            "http.response.status_code": attempt.status,
            "flask_llm.retry_after_s": attempt.retry_after_s,
            "flask_llm.cost_usd": attempt.cost_usd,
            "flask_llm.cost_note": attempt.cost_note,
        }
    )


def _of_answer(record: CallRecord, finish_reason: str | None) -> dict[str, Any]:
    """Return what the call tells of the attempt that has answered."""
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
