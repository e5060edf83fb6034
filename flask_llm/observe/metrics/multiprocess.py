"""Metrics of several processes, which count in the files of one folder.

prometheus_client keeps and adds up the files. Where a process cannot count, nothing is
counted; no call and no start of a server fails for it.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import ParamSpec

from prometheus_client import Gauge, values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ...resilience.clock import PerProcess
from . import definitions

MULTIPROCESS = values.ValueClass is not values.MutexValue
"""Whether prometheus_client counts in the files of PROMETHEUS_MULTIPROC_DIR."""

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

P = ParamSpec("P")

Seen = Callable[[Mapping[str, float], Mapping[str, float], int], Iterable[Metric]]
"""See `StateCollector.seen`."""

log = logging.getLogger("flask_llm")


class Share:
    """This process's share of the counts; its files are made with its first one.

    Attributes:
        fault: Why it counts nothing; empty if it can.
        has_counted: Whether it is one of the processes that the files know.
    """

    def __init__(self) -> None:
        self.fault = ""
        self.has_counted = False
        try:
            # Not by a Path, for which an empty name is the current folder.
            os.makedirs(os.environ.get(_FOLDER, ""), exist_ok=True)  # noqa: PTH103  # as said above
        except OSError as error:
            self.give_up(error)

    def enter(self) -> None:
        """Count this process too."""
        if not self.has_counted:
            _processes().set(1)
            self.has_counted = True

    def give_up(self, error: OSError) -> None:
        """Count nothing any more: prometheus_client cannot go back to a lost file."""
        self.fault = str(error)
        log.error(
            "LLM_METRICS: nothing is counted until a restart: %s: %s", _FOLDER, error
        )


SHARE = PerProcess(Share)


@cache
def _processes() -> Gauge:
    """Make the gauge when somebody counts: without labels it makes its file at once."""
    name, text = definitions.PROCESSES.name, definitions.PROCESSES.text
    return Gauge(name, text, registry=None, multiprocess_mode="livesum")


def counted(method: Callable[P, None]) -> Callable[P, None]:
    """Let what counts be left out where the process cannot; its log says so once."""
    if not MULTIPROCESS:
        return method

    @wraps(method)
    def counting(*args: P.args, **kwargs: P.kwargs) -> None:
        share = SHARE.get()
        if share.fault:
            return
        try:
            method(*args, **kwargs)
            share.enter()
        except OSError as error:
            share.give_up(error)

    return counting


class AllProcesses(Collector):
    """Shows what is in the folder, of whatever app, or raises an OSError.

    Args:
        seen: What is so in this process, to which that in the others is added.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all."""
        found = {metric.name: metric for metric in _in_files()}
        seen = {each.name: found.pop(each.name, None) for each in definitions.SEEN}
        yield from found.values()
        processes = _by_provider(seen[definitions.PROCESSES.name]).get("", 0)
        yield from self._seen(
            _by_provider(seen[definitions.IN_FLIGHT.name]),
            _by_provider(seen[definitions.REST_ENDS.name]),
            int(processes) + (not SHARE.get().has_counted),
        )


def _in_files() -> Iterable[Metric]:
    if fault := SHARE.get().fault:
        raise OSError(fault)
    try:
        collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call]  # has no types
    except ValueError:
        raise FileNotFoundError("the folder was taken away") from None
    return collector.collect()  # type: ignore[no-untyped-call, no-any-return]  # has no types


def _by_provider(metric: Metric | None) -> Mapping[str, float]:
    samples = metric.samples if metric else ()
    return {each.labels.get("provider", ""): each.value for each in samples}
