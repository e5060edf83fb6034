import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from flask_llm import LLMFactory, LLMProvider
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.providers.registry import GROUP, PluginError, Registry
from flask_llm.testing import FakeProvider

REGISTRY = LLMFactory.PROVIDER_REGISTRY


def test_built_ins_enter_by_the_entry_point():
    """The providers of this package use the door that is open to plug-ins."""
    names = {"claude", "gemini", "genai", "vertex", "openai", "cohere", "ollama"}
    assert list(REGISTRY) == sorted({*names, "local"})
    assert REGISTRY["claude"] is ClaudeProvider
    assert len(REGISTRY) == 8


def test_looking_up_a_name_imports_no_sdk():
    """The classes are cheap; their SDKs wait for the first call."""
    code = """if True:
        import sys
        from flask_llm import LLMFactory
        assert "flask_llm.providers.claude" not in sys.modules
        [LLMFactory.PROVIDER_REGISTRY[name] for name in LLMFactory.PROVIDER_REGISTRY]
        sdks = {"anthropic", "google.generativeai", "google.genai", "grpc", "xllamacpp",
                "openai", "cohere", "ollama", "httpx", "httpx2", "requests"}
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


@pytest.mark.parametrize(
    ("fact", "value", "wanted"),
    [
        ("options", [], "a dict of parsers by argument name"),
        ("options", {"tone": "plain"}, "a dict of parsers by argument name"),
        ("options", {1: int}, "a dict of parsers by argument name"),
        ("api_key_names", "MINE_API_KEY", "a tuple of configuration keys"),
        ("api_key_names", (None,), "a tuple of configuration keys"),
        ("api_key_names", None, "a tuple of configuration keys"),
        ("max_concurrency", 0, "None, or 1 or more"),
        ("max_concurrency", True, "None, or 1 or more"),
        ("max_concurrency", 1.5, "None, or 1 or more"),
        ("default_timeout", 0, "None, or seconds, more than 0"),
        ("default_timeout", "10", "None, or seconds, more than 0"),
        ("default_timeout", float("inf"), "None, or seconds, more than 0"),
        ("default_timeout", float("nan"), "None, or seconds, more than 0"),
        ("default_model", 4, "None or a text"),
    ],
)
def test_a_wrong_fact_of_a_class_is_refused(fact, value, wanted):
    """At registration, by its name, rather than as a riddle when an app starts."""
    wrong = type("Wrong", (FakeProvider,), {fact: value})

    with pytest.raises(ValueError, match=rf"^Wrong\.{fact} must be {wanted}$"):
        LLMFactory.register_provider("wrong", wrong)


def test_right_facts_of_a_class_are_taken():
    """A list of keys will do, and whole seconds."""
    facts = {"api_key_names": ["K"], "default_timeout": 9, "max_concurrency": 1}
    LLMFactory.register_provider("right", type("Right", (FakeProvider,), facts))

    assert "right" in REGISTRY


@pytest.mark.parametrize("name", ["a:b", "a,b", "Foo Bar", ""])
def test_a_name_must_fit_into_the_configuration(name):
    """A colon, a comma or a space mean something else there."""
    with pytest.raises(ValueError, match="is no name"):
        LLMFactory.register_provider(name, FakeProvider)


def test_an_entry_point_must_name_a_provider():
    """A plug-in that offers something else is refused when it is asked for."""
    registry = Registry()
    registry._entries = {"odd": EntryPoint("odd", "json:loads", GROUP)}

    with pytest.raises(PluginError) as caught:
        registry["odd"]
    assert str(caught.value) == (
        "provider plug-in 'odd' cannot be loaded:"
        " ValueError: Must inherit from LLMProvider"
    )


PLUGIN = """
from flask_llm import LLMProvider, LLMResponse

class Parrot(LLMProvider):
    needs_key = False

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        return LLMResponse(True, prompt, "parrot")

    def get_provider_name(self):
        return "parrot"

    def is_available(self):
        return True
"""

APP = """
import logging
from flask import Flask
from flask_llm import FlaskLLM

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
app = Flask("app")
app.config["LLM_PRIMARY_PROVIDER"] = "broken"
app.config["LLM_FALLBACK_PROVIDERS"] = "parrot"
FlaskLLM(app)
response = app.llm.generate_content("hello")
print(response.provider_name, response.content)
print(type(app.llm.PROVIDER_REGISTRY["claude"]).__name__)
print(app.llm.PROVIDER_REGISTRY["claude"].__module__)
print("bad name" in app.llm.PROVIDER_REGISTRY)
print(len(app.llm.notices), app.llm.notices == (*app.llm.PROVIDER_REGISTRY.left_out,))
"""


def install(folder, name, module, *points):
    """Lay a distribution down as pip would; its entry points are "name = module:X"."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points]))
    if module:
        (folder / f"{name.replace('-', '_')}.py").write_text(module)


def test_plug_ins_of_strangers(tmp_path, monkeypatch):
    """One that works is a provider; a broken one is told by name and stops nothing."""
    install(
        tmp_path,
        "parrot-llm",
        PLUGIN,
        "parrot = parrot_llm:Parrot",
        "claude = parrot_llm:Parrot",
        "Claude = parrot_llm:Parrot",
        "bad name = parrot_llm:Parrot",
    )
    install(tmp_path, "broken-llm", "exit('no')", "broken = broken_llm:Any")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LLM_DASHBOARD", "off")  # else a line says that it is closed
    done = subprocess.run(
        [sys.executable, "-c", APP], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == [
        *("parrot", "hello"),
        *("ABCMeta", "flask_llm.providers.claude"),
        "False",
        *("3", "True"),
    ]
    why = "provider plug-in 'broken' of broken-llm cannot be loaded: SystemExit: no"
    assert done.stderr.splitlines() == [
        (
            "WARNING provider plug-in 'claude' of parrot-llm is left out:"
            " provider plug-in 'claude' of Flask-LLM has the name"
        ),
        (
            "WARNING provider plug-in 'Claude' of parrot-llm is left out:"
            " provider plug-in 'claude' of Flask-LLM has the name"
        ),
        (
            "WARNING provider plug-in 'bad name' of parrot-llm is left out:"
            " use letters, digits, - _ and ."
        ),
        f"ERROR {why}",
        f"WARNING broken skipped: {why}",
    ]


def test_a_name_can_be_taken_back():
    """It is a mapping like any other."""
    REGISTRY["mine"] = FakeProvider
    del REGISTRY["mine"]

    assert "mine" not in REGISTRY
    assert issubclass(REGISTRY["gemini"], LLMProvider)
