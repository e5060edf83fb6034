"""The local provider, with its real model, keeps the contract of any provider."""

import pytest
from test_local import needs_model

from flask_llm.providers.local import LocalProvider
from flask_llm.testing import InProcessContract


class TestLocal(InProcessContract):
    pytestmark = needs_model
    provider_class = LocalProvider
    prompt = "Say hello in one sentence."
    max_tokens = 8

    @pytest.fixture
    def provider(self):
        return self.provider_class(context=1024)
