import pytest

from flask_llm import LLMProvider
from flask_llm.config import ProviderSettings
from flask_llm.errors import QuotaError
from flask_llm.providers.base import explained
from flask_llm.testing import FakeProvider
from flask_llm.types import Request


class Minimal(LLMProvider):
    def __init__(self, api_key):
        self.api_key = api_key

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        raise RuntimeError("429")

    def get_provider_name(self):
        return "minimal"

    def is_available(self):
        return False


def test_the_contract_is_three_methods():
    """A subclass with these three is complete, and nothing less is."""
    assert LLMProvider.__abstractmethods__ == {
        "generate_content",
        "get_provider_name",
        "is_available",
    }
    with pytest.raises(TypeError, match="abstract"):
        LLMProvider()


def test_the_rest_has_defaults():
    """Made from its key, explained by its words, and simply not available."""
    provider = Minimal.from_config(ProviderSettings("minimal", "minimal", "k-12345678"))

    assert provider.api_key == "k-12345678"
    assert provider.unavailable_reason() == "not available"
    assert isinstance(provider.explain(RuntimeError("429")), QuotaError)


def test_an_attempt_is_a_call_of_generate_content():
    """A stranger's provider minds no time, and is asked in the documented way."""
    fake = FakeProvider("hi")

    assert fake.answer(Request("hello", 0.5, 7, timeout=3.0)).content == "hi"
    assert fake.calls == [Request("hello", 0.5, 7)]


def test_a_stranger_s_provider_needs_no_warming_up():
    """Nothing is done ahead, and any number of calls may be under way."""
    provider = Minimal("k-12345678")

    provider.warm_up(full=False)
    provider.warm_up(full=True)
    assert provider.max_concurrency is None


def test_explained_survives_a_failing_hook():
    """What a server sent may trip a provider's own `explain`."""
    fake = FakeProvider()
    fake.explain = lambda exc: 1 / 0

    assert explained(fake, RuntimeError("429")).kind == "quota"
