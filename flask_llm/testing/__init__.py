"""For tests: of an app, a provider with a script; of a provider, its contract.

The contracts need pytest (`pip install pytest`), and are imported when asked for.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .fakes import Delay, FakeProvider, Step, fake
from .server import Received, StubServer, reply

if TYPE_CHECKING:
    from .contract import InProcessContract, ProviderContract

__all__ = [
    "Delay",
    "FakeProvider",
    "InProcessContract",
    "ProviderContract",
    "Received",
    "Step",
    "StubServer",
    "fake",
    "reply",
]

_CONTRACTS = {"InProcessContract", "ProviderContract"}

# Modules whose assertions pytest explains, if it knows of them before their import.
_TESTS = ("checks", "failure_checks", "contract")


def __getattr__(name: str) -> Any:
    """Import a contract when it is first asked for.

    Raises:
        AttributeError: There is no such name.
        ImportError: pytest is not installed.
    """
    if name not in _CONTRACTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ModuleNotFoundError:
        # Not as its subclass, which says that this module is missing.
        raise ImportError(f"{name} needs pytest: pip install pytest") from None
    modules = (f"{__name__}.{module}" for module in _TESTS)
    pytest.register_assert_rewrite(*(m for m in modules if m not in sys.modules))
    return getattr(import_module(f"{__name__}.contract"), name)
