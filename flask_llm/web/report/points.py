"""What charts are drawn from: a number for each point of time."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...observe.records import CLOSED, SUCCESS
from ...observe.source import Span
from ..charts import NOT_ANSWERED
from .figures import P50, P95, Row, judged, latency

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
