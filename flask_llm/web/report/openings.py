"""The times during which providers rested, to be shaded in a chart."""

from collections.abc import Iterable
from typing import Any

from ...observe.source import Span
from ...signals import CircuitChanged

# A shorter gap would be narrower than a line: the part of a point of the chart.
_GAP = 0.1


def openings(changes: Iterable[CircuitChanged], span: Span) -> list[dict[str, Any]]:
    """Return the rests that fall into a span, clipped to it.

    Rests of a provider that overlap, or all but touch, are one.

    Args:
        changes: The circuits that opened or closed, in their order.
        span: From when to when.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        rests = found.setdefault(change.provider, [])
        last = rests[-1] if rests else None
        if change.until is None:
            _end(last, change.at)
        elif last and change.at <= last["until"] + _GAP * span.range.width:
            last["until"] = max(last["until"], change.until)
        else:
            rests.append(_rest(change, change.until))
    clipped = (_clipped(each, span) for rests in found.values() for each in rests)
    shown = [each for each in clipped if each["since"] < each["until"]]
    return sorted(shown, key=lambda each: (each["since"], each["provider"]))


def _rest(change: CircuitChanged, until: float) -> dict[str, Any]:
    return {
        "provider": change.provider,
        "since": change.at,
        "until": until,
        "kind": change.kind,
    }


def _end(rest: dict[str, Any] | None, at: float) -> None:
    """Let a rest end before its time, for the provider has answered."""
    if rest:
        rest["until"] = min(rest["until"], at)


def _clipped(rest: dict[str, Any], span: Span) -> dict[str, Any]:
    since, until = max(rest["since"], span.since), min(rest["until"], span.until)
    return rest | {"since": since, "until": until}
