"""The metrics of all processes, out of the files in which each counts."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from . import definitions
from .gauges import SHARE, Live, pid_of

# Without the ending that prometheus_client adds again.
_COUNTED = {each.name.removesuffix("_total") for each in definitions.COUNTED}

_REST_ENDS = "gauge_livemostrecent_"


class AllProcesses(Collector):
    """Reads the files of PROMETHEUS_MULTIPROC_DIR, or raises an OSError.

    Other metrics that an app keeps there are left out. What is so now counts of those
    processes only that live, whether or not somebody has told of the others' end.

    Args:
        live: What this process sees.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all."""
        files = SHARE.get().files()
        alive = {pid for pid in set(map(pid_of, files)) if _is_alive(pid)}
        files = [each for each in files if _counts(each) or pid_of(each) in alive]
        in_flight: dict[str, float] = {}
        for metric in _merged(files):
            if metric.name in _COUNTED:
                yield metric
            elif metric.name == definitions.IN_FLIGHT.name:
                in_flight = dict(_by_provider([metric]))
        processes = len(alive | {str(os.getpid())})
        yield from self._live.seen(in_flight, _rests(files), processes)


def is_left_over(folder: Path) -> bool:
    """Return whether a folder has counts, and none of a process that lives.

    Args:
        folder: Where the files are.
    """
    pids = {pid_of(each) for each in folder.glob("*.db")}
    return bool(pids) and not any(map(_is_alive, pids))


def _rests(files: Iterable[Path]) -> dict[str, float]:
    """Return the end of the latest rest by provider, of all processes."""
    found: dict[str, float] = {}
    for file in files:
        if file.name.startswith(_REST_ENDS):
            for provider, until in _by_provider(_merged([file])):
                found[provider] = max(until, found.get(provider, 0.0))
    return found


def _by_provider(metrics: Iterable[Metric]) -> Iterator[tuple[str, float]]:
    names = {definitions.IN_FLIGHT.name, definitions.REST_ENDS.name}
    for metric in metrics:
        if metric.name in names:
            for sample in metric.samples:
                yield sample.labels["provider"], sample.value


def _merged(files: Iterable[Path]) -> Iterable[Metric]:
    names = [str(each) for each in files]
    return MultiProcessCollector.merge(names)  # type: ignore[no-untyped-call, no-any-return]


def _counts(file: Path) -> bool:
    """Return whether a file holds what stays true when its process has ended."""
    return not file.name.startswith("gauge_live")


def _is_alive(pid: str) -> bool:
    if os.name != "posix" or not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True
