"""The table: a line for each case, for the terminal and for the documents."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from .upstream import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- table: python -m benchmarks --write -->"
END = "<!-- end of the table -->"

_PACKAGES = ("anthropic", "httpx2", "Flask", "redis")


class Row(NamedTuple):
    """What was measured in one case.

    Attributes:
        measure: What it is.
        figure: How it came out.
        target: What was aimed at; empty if nothing.
        ok: Whether it is reached; None if nothing was aimed at or measured.
    """

    measure: str
    figure: str
    target: str = ""
    ok: bool | None = None


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = [
        f"| {row.measure} | {row.figure} | {row.target} | {words[row.ok]} |"
        for row in rows
    ]
    return "\n".join(
        ["| measure | figure | target | ok |", "|---|---|---|---|", *lines]
    )


def surroundings() -> str:
    """Return what the figures depend on, in one line that names no machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {packages}; {platform.system()}, {os.cpu_count()} cores"


def write(text: str) -> None:
    """Put a text between the two marks of the page, in place of the one there.

    Raises:
        ValueError: The page has lost its marks.
    """
    before, begin, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} must have the lines {BEGIN!r} and {END!r}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
