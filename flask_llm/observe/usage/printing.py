"""Figures as a table for people."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Figures, Report

_UNKNOWN = "-"

_NOTES = {
    "+": "+ some tokens have a cost that is not known: it is more than this.",
    "-": "- as a cost: no tokens were counted, or no price of them is known.",
}


def as_table(report: "Report", by: str | None, encoding: str) -> str:
    """Return a report in aligned columns, with a line of the total.

    Args:
        report: The figures.
        by: What their names are; None if there is only the total.
        encoding: Of the output; what it does not have is written as escapes.
    """
    shown = [*report.rows, report.total]
    lines = [
        [by or "", *_COLUMNS],
        *([each.name or _UNKNOWN, *_cells(each)] for each in shown),
    ]
    table = _aligned(lines)
    if report.rows:
        table.insert(-1, "-" * len(table[0]))
    period = f"{_written(report.since)} to {_written(report.until)} UTC"
    signs = {_sign(each) for each in shown}
    notes = [note for sign, note in _NOTES.items() if sign in signs]
    text = "\n".join([period, "", *table, *notes])
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cells(each: "Figures") -> list[str]:
    return [write(each) for write in _COLUMNS.values()]


_COLUMNS: "dict[str, Callable[[Figures], str]]" = {
    "calls": lambda each: f"{each.calls:,}",
    "attempts": lambda each: f"{each.attempts:,}",
    "answered": lambda each: _share(each.answered_share),
    "by fallback": lambda each: _share(each.by_fallback_share),
    "tokens in": lambda each: f"{each.input_tokens:,}",
    "tokens out": lambda each: f"{each.output_tokens:,}",
    "cost USD": lambda each: _dollars(each) + _sign(each),
    "p95": lambda each: _UNKNOWN if each.p95_s is None else f"{each.p95_s:.2f} s",
}


def _dollars(each: "Figures") -> str:
    return "" if each.cost_usd is None else f"{each.cost_usd:,.4f}"


def _sign(each: "Figures") -> str:
    """Return how far a cost is known."""
    if each.cost_usd is None:
        return _UNKNOWN
    return "+" if each.unpriced else " "


def _share(share: float | None) -> str:
    """Return a percentage that is 100 or 0 only if it is."""
    if share is None:
        return _UNKNOWN
    percent = 100 * share
    if 0 < share < 1:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %"


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of columns; all but the first one end below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
