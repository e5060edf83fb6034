"""The command usage."""

import csv
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext

from ..observe.usage import LOG
from . import current_factory

if TYPE_CHECKING:
    from ..observe.usage.writer import UsageLog
    from ..web.report.usage import By, Figures, Report

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
    columns = dict(_COLUMNS)
    if not any(each.cached_tokens for each in shown):
        del columns["cached"]
    lines = [
        [by or "", *columns],
        *([each.name or _UNKNOWN, *_cells(each, columns)] for each in shown),
    ]
    table = _aligned(lines)
    if report.rows:
        table.insert(-1, "-" * len(table[0]))
    period = f"{_written(report.since)} to {_written(report.until)} UTC"
    signs = {_sign(each) for each in shown}
    notes = [note for sign, note in _NOTES.items() if sign in signs]
    text = "\n".join([period, "", *table, *notes])
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cells(each: "Figures", columns: "Columns") -> list[str]:
    return [write(each) for write in columns.values()]


Columns = dict[str, "Callable[[Figures], str]"]

_COLUMNS: Columns = {
    "calls": lambda each: f"{each.calls:,}",
    "attempts": lambda each: (
        _UNKNOWN if each.attempts is None else f"{each.attempts:,}"
    ),
    "answered": lambda each: _share(each.answered_share),
    "by fallback": lambda each: _share(each.by_fallback_share),
    "tokens in": lambda each: f"{each.input_tokens:,}",
    "cached": lambda each: f"{each.cached_tokens:,}",
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


_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

# Longer than that of a page: a user who waits can stop the command.
_PATIENCE_S = 60.0


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Return a time in seconds since 1970; None for "all", or if there is none."""
    if value is None or value == "all":
        return None
    if match := re.fullmatch(r"(\d{1,6})([mhdw])", value):
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither an age such as 30m, 24h or 7d, nor a date such as"
            " 2026-11-01 or 2026-11-01T12:00 (UTC)."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _only_one(
    _: click.Context, __: click.Parameter, value: "tuple[By, ...]"
) -> "By | None":
    """Return the grouping; click itself would take the last one silently."""
    if len(value) > 1:
        raise click.BadParameter("it may be given once only.")
    return value[0] if value else None


@click.command()
@click.option(
    "--by",
    multiple=True,
    callback=_only_one,
    type=click.Choice(["provider", "model", "purpose", "day"]),
    help="Tell apart; of a provider or model, the calls that asked it.",
)
@click.option(
    "--since",
    callback=_moment,
    default="7d",
    show_default=True,
    help='An age (24h, 7d), a date in UTC (2026-11-01), or "all".',
)
@click.option(
    "--until", callback=_moment, help="The end, written alike.  [default: now]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, without the total.")
@click.option(
    "--migrate",
    type=click.Choice(["print", "run"]),
    help="Print or run the SQL that adds what older tables lack; nothing else is done.",
)
@with_appcontext
def usage(
    by: "By | None",
    since: float | None,
    until: float | None,
    *,
    as_json: bool,
    as_csv: bool,
    migrate: str | None,
) -> None:
    """Show how many calls there were, who answered, and what they cost.

    Reads the usage log, in which all workers write. Days are those of UTC.
    """
    if migrate:
        _migrate(runs=migrate == "run")
        return
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    found = _report(by, since, time.time() if until is None else until)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=2))
    elif as_csv:
        _print_csv(found)
    else:
        click.echo(as_table(found, by, sys.stdout.encoding or "ascii"))


def _log() -> "UsageLog":
    """Return the app's usage log, or end the command."""
    current_factory()
    log: UsageLog | None = current_app.extensions.get(LOG)
    if log is None:
        raise click.ClickException(
            "The usage log is off: set LLM_USAGE=on, or LLM_USAGE_URL to the address"
            " of a database."
        )
    return log


def _migrate(*, runs: bool) -> None:
    """Add what older tables lack, or print how; the account may need more rights."""
    from ..observe.usage.database import statements, why

    url = _log().url
    try:
        lines = statements(url, _PATIENCE_S, runs=runs)
    except Exception as error:  # noqa: BLE001  # a driver may raise anything
        raise click.ClickException(why(error, url.secrets)) from None
    for line in lines:
        click.echo(f"{line};")
    if not lines:
        click.echo("Nothing is missing.", err=True)


def _report(by: "By | None", since: float | None, until: float) -> "Report":
    """Read the log, or end the command."""
    log = _log()
    if since is not None and since >= until:
        raise click.UsageError("--since must be before --until.")
    from ..observe.aggregates import SourceError
    from ..observe.usage.queries import UsageSource
    from ..web.report.usage import report

    source = UsageSource(log.url, patience_s=_PATIENCE_S)
    try:
        if not source.is_written():
            click.echo(f"Nothing was written yet to {log.url}", err=True)
        return report(source, by, since, until, time.time())
    except SourceError as error:
        raise click.ClickException(str(error)) from None


def _plain(found: "Report") -> dict[str, Any]:
    """Return a report as plain data."""
    times = {
        name: datetime.fromtimestamp(getattr(found, name), UTC).isoformat()
        for name in ("since", "until")
    }
    return asdict(found) | times


def _print_csv(found: "Report") -> None:
    rows = [asdict(each) for each in found.rows or [found.total]]
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(each) for name, each in row.items()} for row in rows)


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula.

    What a user or a model has named may begin like one; see OWASP's "CSV Injection".
    """
    is_formula = isinstance(value, str) and value[:1] in tuple("=+-@\t\r")
    return f"'{value}" if is_formula else value
