import sys

import pytest

from flask_llm.config.parsers import installed


@pytest.mark.parametrize("module", ["json", "xml.dom.pulldom", "sys"])
def test_what_is_there_is_installed(module):
    """Looking is cheap and imports nothing."""
    was_there = module in sys.modules
    assert installed(module)
    assert (module in sys.modules) == was_there


@pytest.mark.parametrize("module", ["no_such_package", "no_such.package", "json.no"])
def test_what_is_not_there_is_not(module):
    """Nor is a module whose parent is missing, or is no package."""
    assert not installed(module)
