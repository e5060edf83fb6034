"""The tries of one call as bars, from its beginning to its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 1000
"""Units from the beginning of a call to its end, in which its bars are drawn."""

_LEAST = 6  # so that a try of a millisecond is seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One try, drawn.

    Attributes:
        attempt: The try, as in the report.
        x: Where it begins, in units of `WIDTH`.
        width: How long it is.
    """

    attempt: Mapping[str, Any]
    x: int
    width: int


def timeline(call: Mapping[str, Any]) -> list[Bar]:
    """Return the bars of a call.

    Args:
        call: As in the report of one call.
    """
    ends = [each["started_s"] + each["latency_s"] for each in call["attempts"]]
    scale = WIDTH / max(*ends, call["latency_s"], 0.001)
    return [_bar(each, scale) for each in call["attempts"]]


def _bar(attempt: Mapping[str, Any], scale: float) -> Bar:
    width = max(_LEAST, round(attempt["latency_s"] * scale))
    x = min(round(attempt["started_s"] * scale), WIDTH - width)
    return Bar(attempt, max(0, x), min(width, WIDTH))
