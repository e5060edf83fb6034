"""Findings as text for people."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .checks import Finding, Level

_SIGNS: dict[Level, str] = {"ok": "✓", "note": "·", "warning": "!", "error": "✗"}
_PLAIN = str.maketrans("✓·✗→…", "+-x>~")


class Line(NamedTuple):
    """One line of a report.

    Attributes:
        level: How bad what it says is; None for a headline.
        sign: What it begins with.
        text: The rest.
    """

    level: Level | None
    sign: str
    text: str


def report(findings: Iterable[Finding], encoding: str) -> Iterator[Line]:
    """Yield the lines of a report, grouped by area.

    Args:
        findings: What was found.
        encoding: What the lines will be printed in; signs that it lacks are replaced.
    """
    for level, sign, text in _lines(list(findings)):
        yield Line(level, encodable(sign, encoding), encodable(text, encoding))


def encodable(text: str, encoding: str) -> str:
    """Return a text in the characters that an encoding has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(_PLAIN)
        return plain.encode(encoding, "replace").decode(encoding)
    return text


def _lines(findings: list[Finding]) -> Iterator[Line]:
    for area in dict.fromkeys(finding.area for finding in findings):
        yield Line(None, "", area)
        for finding in findings:
            if finding.area == area:
                yield from _told(finding)
    yield Line(None, "", _summary(findings))


def _told(finding: Finding) -> Iterator[Line]:
    text = ": ".join(filter(None, [finding.subject, finding.message]))
    yield Line(finding.level, f"  {_SIGNS[finding.level]}", f" {text}")
    if finding.advice:
        yield Line(None, "", f"      → {finding.advice}")


def _summary(findings: list[Finding]) -> str:
    levels = [finding.level for finding in findings]
    errors, warnings = levels.count("error"), levels.count("warning")
    if not errors and not warnings:
        return "All is well."
    return f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
