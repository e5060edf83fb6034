"""Lets the metrics count what the signals tell of one app."""

from flask import Flask
from prometheus_client import CollectorRegistry

from ..factory import LLMFactory
from ..process import PerProcess
from ..signals import AttemptMade, CircuitChanged, GenerationFinished, RetryScheduled, attempt_made, circuit_changed, generation_finished, lossless, retry_scheduled
from ..types import Attempt
from .metrics.collector import Meter, Who, meter_on
from .records import CallRecord
from .share import counted

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
        self._who: dict[str, Who] = {}
        # A registry that a fork has inherited would show what the parent has counted.
        self._shown = PerProcess(self._made)
        self._shown.get()

    @property
    def registry(self) -> CollectorRegistry:
        """Where this process's metrics are."""
        return self._shown.get()[0]

    @property
    def meter(self) -> Meter:
        """What counts them."""
        return self._shown.get()[1]

    def connect(self, app: Flask) -> None:
        """Hear an app's signals, as long as somebody holds this object."""
        generation_finished.connect(self._finished, app)
        attempt_made.connect(self._attempted, app)
        retry_scheduled.connect(self._retried, app)
        circuit_changed.connect(self._changed, app)

    def _made(self) -> tuple[CollectorRegistry, Meter]:
        registry = self.own or CollectorRegistry()
        meter = meter_on(registry)
        meter.live.add(self._factory)
        return registry, meter

    @lossless
    @counted
    def _finished(self, _: object, event: GenerationFinished) -> None:
        record, meter = CallRecord.of(event), self.meter
        meter.called(record)
        if record.streamed and record.first_token_s is not None:
            attempt = _under_way(record, record.first_token_s)
            waited = record.first_token_s - attempt.started_s
            meter.streamed(attempt, waited, self._asked(attempt))

    @lossless
    @counted
    def _attempted(self, _: object, event: AttemptMade) -> None:
        attempt, purpose = event.attempt, event.request.origin.purpose
        self.meter.attempted(attempt, purpose, self._asked(attempt))

    @lossless
    @counted
    def _retried(self, _: object, event: RetryScheduled) -> None:
        self.meter.retried(event)

    @lossless
    @counted
    def _changed(self, _: object, event: CircuitChanged) -> None:
        self.meter.circuit(event)

    def _asked(self, attempt: Attempt) -> Who:
        name = attempt.provider
        if name not in self._who:
            self._who[name] = Who.of(self._entries[name])
        return self._who[name]


def _under_way(record: CallRecord, seconds: float) -> Attempt:
    """Return the attempt that was under way at a time of a call."""
    made = [each for each in record.attempts if not each.skipped]
    begun = [each for each in made if each.started_s <= seconds]
    return (begun or made)[-1]
