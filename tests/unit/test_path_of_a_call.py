"""How much of the package one call and one start go through.

A newcomer reads that much to follow it. The bounds are those of the house: whoever
needs more says why.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "entered.py"


@pytest.fixture(scope="module")
def entered():
    """What a process of its own enters, where no other test listens."""
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_a_call(entered):
    """Claude's, the second one of a process, all settings at their defaults."""
    files = {file for file, _ in entered["call"]}
    named = [name for _, name in entered["call"] if not name.endswith(">")]

    assert len(files) <= 22, sorted(files)
    assert len(named) <= 100, named
    # What guards each call stays in its way.
    kept = {"clock", "bulkhead", "deadline", "storage/base"}
    assert {f"resilience/{each}.py" for each in kept} <= files


def test_a_start(entered):
    """`init_app` with two providers."""
    files = {file for file, _ in entered["start"]}

    assert len(files) <= 24, sorted(files)
