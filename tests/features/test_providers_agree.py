"""A new provider is written in several places; this is where a forgotten one shows."""

import re
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

from flask_llm import LLMFactory
from flask_llm.testing import InProcessContract, ProviderContract

ROOT = Path(__file__).parents[2]
REGISTRY = LLMFactory.PROVIDER_REGISTRY
OURS = [name for name in REGISTRY if REGISTRY[name].__module__.startswith("flask_llm.")]


def requirements():
    """Return the distributions that each extra installs; those of "" always are."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = {"": setup["options"]["install_requires"]}
    lists |= setup["options.extras_require"]
    return {
        extra: {re.split("[<>=~!;]", line)[0].strip() for line in lines.split("\n")}
        for extra, lines in lists.items()
    }


@pytest.fixture
def under_contract(monkeypatch):
    """Return the provider classes of which a class of tests makes sure."""
    folder = ROOT / "tests" / "providers"
    monkeypatch.syspath_prepend(folder)
    modules = [import_module(path.stem) for path in folder.glob("test_*.py")]
    return {
        _own(each.provider_class)
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type)
        and each.__name__.startswith("Test")
        and issubclass(each, ProviderContract | InProcessContract)
    }


def _own(provider_class):
    """Return the class of the package that a test's own class builds on."""
    return next(each for each in provider_class.__mro__ if _is_ours(each))


def _is_ours(provider_class):
    return provider_class.__module__.startswith("flask_llm.")


def test_there_are_some():
    """The providers of the documents, at the least."""
    assert {*OURS} >= {"gemini", "claude", "openai", "cohere", "ollama", "vertex"}


@pytest.mark.parametrize("name", OURS)
def test_its_sdk_is_installed_by_what_it_says(name):
    """Its pip line names an extra that holds the SDK, or the SDK is always there."""
    provider_class = REGISTRY[name]
    extra = re.search(r"\[([\w-]+)\]", provider_class.requirement)
    assert provider_class.distribution in requirements()[extra[1] if extra else ""]


@pytest.mark.parametrize("name", OURS)
def test_it_is_in_the_example_of_an_environment(name):
    """A section of .env.example has its name."""
    example = (ROOT / ".env.example").read_text()
    assert re.search(rf"^# --- {name}\b", example, re.MULTILINE)


@pytest.mark.parametrize("name", OURS)
def test_it_is_documented(name):
    """A section of docs/providers.rst has its name."""
    pages = (ROOT / "docs" / "providers.rst").read_text()
    assert re.search(rf"^{name}\n-+$", pages, re.MULTILINE)


@pytest.mark.parametrize("name", OURS)
def test_it_is_under_contract(under_contract, name):
    """A class of tests makes it keep what every provider owes."""
    assert REGISTRY[name] in under_contract
