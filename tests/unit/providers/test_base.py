import pytest

from flask_llm import LLMFactory, LLMProvider
from flask_llm.config.settings import ProviderSettings
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


class Modern(Minimal):
    """A stranger's class with a model, and no `from_config` of its own."""

    default_model = "modern-1"
    options = {"tone": str}  # noqa: RUF012  # never changed

    def __init__(self, api_key, model="modern-0", timeout=1.0, tone="plain"):
        super().__init__(api_key)
        self.made_with = (model, timeout, tone)


def settings(**given):
    return ProviderSettings("modern", "modern", "k-12345678", **given)


def test_what_is_configured_reaches_init_by_name():
    """What is not is left to the defaults of `__init__`."""
    given = settings(model="modern-2", timeout=7.0, options={"tone": "polite"})

    assert Modern.from_config(settings()).made_with == ("modern-0", 30.0, "plain")
    assert Modern.from_config(given).made_with == ("modern-2", 7.0, "polite")


def test_an_init_that_takes_everything_gets_everything():
    """As one that hands its arguments on to a parent."""

    class Passing(Modern):
        def __init__(self, api_key, **more):
            super().__init__(api_key, **more)

    provider = Passing.from_config(settings(model="modern-2"))
    assert provider.made_with == ("modern-2", 30.0, "plain")


@pytest.mark.parametrize("setting", ["model", "base_url"])
def test_nothing_configured_is_dropped(setting):
    """To ask another model, or another server, than the one that is set is a lie."""

    class Deaf(Minimal):
        default_model = "deaf-1"

    config = {"DEAF_API_KEY": "k-12345678"}
    config[f"LLM_DEAF_{setting.upper()}"] = "https://other.example"
    LLMFactory.register_provider("deaf", Deaf)
    status = LLMFactory("deaf", [], config=config).get_provider_status(detail=True)

    assert status["primary"]["reason"] == (
        f"cannot be set up: TypeError: Deaf takes no {setting}, but one is configured"
    )
    assert Deaf.from_config(settings()).api_key == "k-12345678"


def test_a_key_that_is_set_is_passed_on_even_if_none_is_needed():
    """As the documents say of a class with `api_key_names`."""

    class Free(Minimal):
        needs_key = False
        api_key_names = ("FREE_API_KEY",)

        def __init__(self, api_key="none"):
            super().__init__(api_key)

    assert Free.from_config(settings()).api_key == "k-12345678"
    assert Free.from_config(ProviderSettings("free", "free")).api_key == "none"
