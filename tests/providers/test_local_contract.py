"""The local provider, with its real model, keeps the contract of any provider."""

import time

import pytest
from real_time import AT_ONCE_S
from test_local import needs_model

from flask_llm import LLMFactory
from flask_llm.providers.local import LocalProvider
from flask_llm.testing import InProcessContract
from flask_llm.testing.checks import CONFIG


class TestLocal(InProcessContract):
    pytestmark = needs_model
    provider_class = LocalProvider
    prompt = "Say hello in one sentence."
    max_tokens = 8

    @pytest.fixture
    def provider(self):
        return self.provider_class(context=1024)

    def check_deadline(self, provider, prompt, max_tokens):
        """Return the response to a call with a short time, if it is back at once."""
        factory = LLMFactory(provider, [], config=CONFIG)
        started = time.monotonic()
        response = factory.generate_content(prompt, 0.0, max_tokens, deadline=0.2)
        assert time.monotonic() - started < AT_ONCE_S
        return response
