"""The gauges: state of the chain, and requests in flight.

They are looked up when they are read, so that nothing has to report the end of a
cooldown, or of a stream that is only forgotten. In prometheus_client's multiprocess
mode, where one worker answers for all, each also notes them in its files.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Literal, NamedTuple
from weakref import WeakSet, ref

from prometheus_client import Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ...factory import LLMFactory
from ...resilience.bulkhead import Bulkhead
from . import definitions
from .definitions import STATES, Metric
from .multiprocess import MULTIPROCESS, counted

log = logging.getLogger("flask_llm")

_NOT_SHARED = "memory://"


class ProviderState(NamedTuple):
    """State of a provider; of two the greater one is shown.

    Attributes:
        state: Its index in `definitions.STATES`.
        until: When its open circuit is tried again, in seconds since 1970; else 0.
    """

    state: int = 0
    until: float = 0.0

    @classmethod
    def told(cls, status: Mapping[str, Any]) -> "ProviderState":
        """Return what the status of a provider says."""
        return cls(STATES.index(status["state"]), status["until"] or 0.0)

    @classmethod
    def after(cls, until: float, now: float) -> "ProviderState":
        """Return the state by the end of a cooldown; 0 if it has answered since."""
        rests = until > now
        state = "open" if rests else "half-open" if until else "closed"
        return cls(STATES.index(state), until if rests else 0.0)


class UnderWay:
    """How many requests to one provider this process has under way.

    Args:
        gauge: Makes what notes it for the worker that answers for all.
    """

    def __init__(self, gauge: Callable[[], Gauge]) -> None:
        self._gauge = cache(gauge)
        self._bulkheads: list[ref[Bulkhead]] = []

    def add(self, bulkhead: Bulkhead) -> None:
        """Count an app's requests too; after a fork it may be known already."""
        kept = [each for each in self._bulkheads if each() not in {None, bulkhead}]
        self._bulkheads = [*kept, ref(bulkhead)]
        if MULTIPROCESS:
            bulkhead.changed = self._note

    def number(self) -> int:
        """Return how many."""
        bulkheads = (each() for each in self._bulkheads)
        return sum(bulkhead.under_way for bulkhead in bulkheads if bulkhead is not None)

    def _note(self) -> None:
        try:
            self._write()
        except Exception:
            log.exception("The requests under way cannot be noted")

    @counted
    def _write(self) -> None:
        """Write down how many.

        Several threads may write at once: who finds another number after it has
        written writes again, so that the last one is right without a lock.
        """
        gauge, written = self._gauge(), -1
        while written != (number := self.number()):
            gauge.set(number)
            written = number


class StateCollector(Collector):
    """Looks at the apps of this process.

    It holds none of them: who has none any more shows nothing.
    """

    def __init__(self) -> None:
        self._factories: WeakSet[LLMFactory] = WeakSet()
        self._under_way: dict[str, UnderWay] = {}
        self._in_flight = _gauge(definitions.IN_FLIGHT, "livesum")
        self._rest_ends = _gauge(definitions.REST_ENDS, "livemax")

    def add(self, factory: LLMFactory) -> None:
        """Look at an app's factory too."""
        self._factories.add(factory)
        for name, bulkhead in factory.bulkheads.items():
            if name not in self._under_way:
                self._under_way[name] = UnderWay(partial(self._in_flight.labels, name))
            self._under_way[name].add(bulkhead)

    def rests_until(self, provider: str, until: float) -> None:
        """Note when a cooldown ends, for the worker that answers for all."""
        if MULTIPROCESS:
            self._rest_ends.labels(provider).set(until)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the metrics without a value; a registry compares their names."""
        return [_family(each) for each in definitions.SEEN]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return what is so in this process."""
        return self.seen(self.in_flight(), {}, 1)

    def seen(
        self,
        in_flight: Mapping[str, float],
        rests: Mapping[str, float],
        processes: int,
    ) -> Iterator[GaugeMetricFamily]:
        """Return what is so.

        Args:
            in_flight: Requests under way, by provider.
            rests: The end of the latest cooldown that other processes have begun, by
                provider; 0 if it has answered since.
            processes: How many there are.
        """
        standings = self._standings(rests)
        yield _filled(
            definitions.IN_FLIGHT, {(n,): in_flight.get(n, 0) for n in standings}
        )
        yield _filled(definitions.CIRCUIT, dict(_states(standings)))
        ends = {(name,): each.until for name, each in standings.items()}
        yield _filled(definitions.REST_ENDS, ends)
        yield _filled(definitions.PROCESSES, {(): processes})

    def in_flight(self) -> dict[str, int]:
        """Return how many requests to each provider this process has under way."""
        return {name: each.number() for name, each in self._under_way.items()}

    def _standings(self, rests: Mapping[str, float]) -> dict[str, ProviderState]:
        now = time.time()
        found: dict[str, ProviderState] = {}
        for factory in list(self._factories):
            told = factory.get_provider_status(detail=True)
            # A store that is shared knows of all processes, and of a reset too.
            others = rests if factory.config.state_url == _NOT_SHARED else {}
            for status in (told["primary"], *told["fallbacks"]):
                name = status["name"]
                elsewhere = ProviderState.after(others.get(name, 0.0), now)
                known = found.get(name, ProviderState())
                found[name] = max(known, ProviderState.told(status), elsewhere)
        return found


def _gauge(metric: Metric, mode: Literal["livesum", "livemax"]) -> Gauge:
    return Gauge(
        metric.name, metric.text, metric.labels, registry=None, multiprocess_mode=mode
    )


def _states(
    standings: Mapping[str, ProviderState],
) -> Iterator[tuple[tuple[str, str], int]]:
    for name, standing in standings.items():
        for number, state in enumerate(STATES):
            yield (name, state), int(number == standing.state)


def _family(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)


def _filled(metric: Metric, found: Mapping[Any, float]) -> GaugeMetricFamily:
    """Return a metric with a value for each of some labels' values."""
    family = _family(metric)
    for labels, value in found.items():
        family.add_metric(labels, value)
    return family
