"""Private parts of the SDKs: each is there today, and one that goes is told of."""

import logging
from datetime import date
from importlib import import_module
from types import SimpleNamespace

import pytest
import wire

from flask_llm import LLMFactory
from flask_llm.cli.doctor import CheckContext, examine
from flask_llm.cli.doctor.app import parts
from flask_llm.providers import internals
from flask_llm.providers import model_lifecycle as retired
from flask_llm.providers.transport import cancellable

WHY = "something does not work"

OLD = 'import os\n\nDEPRECATED_MODELS = {\n    "m-1": "June 1st, 2027",\n}\n'
NEW = 'DEPRECATED_MODELS: Dict[str, str] = {\n    "m-1": "June 1st, 2027",\n}\n'


@pytest.fixture(autouse=True)
def missing(monkeypatch):
    """Let a test look for parts in vain."""
    monkeypatch.setattr(internals, "_missing", found := {})
    yield found
    found.clear()  # before all that is missing after a test fails it


class TestPart:
    """What one does who wants a private part."""

    def test_that_is_there(self, missing):
        """It is handed out, or replaced, and nothing is said."""
        owner = SimpleNamespace(_part=None)
        assert internals.get(owner, "_part", WHY) is None
        internals.replace(owner, "_part", 2, WHY)
        assert owner._part == 2
        assert not missing

    def test_that_is_gone(self, missing, caplog):
        """Nothing is made up in its place; the log says it once."""
        owner = SimpleNamespace()
        for _ in range(2):
            assert internals.get(owner, "_part", WHY) is None
            internals.replace(owner, "_part", 2, WHY)
        assert not vars(owner)
        part = "types.SimpleNamespace._part"
        assert missing == {part: WHY}
        said = f"{part} is gone from the installed package: {WHY}"
        assert caplog.record_tuples == [("flask_llm", logging.WARNING, said)]

    def test_the_doctor_tells_of_it(self):
        """Once, although it looks twice when it has asked the providers."""
        internals.report("sdk.Client._part", WHY)
        subject = CheckContext(date(2026, 11, 30), LLMFactory(config={}))
        (found,) = examine(subject, [parts, parts])
        assert (found.level, found.subject) == ("warning", "sdk.Client._part")
        assert found.message == f"gone from the installed package: {WHY}"
        assert "update Flask-LLM" in found.advice

    @pytest.mark.parametrize("library", ["httpx", "httpx2"])
    def test_a_client_without_sockets(self, library, missing):
        """A transport of another kind is left as it is, and answers."""
        httpx = import_module(library)
        transport = httpx.MockTransport(lambda _: httpx.Response(200))
        with cancellable(httpx.Client(transport=transport)) as client:
            assert client.get("http://x").status_code == 200
        assert [part.rpartition(".")[2] for part in missing] == ["_pool"]


class TestEndedModels:
    """The tables of the SDKs, read from files that a release may move."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """Return a way to lay a file into an SDK; its tables are read anew."""

        def lay(name, file="__init__.py", text=""):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def find(name):
            folders = [str(tmp_path / name)] if (tmp_path / name).is_dir() else []
            return SimpleNamespace(submodule_search_locations=folders)

        monkeypatch.setattr(retired, "find_spec", find)
        for table in (retired.anthropic_ends, retired.openai_ends):
            monkeypatch.setattr(retired, table.__name__, table.__wrapped__)
        return lay

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("resources/messages/messages.py", OLD),
            ("_data/deprecated_models.py", NEW),
        ],
    )
    def test_places(self, package, file, text, missing):
        """It is found where versions until 2.13 have it, and where 2.14 has it."""
        package("anthropic", file, text)
        ends = retired.anthropic_ends()
        assert ends["m-1"] == date(2027, 6, 1)
        assert ends["claude-2.1"] == date(2025, 7, 21)
        assert not missing

    @pytest.mark.parametrize(
        "text",
        ["", "DEPRECATED_MODELS = {\n  1: 2\n}", NEW.replace("June 1st", "soon")],
    )
    def test_no_table(self, package, text, missing):
        """An SDK that is installed and yields none is told of by its name."""
        package("anthropic", "_data/deprecated_models.py", text)
        package("openai", "types/shared/chat_model.py", text)
        assert set(retired.anthropic_ends()) == set(retired._ENDED_BEFORE)
        assert retired.openai_ends() == {}
        assert list(missing) == [
            "anthropic's table of ended models",
            "openai's table of ended models",
        ]

    def test_no_sdk(self, package, missing):
        """One that is not installed has nothing to tell."""
        assert retired.openai_ends() == {}
        assert not missing

    def test_the_installed_ones(self, missing):
        """Each has a table today; without importing an SDK, which takes a second."""
        code = """if True:
            import sys
            from flask_llm.providers.claude import ClaudeProvider
            from flask_llm.providers.openai import OpenAIProvider
            print(OpenAIProvider(model="o3").retirement().on)
            print(ClaudeProvider(model="claude-2.1").retirement().on)
            print({"anthropic", "openai"} & set(sys.modules))
        """
        assert wire.python(code) == "2026-12-11\n2025-07-21\nset()\n"
        assert len(retired.openai_ends()) > 20
        files, read = retired._ANTHROPIC_FILES, retired._anthropic_table
        table = retired._table("anthropic", files, read)
        assert table
        assert retired.anthropic_ends().keys() >= {*table, *retired._ENDED_BEFORE}
        assert not missing
