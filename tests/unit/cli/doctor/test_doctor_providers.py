"""The checks of versions, chain, plug-ins and models."""

from datetime import date, timedelta
from importlib.metadata import EntryPoint, version

import pytest
from wire import python

from flask_llm import LLMFactory
from flask_llm.cli.doctor import CHECKS, CheckContext, Finding, examine
from flask_llm.providers.base import Retirement
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.providers.registry import GROUP
from flask_llm.testing import FakeProvider

KEYS = {"GOOGLE_API_KEY": "AIza-0123456789", "ANTHROPIC_API_KEY": "sk-ant-0123456789"}
TODAY = date(2026, 11, 23)
END = date(2026, 12, 1)
OUTSIDE = "not in the chain"


def test_a_chain_with_keys_is_well(look):
    """Two that can answer need no word but that."""
    assert look("chain", **KEYS) == [
        ("ok", "gemini", "available", ""),
        ("ok", "claude", "available", ""),
    ]


def test_only_one_that_can_answer_is_a_warning(look):
    """The documents: always have a fallback; the key to set is named."""
    advice = "always have a fallback (LLM_FALLBACK_PROVIDERS)"

    assert look("chain", GOOGLE_API_KEY="AIza-0123456789") == [
        ("ok", "gemini", "available", ""),
        ("warning", "claude", "no API key", "set ANTHROPIC_API_KEY"),
        (
            "warning",
            "",
            "only gemini can answer: nobody steps in when it fails",
            advice,
        ),
    ]


def test_nobody_who_can_answer_is_an_error(look):
    """Then no prompt will ever be answered."""
    levels = [level for level, *_ in look("chain")]

    assert levels == ["warning", "warning", "error"]


class Absent(ClaudeProvider):
    """A provider whose SDK nobody has."""

    module = "no_such_sdk"
    distribution = "no-such-sdk"
    requirement = '"Flask-LLM[absent]"'


def test_a_missing_package_comes_with_its_pip_line(look):
    """In the chain it is a warning, outside of it only worth a note."""
    LLMFactory.register_provider("absent", Absent)
    why = "no-such-sdk is not installed"
    pip = 'pip install "Flask-LLM[absent]"'

    found = look("chain", LLM_PRIMARY_PROVIDER="absent", **KEYS)
    assert found[0] == ("warning", "absent", f"{why}: {pip}", "")
    assert ("note", "absent", why, pip) in look(OUTSIDE, **KEYS)


def test_a_malformed_key_of_an_unused_provider_is_told(look):
    """It would keep the app from starting on the day on which it is used."""
    found = look(OUTSIDE, OPENAI_API_KEY="'sk-0123456789'", **KEYS)

    message = "OPENAI_API_KEY stands in quotes; write it without them"
    assert ("warning", "openai", message, "") in found


@pytest.fixture
def broken(monkeypatch):
    entry = EntryPoint("broken", "no_such_module:Provider", GROUP)
    monkeypatch.setitem(LLMFactory.PROVIDER_REGISTRY._entries, "broken", entry)


def test_a_broken_plugin_is_told_by_name(look, broken):
    """An error where the chain counts on it, else a warning."""
    why = (
        "provider plug-in 'broken' cannot be loaded:"
        " ModuleNotFoundError: No module named 'no_such_module'"
    )

    inside = look("chain", LLM_PRIMARY_PROVIDER="broken", **KEYS)
    assert inside[0] == ("error", "broken", why, "")
    outside = look(OUTSIDE, **KEYS)
    assert ("warning", "broken", why, "") in outside


def test_versions_are_those_installed(look):
    """Of Python's packages that matter here, SDKs included."""
    found = {subject: message for _, subject, message, _ in look("versions", **KEYS)}

    for name in ["Flask", "Flask-LLM", "anthropic", "openai", "google-generativeai"]:
        assert found[name] == version(name)


def test_an_sdk_that_is_too_old_is_a_warning(look, tmp_path, monkeypatch):
    """Another package's requirement may have pulled it down."""
    metadata = tmp_path / "anthropic-0.40.1rc1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: anthropic\nVersion: 0.40.1rc1\n")
    monkeypatch.syspath_prepend(tmp_path)

    message = "0.40.1rc1 is older than 2.0, which Flask-LLM needs"
    advice = 'pip install -U "anthropic>=2.0"'
    found = look("versions", **KEYS)
    assert ("warning", "anthropic", message, advice) in found


@pytest.mark.slow
def test_versions_are_found_without_importing_an_sdk():
    """A doctor that takes seconds is not asked."""
    python("""if True:
        import sys
        from datetime import date
        from flask_llm import LLMFactory
        from flask_llm.cli.doctor import CheckContext, examine
        from flask_llm.cli.doctor.app import versions
        found = examine(CheckContext(date.today(), LLMFactory(config={})), [versions])
        assert {"anthropic", "openai"} <= {each.subject for each in found}
        sdks = {"anthropic", "openai", "cohere", "ollama", "google.generativeai",
                "google.genai", "xllamacpp"}
        assert not sdks & set(sys.modules), sdks & set(sys.modules)
    """)


def test_an_ended_sdk_is_a_warning(look):
    """In the provider's own sentence; an empty one means that all is well."""
    fakes = [FakeProvider(name="old"), FakeProvider(name="new")]
    fakes[0].ended, fakes[1].ended = "its support has ended", ""

    found = look("versions", LLM_PRIMARY_PROVIDER=fakes[0], LLM_FALLBACK_PROVIDERS=[])
    assert ("warning", "old", "its support has ended", "") in found
    found = look("versions", LLM_PRIMARY_PROVIDER=fakes[1], LLM_FALLBACK_PROVIDERS=[])
    assert not [each for each in found if each[0] == "warning"]


class Ending(ClaudeProvider):
    """A provider whose SDK knows the end of one model."""

    default_model = "new-2"
    successor = "new-3"

    def retirement(self):
        return Retirement(END, self.successor) if self.model == "old-1" else None


@pytest.fixture
def ending():
    LLMFactory.register_provider("ending", Ending)


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        (-91, "ok", "old-1, which is served until 2026-12-01"),
        (-90, "warning", "old-1 will be retired on 2026-12-01, in 90 days"),
        (-1, "warning", "old-1 will be retired on 2026-12-01, in 1 day"),
        (0, "error", "old-1 was retired on 2026-12-01"),
        (400, "error", "old-1 was retired on 2026-12-01"),
    ],
)
def test_the_end_of_a_model_is_told_in_time(look, ending, days, level, says):
    """Ninety days before, and as an error from the day on which it is switched off."""
    (found,) = look(
        "models",
        END + timedelta(days),
        LLM_PRIMARY_PROVIDER="ending",
        LLM_FALLBACK_PROVIDERS=[],
        LLM_ENDING_MODEL="old-1",
    )

    advice = "" if level == "ok" else "set LLM_ENDING_MODEL to new-3"
    assert found == (level, "ending", says, advice)


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (
            {"LLM_PRIMARY_PROVIDER": "ending:old-1"},
            "write ending:new-3 in LLM_PRIMARY_PROVIDER",
        ),
        (
            {
                "LLM_PRIMARY_PROVIDER": "eu",
                "LLM_PROVIDERS": {"eu": {"provider": "ending", "model": "old-1"}},
            },
            "set LLM_PROVIDERS['eu']['model'] to new-3",
        ),
        ({"LLM_PRIMARY_PROVIDER": Ending(model="old-1")}, "use new-3"),
    ],
    ids=["chain entry", "endpoint", "object"],
)
def test_the_advice_names_the_place_to_change(look, ending, config, advice):
    """Wherever the model is written."""
    (found,) = look("models", END, LLM_FALLBACK_PROVIDERS=[], **config)

    assert found[3] == advice


def test_without_a_successor_the_default_model_is_advised(look, ending, monkeypatch):
    """And if it is that one which ends, the list of models."""
    chain = {"LLM_PRIMARY_PROVIDER": "ending", "LLM_FALLBACK_PROVIDERS": []}
    monkeypatch.setattr(Ending, "successor", None)

    (found,) = look("models", END, **chain, LLM_ENDING_MODEL="old-1")
    assert found[3] == "set LLM_ENDING_MODEL to new-2"
    monkeypatch.setattr(Ending, "default_model", "old-1")
    (found,) = look("models", END, **chain)
    assert found[3] == "choose another one: flask llm models ending"


class Rude(FakeProvider):
    """A stranger's provider that fails in every question it can be asked."""

    model = "rude-1"

    @property
    def ended(self):
        raise RuntimeError("no, with sk-ant-0123456789")

    def retirement(self):
        raise RuntimeError("no")

    def is_available(self):
        raise RuntimeError("no")


def test_a_check_that_fails_is_a_finding(look):
    """The others go on, and nothing of a key is in what it says."""
    chain = look("chain", LLM_PRIMARY_PROVIDER=Rude(name="rude"), **KEYS)

    assert chain[1] == ("ok", "claude", "available", "")
    why = "could not be checked: RuntimeError: no"
    assert [each for each in look.all if each.area == "doctor"] == [
        Finding("warning", "doctor", "rude", f"{why}, with [redacted]"),
        Finding("warning", "doctor", "rude", why),
    ]


def test_every_check_survives_an_app_that_did_not_start():
    """There is no factory then, and no configuration."""
    found = examine(CheckContext(TODAY, error=ValueError("broken")), CHECKS)

    assert not [each for each in found if each.area == "doctor"]
    errors = [each for each in found if each.level == "error"]
    assert [each.message for each in errors] == ["cannot be loaded: ValueError: broken"]


def test_the_sdks_own_tables_are_read(look):
    """Of anthropic, which names no successor, and of openai, which does."""
    found = look(
        "models",
        LLM_PRIMARY_PROVIDER="claude:claude-sonnet-4-0",
        LLM_FALLBACK_PROVIDERS="openai",
        LLM_OPENAI_MODEL="gpt-4",
    )

    claude, openai = found
    default = ClaudeProvider.default_model
    assert claude[0] == openai[0] == "error"
    assert claude[3] == f"write claude:{default} in LLM_PRIMARY_PROVIDER"
    assert openai[3].startswith("set LLM_OPENAI_MODEL to gpt-")


@pytest.mark.parametrize("key", ["your_claude_key", "YOUR-ANTHROPIC-API-KEY"])
def test_a_placeholder_is_no_key(look, key):
    """The README's lines, copied as they are."""
    config = KEYS | {"ANTHROPIC_API_KEY": key, "OPENAI_API_KEY": "your_openai_key"}
    advice = "put a key of your own there"

    message = "ANTHROPIC_API_KEY still holds the placeholder"
    assert ("warning", "claude", message, advice) in look("chain", **config)
    message = "OPENAI_API_KEY still holds the placeholder"
    assert ("warning", "openai", message, advice) in look(OUTSIDE, **config)


def test_a_placeholder_is_told_once(look):
    """gemini, in the chain, and genai, outside of it, have the same key."""
    look("chain", GOOGLE_API_KEY="your_gemini_key")

    told = [each.subject for each in look.all if "placeholder" in each.message]
    assert told == ["gemini"]


def test_the_keys_of_endpoints_outside_of_the_chain_are_secrets():
    """Also one under a name that does not look like a key's."""
    facts = {"needs_key": True, "api_key_names": ("FAKE_CODE",)}
    LLMFactory.register_provider("coded", type("Coded", (FakeProvider,), facts))
    config = {"FAKE_CODE": "0123456789", "LLM_PROVIDERS": {"x": {"provider": "coded"}}}

    subject = CheckContext(TODAY, LLMFactory(config=config), config)
    assert "0123456789" in subject.secrets()


def test_endpoints_outside_of_the_chain_are_looked_at(look, ending, broken):
    """What they lack, and when their models end."""
    endpoints = {
        "fine": {"provider": "claude"},
        "alone": {"provider": "claude", "base_url": "https://gateway.example"},
        "sample": {"provider": "claude", "api_key": "your_claude_key"},
        "old": {"provider": "ending", "model": "old-1"},
        "odd": {"provider": "broken"},
    }

    found = look(OUTSIDE, END, LLM_PROVIDERS=endpoints, **KEYS)
    told = {subject: (level, message) for level, subject, message, _ in found}
    assert "fine" not in told
    assert told["alone"] == ("note", "no API key")
    assert told["sample"][0] == "warning"
    assert told["odd"][0] == "warning"
    assert "cannot be loaded" in told["odd"][1]
    ends = look("models", END, LLM_PROVIDERS=endpoints, **KEYS)
    advice = "set LLM_PROVIDERS['old']['model'] to new-3"
    message = "old-1 was retired on 2026-12-01"
    assert ("error", "old", message, advice) in ends


def test_a_stranger_who_fails_outside_of_the_chain_hides_nobody(look):
    """The providers after it are still looked at."""

    class Failing(FakeProvider):
        @classmethod
        def takes_key(cls):
            raise RuntimeError("no")

    LLMFactory.register_provider("a-first", Failing)
    found = look(OUTSIDE, OPENAI_API_KEY="your_openai_key", **KEYS)

    assert "openai" in [subject for _, subject, *_ in found]
    why = "could not be checked: RuntimeError: no"
    assert Finding("warning", "doctor", "a-first", why) in look.all


def test_nobody_is_advised_to_install_an_ended_sdk(look, monkeypatch):
    """Of Google's two packages the maintained one is advised, under genai."""
    monkeypatch.setattr("flask_llm.cli.doctor.providers.installed", lambda _: False)
    chain = {"LLM_PRIMARY_PROVIDER": "claude", "LLM_FALLBACK_PROVIDERS": []}

    advised = {subject: advice for _, subject, _, advice in look(OUTSIDE, **chain)}
    assert "gemini" not in advised
    assert advised["genai"] == 'pip install "Flask-LLM[google-genai]"'
