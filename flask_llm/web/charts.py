"""The charts of a report: which series, in which order and color, and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import reason

COLORS = 8
"""How many colors the style sheet has; further series are one, "others"."""

NOT_ANSWERED = "not answered"
"""The line of the calls that no provider has answered; it stands last."""

_OTHERS = "others"
_FAILED = "failed"

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one part of each bar.

    Attributes:
        name: Of whom.
        color: Number of its color, from 1; "failed" for what went wrong.
        values: One for each point of time.
    """

    name: str
    color: int | str
    values: Values

    @property
    def total(self) -> float:
        """All values together."""
        return sum(each or 0 for each in self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """What one figure shows.

    Attributes:
        key: Identifies it; also the part of the report it is made of.
        title: Its caption.
        unit: How its values are written, a function of `formats` and of the script.
        summed: Whether its values can be added up: then they are bars on each other.
        series: The first one is the lowest.
        at: The points of time, in seconds since 1970.
    """

    key: str
    title: str
    unit: str
    summed: bool
    series: tuple[Series, ...]
    at: tuple[float, ...]

    @property
    def rows(self) -> list[tuple[float, list[float | None]]]:
        """The points at which something was, the latest first."""
        columns = zip(*(each.values for each in self.series), strict=True)
        rows = zip(self.at, map(list, columns), strict=True)
        return [row for row in rows if any(row[1])][::-1]


def charts(report: Mapping[str, Any]) -> list[Chart]:
    """Return the charts of a report.

    Args:
        report: As `web.report` makes it.
    """
    told, at = report["charts"], tuple(report["charts"]["at"])
    chain = [each["name"] for each in report["chain"]]
    # Each has colors of its own, so that no kind looks like a provider.
    drawn = [
        ("calls", "Calls by provider", "count", True, _calls(told["calls"], chain)),
        ("latency", "Latency of calls", "seconds", False, _series(told["latency"], 2)),
        ("cost", "Cost by model", "money", True, _series(told["cost"], 4)),
        (
            "errors",
            "Failed attempts by kind",
            "count",
            True,
            _series(_in_words(told["errors"]), 3),
        ),
    ]
    return [Chart(*each, at) for each in drawn]


def chart_data(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the script draws: series in lists, since JSON may sort a dict."""
    drawn = {
        chart.key: {
            "unit": chart.unit,
            "summed": chart.summed,
            "series": [
                {"name": each.name, "color": each.color, "values": list(each.values)}
                for each in chart.series
            ],
        }
        for chart in charts(report)
    }
    span = {key: report["range"][key] for key in ("since", "until", "width_s")}
    at, openings = report["charts"]["at"], report["openings"]
    return {"at": at, "span": span, "charts": drawn, "openings": openings}


def _calls(told: Mapping[str, Values], chain: Sequence[str]) -> tuple[Series, ...]:
    """Return a series for each provider, and above them what nobody has answered."""
    answered = {name: told[name] for name in told if name != NOT_ANSWERED}
    series = _series(answered, 0, chain)
    if NOT_ANSWERED not in told:
        return series
    return *series, Series(NOT_ANSWERED, _FAILED, told[NOT_ANSWERED])


def _in_words(told: Mapping[str, Values]) -> dict[str, Values]:
    return {reason(kind): values for kind, values in told.items()}


def _series(
    told: Mapping[str, Values], start: int, first: Sequence[str] = ()
) -> tuple[Series, ...]:
    """Return series, those that come first in their own colors whether there or not."""
    names = [*first, *(each for each in told if each not in first)]
    if len(names) > COLORS:
        names = [each for each in names if each in told]
    if len(names) > COLORS:
        told, names = _fewer(told, names)
    return tuple(
        Series(name, (start + number) % COLORS + 1, told[name])
        for number, name in enumerate(names)
        if name in told
    )


def _fewer(
    told: Mapping[str, Values], names: Sequence[str]
) -> tuple[dict[str, Values], list[str]]:
    """Return as many series as there are colors, the small ones added up as one."""
    big = sorted(told, key=lambda name: -sum(each or 0 for each in told[name]))
    kept = [name for name in names if name in big[: COLORS - 1]]
    rest = zip(*(told[name] for name in names if name not in kept), strict=True)
    others = [sum(each or 0 for each in values) for values in rest]
    return {name: told[name] for name in kept} | {_OTHERS: others}, [*kept, _OTHERS]
