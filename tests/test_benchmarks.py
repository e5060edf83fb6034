"""The benchmarks run, whatever their figures are here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.report import BEGIN, END, PAGE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def test_quick():
    """A quick run prints a row for every case; the page has room for the table."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        env=os.environ | {"LLM_PRIMARY_PROVIDER": "nobody"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if " | " in line]
    assert [first.removeprefix("| ") for first, *_ in rows[1:]] == [
        case.measure for case in CASES
    ]
    assert all(figure for _, figure, *_ in rows)
    assert done.stderr == ""
    text = PAGE.read_text()
    assert text.index(BEGIN) < text.index(END)
