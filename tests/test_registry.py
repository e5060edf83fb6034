import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from flask_llm import LLMFactory, LLMProvider
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.registry import GROUP, Registry
from flask_llm.testing import FakeProvider

REGISTRY = LLMFactory.PROVIDER_REGISTRY


def test_built_ins_enter_by_the_entry_point():
    """The providers of this package use the door that is open to plug-ins."""
    assert list(REGISTRY) == ["claude", "gemini", "local"]
    assert REGISTRY["claude"] is ClaudeProvider
    assert len(REGISTRY) == 3


def test_looking_up_a_name_imports_no_sdk():
    """The classes are cheap; their SDKs wait for the first call."""
    code = """if True:
        import sys
        from flask_llm import LLMFactory
        assert "flask_llm.providers.claude" not in sys.modules
        [LLMFactory.PROVIDER_REGISTRY[name] for name in LLMFactory.PROVIDER_REGISTRY]
        sdks = {"anthropic", "google.generativeai", "grpc", "xllamacpp"}
        assert not sdks & set(sys.modules), sdks & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_register_provider_makes_a_name_known():
    """The documented way, on the class or on a factory."""
    LLMFactory.register_provider("mine", FakeProvider)

    assert REGISTRY["mine"] is FakeProvider
    assert LLMFactory("mine", []).generate_content("hi").content == "ok"


@pytest.mark.parametrize("wrong", [object, int, FakeProvider(), "claude", None])
def test_only_providers_can_be_registered(wrong):
    """The documented ValueError, word for word, for whatever else is handed in."""
    with pytest.raises(ValueError, match=r"^Must inherit from LLMProvider$"):
        LLMFactory.register_provider("wrong", wrong)
    assert "wrong" not in REGISTRY


def test_an_incomplete_provider_is_refused_by_the_missing_method():
    """Better at registration than at the first call."""

    class Half(LLMProvider):
        def get_provider_name(self):
            return "half"

    with pytest.raises(
        ValueError, match=r"^Half must define generate_content, is_available$"
    ):
        LLMFactory.register_provider("half", Half)


@pytest.mark.parametrize("name", ["a:b", "a,b", "Foo Bar", ""])
def test_a_name_must_fit_into_the_configuration(name):
    """A colon, a comma or a space mean something else there."""
    with pytest.raises(ValueError, match="is no name"):
        LLMFactory.register_provider(name, FakeProvider)


def test_an_entry_point_must_name_a_provider():
    """A plug-in that offers something else is refused when it is asked for."""
    registry = Registry()
    registry._entries = {"odd": EntryPoint("odd", "json:loads", GROUP)}

    with pytest.raises(ValueError, match="Must inherit from LLMProvider"):
        registry["odd"]


def test_a_name_can_be_taken_back():
    """It is a mapping like any other."""
    REGISTRY["mine"] = FakeProvider
    del REGISTRY["mine"]

    assert "mine" not in REGISTRY
    assert issubclass(REGISTRY["gemini"], LLMProvider)
