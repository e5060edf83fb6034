"""Measure everything and print a table."""

import argparse
import logging
import os
import sys

from . import cases, overhead, report
from .measure import Plan, paired
from .upstream import Upstream, upstream

# What a shell may bring along would be measured too.
_FOREIGN = ("LLM_", "ANTHROPIC_")

_QUICK = Plan(rounds=2, batch=1, warm_up=0)


class Listener(logging.NullHandler):
    """Takes all log lines and writes none; notes whether a store was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.complaint = ""

    def handle(self, record: logging.LogRecord) -> bool:
        """Look at a line's origin only: it is not even formatted."""
        if record.module == "health":
            self.complaint = record.getMessage()
        return True


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "figures",
        nargs="?",
        choices=["overhead"],
        help="only what a call costs above the SDK's own, in figures that hold on a"
        " busy machine",
    )
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a target is missed"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that it runs; figures mean nothing"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/benchmarks.md"
    )
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--quick measures nothing worth writing down")
    if options.figures and options.write:
        parser.error("the page's table is that of all cases")
    _shield()
    rows = _measure(options.figures, quick=options.quick)
    text = f"{report.table(rows)}\n\n{report.surroundings()}"
    sys.stdout.write(f"{text}\n")
    if options.write:
        report.write(text)
    return int(options.check and any(row.ok is False for row in rows))


def _shield() -> None:
    for name in [each for each in os.environ if each.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def _measure(figures: str | None, *, quick: bool) -> list[report.Row]:
    if figures:
        return overhead.rows(_QUICK if quick else None)
    return _measure_cases(quick=quick)


def _measure_cases(*, quick: bool) -> list[report.Row]:
    listener = Listener()
    logging.getLogger("flask_llm").addHandler(listener)
    rows = []
    with upstream() as to:
        for case in cases.CASES:
            listener.complaint = ""
            row = _row(case, to, _QUICK if quick else case.plan)
            if listener.complaint:
                row = row._replace(figure=listener.complaint, ok=False)
            rows.append(row)
    return rows


def _row(case: cases.Case, to: Upstream, plan: Plan) -> report.Row:
    try:
        pair = case.pair(to)
    except cases.Skipped as why:
        return report.Row(case.measure, f"not measured: {why}")
    return case.row(paired(*pair, plan))


if __name__ == "__main__":
    sys.exit(main())
