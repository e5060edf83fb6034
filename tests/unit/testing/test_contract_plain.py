import pytest
from plain import PlainContract

from flask_llm.testing import FakeProvider, InProcessContract


class TestPlain(PlainContract):
    """A three-method provider that catches everything keeps the contract."""


class TestFake(InProcessContract):
    """So does the provider with a script."""

    @pytest.fixture
    def provider(self):
        return FakeProvider(str.upper)
