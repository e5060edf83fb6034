"""The numbers of a page that are not told by time: its tiles, and who used what."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...observe.memory import OTHERS
from .figures import P50, P95, Row, answered, cost, count, first_token, latency, share, succeeded

MOST_GROUPS = 100
"""Lines of the breakdown; what is used least becomes one line together."""

_WHO = itemgetter("purpose", "provider", "model")

_NUMBERS = (
    *("calls", "answered", "by_fallback", "cost_usd", "unpriced", "unpriced_models"),
    *("input_tokens", "output_tokens", "p95_s"),
    *("first_token_p50_s", "first_token_p95_s"),
)

_MOST_NAMED = 3

UNKNOWN: dict[str, Any] = dict.fromkeys(_NUMBERS)
"""The tiles of a source that cannot be read."""


def tiles(rows: Sequence[Row], attempts: Iterable[Row]) -> dict[str, Any]:
    """Return the numbers of all calls together.

    Args:
        rows: Calls.
        attempts: Their attempts, for the models whose price is not known.
    """
    answers = succeeded(rows)
    return {
        "calls": count(rows, "calls"),
        "answered": answered(rows),
        "by_fallback": share(count(answers, "fallbacks"), count(answers, "calls")),
        "cost_usd": cost(rows),
        "unpriced": count(rows, "unpriced"),
        "unpriced_models": _unpriced(attempts),
        "input_tokens": count(rows, "input_tokens"),
        "output_tokens": count(rows, "output_tokens"),
        "p95_s": latency(rows, P95),
        "first_token_p50_s": first_token(rows, P50),
        "first_token_p95_s": first_token(rows, P95),
    }


def _unpriced(attempts: Iterable[Row]) -> list[str]:
    """Return the models of which most tries have a cost that is not known."""
    tries: Counter[str] = Counter()
    for row in attempts:
        tries[row["model"] or row["provider"]] += row["unpriced"]
    return [model for model, number in tries.most_common(_MOST_NAMED) if number]


def breakdown(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the numbers by purpose, provider and model; what is used most is first."""
    found = groupby(sorted(rows, key=_WHO), _WHO)
    groups = [(who, tuple(same)) for who, same in found]
    groups.sort(key=lambda each: count(each[1], "calls"), reverse=True)
    shown, rest = groups[:MOST_GROUPS], groups[MOST_GROUPS:]
    if rest:
        others = tuple(row for _, same in rest for row in same)
        shown.append(((OTHERS, "", ""), others))
    return [_line(who, same) for who, same in shown]


def _line(who: tuple[str, str, str], rows: Sequence[Row]) -> dict[str, Any]:
    purpose, provider, model = who
    return {
        "purpose": purpose,
        "provider": provider,
        "model": model,
        "calls": count(rows, "calls"),
        "answered": answered(rows),
        "p95_s": latency(rows, P95),
        "input_tokens": count(rows, "input_tokens"),
        "output_tokens": count(rows, "output_tokens"),
        "cost_usd": cost(rows),
        "unpriced": count(rows, "unpriced"),
    }
