"""Which packages are there. Imports none of them."""

import sys
from functools import cache
from importlib.util import find_spec

@cache
def installed(module: str) -> bool:
    """Return whether a module could be imported, without importing it."""
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
