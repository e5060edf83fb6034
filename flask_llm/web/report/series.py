"""Series of the charts, open circuits and totals."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...observe.aggregates import Span
from ...observe.memory import OTHERS
from ...observe.records import CLOSED, SUCCESS
from ...signals import CircuitChanged
from ..charts import NOT_ANSWERED
from .queries import (
    P50,
    P95,
    Row,
    answered,
    cost,
    count,
    first_token,
    judged,
    latency,
    share,
    succeeded,
)


def charts(calls: Sequence[Row], attempts: Sequence[Row], span: Span) -> dict[str, Any]:
    """Return the numbers of all charts; a time without calls has its point too.

    A call that was answered is its provider's, and so is one whose caller left: that is
    no failure. All others are `NOT_ANSWERED`.

    Args:
        calls: By time, provider and outcome.
        attempts: By time, provider, model and outcome.
        span: From when to when.
    """
    at = _moments(span)
    failed = [each for each in judged(attempts) if each["outcome"] != SUCCESS]
    return {
        "at": at,
        "calls": _calls(calls, at),
        "latency": _latency(calls, at),
        "cost": _costs(attempts, at),
        "errors": _series(failed, at, _kind, "attempts", int),
    }


def _moments(span: Span) -> list[int]:
    width = span.range.width
    return list(range(int(span.since), int(span.until) + 1, width))


def _series(
    rows: Iterable[Row],
    at: Sequence[int],
    label: Callable[[Row], str],
    measure: str,
    kind: type[int] | type[float],
) -> dict[str, list[float]]:
    """Return a line of numbers for each label, in the order of their names."""
    places = {moment: place for place, moment in enumerate(at)}
    lines: dict[str, list[float]] = {}
    for row in rows:
        line = lines.setdefault(label(row), [kind(0)] * len(at))
        line[places[int(row["at"])]] += kind(row[measure])
    return dict(sorted(lines.items()))


def _calls(calls: Iterable[Row], at: Sequence[int]) -> dict[str, list[float]]:
    lines = _series(calls, at, _answerer, "calls", int)
    missed = lines.pop(NOT_ANSWERED, None)
    return lines | ({NOT_ANSWERED: missed} if missed else {})


def _latency(calls: Iterable[Row], at: Sequence[int]) -> dict[str, list[float | None]]:
    rows: dict[int, list[Row]] = {moment: [] for moment in at}
    for row in calls:
        rows[int(row["at"])].append(row)
    return {
        name: [latency(rows[moment], part) for moment in at]
        for name, part in (("p50", P50), ("p95", P95))
    }


def _costs(attempts: Iterable[Row], at: Sequence[int]) -> dict[str, list[float]]:
    """Return what each model cost; those that cost nothing are no line."""
    lines = _series(attempts, at, _model, "cost_usd", float)
    return {model: line for model, line in lines.items() if any(line)}


def _answerer(row: Row) -> str:
    has_answer = row["outcome"] in {SUCCESS, CLOSED}
    return str(row["provider"] or NOT_ANSWERED) if has_answer else NOT_ANSWERED


def _model(row: Row) -> str:
    return str(row["model"] or row["provider"])


def _kind(row: Row) -> str:
    return str(row["outcome"])


# A shorter gap would be narrower than a line: the part of a point of the chart.
_GAP = 0.1


def openings(changes: Iterable[CircuitChanged], span: Span) -> list[dict[str, Any]]:
    """Return the times of open circuits that fall into a span, clipped to it.

    Those of a provider that overlap, or all but touch, are one.

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
    """End one before its time, for the provider has answered."""
    if rest:
        rest["until"] = min(rest["until"], at)


def _clipped(rest: dict[str, Any], span: Span) -> dict[str, Any]:
    since, until = max(rest["since"], span.since), min(rest["until"], span.until)
    return rest | {"since": since, "until": until}


MOST_GROUPS = 100
"""Lines of the breakdown; what is used least becomes one line together."""

_WHO = itemgetter("purpose", "provider", "model")

_MOST_NAMED = 3


def tiles(rows: Sequence[Row], attempts: Iterable[Row]) -> dict[str, Any]:
    """Return the numbers of all calls together.

    Args:
        rows: Calls.
        attempts: Their attempts, for the models whose price is not known.
    """
    answers = succeeded(rows)
    return _figures(rows) | {
        "by_fallback": share(count(answers, "fallbacks"), count(answers, "calls")),
        "unpriced_models": _unpriced(attempts),
        "first_token_p50_s": first_token(rows, P50),
        "first_token_p95_s": first_token(rows, P95),
    }


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what tiles and breakdown tell alike of some calls."""
    return {
        "calls": count(rows, "calls"),
        "answered": answered(rows),
        "cost_usd": cost(rows),
        "unpriced": count(rows, "unpriced"),
        "input_tokens": count(rows, "input_tokens"),
        "output_tokens": count(rows, "output_tokens"),
        "cached_tokens": count(rows, "cached_tokens"),
        "p95_s": latency(rows, P95),
    }


def _unpriced(attempts: Iterable[Row]) -> list[str]:
    """Return the models of which most tries have a cost that is not known."""
    tries: Counter[str] = Counter()
    for row in attempts:
        tries[row["model"] or row["provider"]] += row["unpriced"]
    return [model for model, number in tries.most_common(_MOST_NAMED) if number]


UNKNOWN: dict[str, Any] = dict.fromkeys(tiles((), ()))
"""The tiles of a source that cannot be read."""


def breakdown(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the numbers by purpose, provider and model; what is used most is first."""
    found = groupby(sorted(rows, key=_WHO), _WHO)
    groups = [(who, tuple(same)) for who, same in found]
    groups.sort(key=lambda each: count(each[1], "calls"), reverse=True)
    shown, rest = groups[:MOST_GROUPS], groups[MOST_GROUPS:]
    if rest:
        others = tuple(row for _, same in rest for row in same)
        shown.append(((OTHERS, "", ""), others))
    return [
        {"purpose": purpose, "provider": provider, "model": model} | _figures(same)
        for (purpose, provider, model), same in shown
    ]
