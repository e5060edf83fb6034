"""The contract fails for those who break it, and by the test that says how."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from mutants import MUTANTS

from flask_llm.testing import ProviderContract

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """Return the names of the tests that fail, by the class that they are in."""
    folder = tmp_path_factory.mktemp("mutants")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    report = folder / "report.xml"
    options = [
        "-q",
        "--tb=line",
        "-c",
        folder / "pytest.ini",
        "--noconftest",
        "--junitxml",
        report,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, SUPPORT / "mutants.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = {f"Test{mutant.__name__}": set() for mutant in MUTANTS}
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            name = case.get("name").partition("[")[0]
            found[case.get("classname").rpartition(".")[2]].add(name)
    return found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_it_is_caught(failed, mutant):
    """By the tests of the promise that it breaks, and by no others."""
    assert failed[f"Test{mutant.__name__}"] == {*mutant.caught_by}


def test_every_test_catches_somebody():
    """A test that nobody can fail promises nothing."""
    tests = {name for name in dir(ProviderContract) if name.startswith("test_")}
    assert {name for mutant in MUTANTS for name in mutant.caught_by} == tests
