"""The numbers of a page that are not told by time: its tiles, and who used what."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...observe.memory import OTHERS
from .figures import (
    P50,
    P95,
    Row,
    answered,
    count,
    dollars,
    first_token,
    latency,
    share,
    succeeded,
)

MOST_GROUPS = 100
"""Lines of the breakdown; what is used least becomes one line together."""

_WHO = itemgetter("purpose", "provider", "model")

_NUMBERS = (
    *("calls", "answered", "by_fallback", "cost_usd", "unpriced", "input_tokens"),
    *("output_tokens", "p95_s", "first_token_p50_s", "first_token_p95_s"),
)

UNKNOWN: dict[str, Any] = dict.fromkeys(_NUMBERS)
"""The tiles of a source that cannot be read."""


def tiles(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the numbers of all calls together."""
    cost, unpriced = dollars(rows), count(rows, "unpriced")
    answers = succeeded(rows)
    return {
        "calls": count(rows, "calls"),
        "answered": answered(rows),
        "by_fallback": share(count(answers, "fallbacks"), count(answers, "calls")),
        # No price at all is known: that is not nothing.
        "cost_usd": None if unpriced and not cost else cost,
        "unpriced": unpriced,
        "input_tokens": count(rows, "input_tokens"),
        "output_tokens": count(rows, "output_tokens"),
        "p95_s": latency(rows, P95),
        "first_token_p50_s": first_token(rows, P50),
        "first_token_p95_s": first_token(rows, P95),
    }


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
        "cost_usd": dollars(rows),
        "unpriced": count(rows, "unpriced"),
    }
