"""The static files of the dashboard's pages."""

import hashlib
import re
from pathlib import Path

import flask_llm.web

STATIC = Path(flask_llm.web.__file__).parent / "static"


def test_the_vendored_files_are_the_published_ones():
    """Nobody has changed them; the note beside them tells their hashes."""
    folder = STATIC / "vendor"
    told = dict(
        re.findall(r"`(uPlot\S+)` \| `(\w{64})`", (folder / "README.md").read_text())
    )
    found = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in folder.iterdir()
        if each.name != "README.md"
    }
    assert found == told
    assert "(v1.6.32)" in (folder / "uPlot.iife.min.js").read_text()


def test_our_scripts_write_no_markup():
    """They set texts only, so that no text can become an element."""
    for script in STATIC.glob("*.js"):
        text = script.read_text()
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text
        )
