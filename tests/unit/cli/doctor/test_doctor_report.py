"""How findings are printed."""

from flask_llm.cli.doctor import Finding
from flask_llm.cli.doctor.report import report

FOUND = [
    Finding("ok", "versions", "Flask", "3.1"),
    Finding("error", "chain", "claude", "no API key", "set ANTHROPIC_API_KEY"),
    Finding("warning", "versions", "openai", "is old…"),
    Finding("note", "store", "", "memory"),
]


def text(findings, encoding="utf-8"):
    return [sign + text for _, sign, text in report(findings, encoding)]


def test_findings_are_grouped_by_area():
    """Each area once, with a sign for each level and the advice below."""
    assert text(FOUND) == [
        "versions",
        "  ✓ Flask: 3.1",
        "  ! openai: is old…",
        "chain",
        "  ✗ claude: no API key",
        "      → set ANTHROPIC_API_KEY",
        "store",
        "  · memory",
        "1 error, 1 warning",
    ]


def test_a_terminal_without_unicode_gets_plain_signs():
    """Nothing that is printed may end in a UnicodeEncodeError."""
    found = text([*FOUND, Finding("ok", "chain", "żółw", "—")], "ascii")

    "\n".join(found).encode("ascii")
    assert "  x claude: no API key" in found
    assert "      > set ANTHROPIC_API_KEY" in found
    assert "  + ???w: ?" in found


def test_a_healthy_app_is_told_so():
    """Notes are no reason to worry."""
    assert text([FOUND[0], FOUND[3]])[-1] == "All is well."
    assert text([*FOUND, FOUND[2]])[-1] == "1 error, 2 warnings"
