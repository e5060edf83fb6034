import subprocess
import sys

import pytest

from flask_llm import testing

BLOCKED = """
import sys
sys.modules["pytest"] = None  # as if it were not installed
from flask_llm.testing import FakeProvider, StubServer, reply
try:
    from flask_llm.testing import ProviderContract
except ImportError as error:
    print(error)
"""


def test_no_other_name_is_there():
    """A typo is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'ProviderContrat'"):
        testing.ProviderContrat  # noqa: B018  # asking is what is tested


def test_without_pytest():
    """The doubles work without pytest; a contract says what to install."""
    code = [sys.executable, "-c", BLOCKED]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout == "ProviderContract needs pytest: pip install pytest\n"
