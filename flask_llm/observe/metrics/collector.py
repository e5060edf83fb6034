"""Receivers and recorder: a call's signals become counts."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, lru_cache
from typing import Any, NamedTuple, Self, TypeVar
from weakref import WeakKeyDictionary

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from ...factory import LLMFactory
from ...fallback.provider_handle import ProviderHandle
from ...resilience.clock import PerProcess
from ...signals import (
    AttemptMade,
    CircuitChanged,
    GenerationFinished,
    RetryScheduled,
    attempt_made,
    circuit_changed,
    generation_finished,
    retry_scheduled,
)
from ...types import DETAILS, Attempt
from ..records import SUCCESS, CallRecord
from ..tracing import Facts
from . import definitions
from .definitions import Metric, Values
from .gauges import StateCollector
from .multiprocess import MULTIPROCESS, counted

M = TypeVar("M", bound=MetricWrapperBase)

_MOST_PURPOSES = 100
_MOST_MODELS = 50

# Series that are found without prometheus_client's lock and checks, of each metric.
_AT_HAND = 2000

_NO_TOKENS = {"input_tokens": 0, "output_tokens": 0}
_PLAIN = 3  # tokens of the prompt, of the answer, of both

_MODALITY = "unknown"
"""No provider reports the tokens of texts and of images separately."""


class Attributes(NamedTuple):
    """Who is asked, in the labels of the conventions.

    Attributes:
        operation: What the API calls it.
        vendor: The provider's well-known name.
        model: The model that is asked.
        answered: The model that has answered; empty if none has.
        entry: Provider of the chain.
    """

    operation: str
    vendor: str
    model: str
    answered: str
    entry: str

    @classmethod
    def of(cls, entry: ProviderHandle) -> Self:
        """Return the attributes of a provider, which has been asked already."""
        facts = Facts.of(entry)
        model = entry.model_name or ""
        return cls(facts.operation, facts.provider, model, "", entry.name)


class Recorder:
    """The metrics of what happens, and how a call changes them.

    Attributes:
        state: Those of what is so now.
    """

    def __init__(self) -> None:
        self.state = StateCollector()
        self._metrics: list[MetricWrapperBase] = []
        self._purpose, self._model = Values(_MOST_PURPOSES), Values(_MOST_MODELS)
        self._calls = self._series(Counter, definitions.CALLS)
        self._fallbacks = self._series(Counter, definitions.FALLBACKS)
        self._unpriced = self._series(Counter, definitions.UNPRICED)
        self._call_s = self._series(Histogram, definitions.CALL_S)
        self._first_token_s = self._series(Histogram, definitions.FIRST_TOKEN_S)
        self._attempts = self._series(Counter, definitions.ATTEMPTS)
        self._retries = self._series(Counter, definitions.RETRIES)
        self._cost = self._series(Counter, definitions.COST)
        self._details = self._series(Counter, definitions.DETAILS)
        self._request_s = self._series(Histogram, definitions.REQUEST_S)
        self._first_chunk_s = self._series(Histogram, definitions.FIRST_CHUNK_S)
        self._input = self._series(Counter, definitions.INPUT_TOKENS)
        self._output = self._series(Counter, definitions.OUTPUT_TOKENS)

    def _series(self, kind: Callable[..., M], metric: Metric) -> Callable[..., M]:
        """Make a metric; return what finds one of its series by the labels' values."""
        more: dict[str, Any] = {"buckets": metric.buckets} if metric.buckets else {}
        made = kind(metric.name, metric.text, metric.labels, registry=None, **more)
        self._metrics.append(made)
        return lru_cache(_AT_HAND)(made.labels)

    def register(self, registry: CollectorRegistry) -> None:
        """Let a registry show the metrics, or none of them.

        Raises:
            ValueError: It has one of these names already.
        """
        with ExitStack() as undo:
            for each in (*self._metrics, self.state):
                registry.register(each)
                undo.callback(registry.unregister, each)
            undo.pop_all()

    def called(self, record: CallRecord) -> None:
        """Count a call that is over."""
        purpose = self._purpose(record.purpose)
        what_for = (record.provider, self._model(record.model), purpose)
        self._calls(*what_for, record.outcome).inc()
        self._call_s(purpose, record.outcome).observe(record.latency_s)
        if record.fallback:
            self._fallbacks(*what_for).inc()
        if record.unpriced:
            self._unpriced(*what_for).inc()
        if record.streamed and record.first_token_s is not None:
            self._first_token_s(purpose).observe(record.first_token_s)

    def attempted(self, attempt: Attempt, purpose: str, attributes: Attributes) -> None:
        """Count a request to a provider that is over."""
        purpose, model = self._purpose(purpose), self._model(attempt.model)
        attributes, error = self._answered(attributes, attempt)
        self._attempts(attributes.entry, model, attempt.outcome).inc()
        self._request_s(*attributes, error).observe(attempt.latency_s)
        usage = attempt.usage or _NO_TOKENS
        self._input(*attributes, _MODALITY, purpose).inc(usage["input_tokens"])
        self._output(*attributes, _MODALITY, purpose).inc(usage["output_tokens"])
        for name in DETAILS if len(usage) > _PLAIN else ():
            if tokens := usage.get(name):
                self._details(attributes.entry, model, purpose, name).inc(tokens)
        if attempt.cost_usd is not None:
            self._cost(attributes.entry, model, purpose).inc(attempt.cost_usd)

    def streamed(
        self, attempt: Attempt, seconds: float, attributes: Attributes
    ) -> None:
        """Count how long a provider took until the first text of a stream."""
        attributes, _ = self._answered(attributes, attempt)
        self._first_chunk_s(*attributes).observe(seconds)

    def retried(self, event: RetryScheduled) -> None:
        """Count a wait before a provider is asked again."""
        self._retries(event.provider, event.kind).inc()

    def circuit(self, event: CircuitChanged) -> None:
        """Note that a circuit is open, or is closed again."""
        self.state.rests_until(event.provider, event.until or 0.0)

    def _answered(
        self, attributes: Attributes, attempt: Attempt
    ) -> tuple[Attributes, str]:
        """Return who was asked, with the model that has answered, or the error."""
        if attempt.outcome != SUCCESS:
            return attributes, attempt.outcome
        return attributes._replace(answered=self._model(attempt.model)), ""


@cache
def _of_this_process() -> Recorder:
    """Return the one that counts into this process's files.

    Two would write over each other's counts there.
    """
    return Recorder()


_on: "WeakKeyDictionary[CollectorRegistry, Recorder]" = WeakKeyDictionary()


def recorder_on(registry: CollectorRegistry) -> Recorder:
    """Return the recorder that a registry shows; apps that share one are added up.

    Raises:
        ValueError: The registry has other metrics of these names.
    """
    recorder = _on.get(registry)
    if recorder is None:
        recorder = _of_this_process() if MULTIPROCESS else Recorder()
        recorder.register(registry)
        _on[registry] = recorder
    return recorder


class Counting:
    """Counts the calls of one app.

    Args:
        factory: The app's.
        registry: The app's own registry; None for one of ours.

    Raises:
        ValueError: The app's registry has other metrics of the same names.

    Attributes:
        own: The app's own registry.
    """

    def __init__(
        self, factory: LLMFactory, registry: CollectorRegistry | None = None
    ) -> None:
        self.own = registry
        self._factory = factory
        self._entries = {each.name: each for each in factory.entries}
        self._attributes: dict[str, Attributes] = {}
        # A registry that a fork has inherited would show what the parent has counted.
        self._shown = PerProcess(self._made)
        self._shown.get()

    @property
    def registry(self) -> CollectorRegistry:
        """Where this process's metrics are."""
        return self._shown.get()[0]

    @property
    def recorder(self) -> Recorder:
        """What counts them."""
        return self._shown.get()[1]

    def connect(self, app: Flask) -> None:
        """Hear an app's signals, as long as somebody holds this object."""
        generation_finished.connect(self._finished, app)
        attempt_made.connect(self._attempted, app)
        retry_scheduled.connect(self._retried, app)
        circuit_changed.connect(self._changed, app)

    def _made(self) -> tuple[CollectorRegistry, Recorder]:
        registry = self.own or CollectorRegistry()
        recorder = recorder_on(registry)
        recorder.state.add(self._factory)
        return registry, recorder

    @counted
    def _finished(self, _: object, event: GenerationFinished) -> None:
        record, recorder = CallRecord.of(event), self.recorder
        recorder.called(record)
        if record.streamed and record.first_token_s is not None:
            attempt = _under_way(record, record.first_token_s)
            waited = record.first_token_s - attempt.started_s
            recorder.streamed(attempt, waited, self._asked(attempt))

    @counted
    def _attempted(self, _: object, event: AttemptMade) -> None:
        attempt, purpose = event.attempt, event.request.origin.purpose
        self.recorder.attempted(attempt, purpose, self._asked(attempt))

    @counted
    def _retried(self, _: object, event: RetryScheduled) -> None:
        self.recorder.retried(event)

    @counted
    def _changed(self, _: object, event: CircuitChanged) -> None:
        self.recorder.circuit(event)

    def _asked(self, attempt: Attempt) -> Attributes:
        name = attempt.provider
        if name not in self._attributes:
            self._attributes[name] = Attributes.of(self._entries[name])
        return self._attributes[name]


def _under_way(record: CallRecord, seconds: float) -> Attempt:
    """Return the attempt that was under way at a time of a call."""
    made = [each for each in record.attempts if not each.skipped]
    begun = [each for each in made if each.started_s <= seconds]
    return (begun or made)[-1]
