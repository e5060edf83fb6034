from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from flask_llm import LLMFactory, LLMProvider, LLMResponse
from flask_llm.config.reader import Reader
from flask_llm.config.settings import LLMConfig
from flask_llm.errors import ConfigurationError, QuotaError
from flask_llm.fallback.builder import ChainBuilder
from flask_llm.providers.registry import GROUP
from flask_llm.testing import FakeProvider

REGISTRY = LLMFactory.PROVIDER_REGISTRY
KNOWN = "claude, cohere, gemini, genai, local, ollama, openai, vertex"


class Minimal(LLMProvider):
    """The three-method contract, as a stranger would write it."""

    def __init__(self, api_key):
        self.api_key = api_key

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        return LLMResponse(True, "hi", "minimal")

    def get_provider_name(self):
        return "minimal"

    def is_available(self):
        return bool(self.api_key)


def build(primary, *fallbacks, **mapping):
    """Return the entries and the faults."""
    reader = Reader(mapping)
    written = [("LLM_PRIMARY_PROVIDER", primary)]
    written += [("LLM_FALLBACK_PROVIDERS", each) for each in fallbacks]
    builder = ChainBuilder(reader, LLMConfig(), REGISTRY)
    return builder.chain(written), reader.faults


def test_entries_keep_their_order_and_their_names():
    """The entry as written is its name."""
    entries, faults = build("gemini", "claude:claude-haiku-5-5", "local")

    assert [each.name for each in entries] == [
        "gemini",
        "claude:claude-haiku-5-5",
        "local",
    ]
    assert faults == []


def test_an_entry_written_twice_is_one_link():
    """The default fallback may be the chosen primary."""
    entries, _ = build("claude", "claude", "claude:claude-haiku-5-5", "gemini")

    assert [each.name for each in entries] == [
        "claude",
        "claude:claude-haiku-5-5",
        "gemini",
    ]


def test_an_object_is_a_link_under_its_own_name():
    """Tests hand in a `FakeProvider` where a name would stand."""
    fake = FakeProvider(name="mine")
    ((entry,), _) = build(fake)

    assert entry.name == "mine"
    assert entry.provider is fake


def test_objects_of_one_name_are_told_apart():
    """Two objects are two links under two names; one object twice is one."""
    first, second = FakeProvider(), FakeProvider()
    entries, _ = build(first, second, first, FakeProvider())

    assert [each.name for each in entries] == ["fake", "fake-2", "fake-3"]
    assert entries[1].provider is second


def test_an_object_need_not_be_hashable_nor_have_a_dict():
    """A dataclass with slots is a provider like any other."""

    @dataclass(slots=True)
    class Slotted(Minimal):
        api_key: str

    entries, faults = build(Slotted("k-1"), Slotted("k-1"))

    assert [each.name for each in entries] == ["minimal", "minimal-2"]
    assert faults == []
    assert entries[0].secrets == ("k-1",)
    assert build({"a": 1})[1] == [
        "LLM_PRIMARY_PROVIDER must be a provider's name, not dict"
    ]


def test_the_app_s_key_comes_before_the_environment_s(monkeypatch):
    """Also where a provider has two names for its key."""
    monkeypatch.setenv("GOOGLE_API_KEY", "k-of-the-shell")
    ((entry,), _) = build("gemini", GEMINI_API_KEY="k-of-the-app")

    assert entry.settings.api_key == "k-of-the-app"


def test_a_key_in_the_wrong_place_is_not_shown():
    """Somebody will put a key where the provider's name belongs."""
    _, (fault,) = build("sk-0123456789abcdef0123456789")

    assert "names no known provider: 'sk-0123456789ab…" in fault
    assert "cdef" not in fault


def test_settings_are_read_for_each_provider():
    """Key, model, address and timeout come from the provider's own keys."""
    ((entry,), faults) = build(
        "claude",
        ANTHROPIC_API_KEY=" sk-1\n",
        LLM_CLAUDE_MODEL="claude-haiku-5-5",
        LLM_CLAUDE_BASE_URL="http://127.0.0.1:1/",
        LLM_CLAUDE_TIMEOUT="7",
    )

    assert faults == []
    assert entry.settings.api_key == "sk-1"
    provider = entry.provider
    assert (provider.model, provider.base_url, provider.timeout) == (
        "claude-haiku-5-5",
        "http://127.0.0.1:1",
        7.0,
    )


def test_the_model_of_the_entry_wins():
    """`claude:x` is x, whatever LLM_CLAUDE_MODEL says of plain `claude`."""
    entries, _ = build("claude", "claude:x", LLM_CLAUDE_MODEL="y")

    assert [each.provider.model for each in entries] == ["y", "x"]


def test_the_key_to_change_for_another_model_is_where_it_is_written():
    """Advice must name the place in which the model stands."""
    entries, _ = build("gemini:a", "claude:b", "claude")

    assert [each.settings.model_key for each in entries] == [
        "LLM_PRIMARY_PROVIDER",
        "LLM_FALLBACK_PROVIDERS",
        "LLM_CLAUDE_MODEL",
    ]


def test_gemini_takes_either_key():
    """GEMINI_API_KEY serves where GOOGLE_API_KEY is not set."""
    ((entry,), _) = build("gemini", GEMINI_API_KEY="sk-2")
    ((both,), _) = build("gemini", GEMINI_API_KEY="sk-2", GOOGLE_API_KEY="sk-1")

    assert (entry.settings.api_key, both.settings.api_key) == ("sk-2", "sk-1")


def test_timeouts_default_to_the_general_one_or_the_provider_s():
    """LLM_TIMEOUT is for the network; a model in the process is slower."""
    entries, _ = build("claude", "local")

    assert [each.settings.timeout for each in entries] == [30.0, 120.0]


def test_own_settings_of_a_provider_reach_its_init():
    """What a class lists in `options` is read from LLM_<PROVIDER>_<OPTION>."""
    ((entry,), faults) = build("local", LLM_LOCAL_CONTEXT="512")

    assert faults == []
    assert entry.provider.context == 512


@pytest.mark.parametrize(
    ("entries", "mapping", "fault"),
    [
        (
            ("cluade",),
            {},
            (
                "LLM_PRIMARY_PROVIDER names no known provider: 'cluade'; did you mean"
                f" 'claude'? (known: {KNOWN}; register your own before)"
            ),
        ),
        (
            ("gemini", "x"),
            {},
            (
                "LLM_FALLBACK_PROVIDERS names no known provider: 'x'"
                f" (known: {KNOWN}; register your own before)"
            ),
        ),
        (
            ("gemini;claude",),
            {},
            (
                "LLM_PRIMARY_PROVIDER must be names separated by commas, not"
                " 'gemini;claude'"
            ),
        ),
        (
            ("claude",),
            {"ANTHROPIC_API_KEY": '"sk-1"'},
            "ANTHROPIC_API_KEY stands in quotes; write it without them",
        ),
        ((7,), {}, "LLM_PRIMARY_PROVIDER must be a provider's name, not int"),
        (
            ("claude",),
            {"ANTHROPIC_API_KEY": "sk 1"},
            "ANTHROPIC_API_KEY holds a space, a line break or a non-ASCII character",
        ),
        (
            ("claude",),
            {"LLM_CLAUDE_TIMEOUT": "x"},
            "LLM_CLAUDE_TIMEOUT must be seconds, from more than 0 to 86400, not 'x'",
        ),
        (
            ("local",),
            {"LLM_LOCAL_CONTEXT": 10},
            "LLM_LOCAL_CONTEXT must be 256 or more, not 10",
        ),
    ],
)
def test_faults_are_told(entries, mapping, fault):
    """Whatever is wrong with a provider is known at start."""
    assert build(*entries, **mapping)[1] == [fault]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("anthropic", "; did you mean 'claude'? (known"),
        ("Google", "; did you mean 'gemini'? (known"),
        ("google-genai", "; did you mean 'genai'? (known"),
        ("vertexai", "; did you mean 'vertex'? (known"),
        ("OpenAI", "; did you mean 'openai'? (known"),
        ("gpt-4o", "; a model? write openai:gpt-4o (known"),
        ("claude-sonnet-5-5", "; a model? write claude:claude-sonnet-5-5 (known"),
        ("gemini-3", "; a model? write gemini:gemini-3 (known"),
        ("command-r", "; a model? write cohere:command-r (known"),
        ("mistral", "'mistral' (known"),
    ],
)
def test_what_a_wrong_name_may_mean(name, hint):
    """The maker's name, the package's and a model's are natural mistakes."""
    _, (fault,) = build(name)

    assert "names no known provider" in fault
    assert hint in fault


def test_a_name_like_an_endpoint_s_is_taken_for_it_first():
    """claude-eu is less likely a model than a slip of the pen."""
    with pytest.raises(ValueError, match="did you mean 'claude-us'"):
        LLMFactory(
            "claude-eu",
            [],
            config={"LLM_PROVIDERS": {"claude-us": {"provider": "claude"}}},
        )


@pytest.mark.parametrize("written", ["openai, cohere", "ollama:llama3.2,openai"])
def test_the_primary_provider_is_one(written):
    """Whoever writes the whole chain there is told where the rest goes."""
    fault = "names one provider; the others go into LLM_FALLBACK_PROVIDERS"

    with pytest.raises(ValueError, match=f"LLM_PRIMARY_PROVIDER {fault}"):
        LLMFactory(config={"LLM_PRIMARY_PROVIDER": written})
    with pytest.raises(ValueError, match=f"primary_provider {fault}"):
        LLMFactory(written, config={})


def test_a_fault_is_told_once():
    """Though two links of one provider read the same setting."""
    with pytest.raises(ConfigurationError) as caught:
        LLMFactory("claude", ["claude:x"], config={"LLM_CLAUDE_TIMEOUT": "soon"})
    assert len(caught.value.faults) == 1


class Toned(Minimal):
    """A provider without a model, with a setting of its own."""

    options = {"tone": str}  # noqa: RUF012  # never changed

    def __init__(self, api_key, tone="plain"):
        super().__init__(api_key)
        self.tone = tone


def test_a_provider_without_models_has_options_too():
    """They reach its `__init__` by name."""
    REGISTRY["toned"] = Toned
    config = {"LLM_TONED_TONE": "polite", "TONED_API_KEY": "k-1"}
    ((entry,), faults) = build("toned", **config)

    assert faults == []
    assert (entry.provider.api_key, entry.provider.tone) == ("k-1", "polite")


def test_a_type_error_of_a_parser_is_a_fault(monkeypatch):
    """`int` raises it for a list, and the text belongs to the setting."""
    monkeypatch.setattr(Toned, "options", {"tone": int})
    REGISTRY["toned"] = Toned
    _, (fault,) = build("toned", LLM_TONED_TONE=[1])

    assert fault.startswith("LLM_TONED_TONE int() argument must be")


@pytest.mark.parametrize("broken", ["parser", "takes_key"])
def test_a_class_that_fails_at_start_stands_in_the_chain(broken, monkeypatch, caplog):
    """It is told by name, without its words: they may repeat a secret."""

    def fail(*_):
        raise LookupError("sk-0123456789")

    if broken == "parser":
        monkeypatch.setattr(Toned, "options", {"tone": fail})
    else:
        monkeypatch.setattr(Toned, "takes_key", fail)
    REGISTRY["toned"] = Toned
    (entry, other), faults = build("toned", "local", LLM_TONED_TONE="sk-0123456789")

    assert faults == []
    why = "provider 'toned' cannot be configured (LookupError)"
    assert (entry.name, entry.unavailable().reason) == ("toned", why)
    assert other.name == "local"
    assert caplog.messages == [why]


def test_a_provider_of_three_methods_takes_no_model():
    """Silently ignoring the model of an entry would be a lie."""
    REGISTRY["minimal"] = Minimal
    _, faults = build("minimal:gpt")

    assert faults == [
        "LLM_PRIMARY_PROVIDER asks for 'minimal:gpt', but minimal takes no model"
    ]


def test_a_plug_in_that_cannot_be_loaded_stands_in_the_chain_and_says_why(caplog):
    """It is reported by name, is never available, and does not stop the app."""
    len(REGISTRY)
    REGISTRY._entries["broken"] = EntryPoint("broken", "no_such_module:X", GROUP)
    (entry, other), faults = build("broken:a-model", "local")

    assert faults == []
    why = (
        "provider plug-in 'broken' cannot be loaded:"
        " ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert (entry.name, entry.unavailable().reason) == ("broken:a-model", why)
    assert other.name == "local"
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("ERROR", why)
    ]


def test_an_object_never_takes_the_name_of_a_configured_provider(monkeypatch):
    """Two links of one name would share circuits, errors and status."""
    monkeypatch.setitem(REGISTRY, "twin", FakeProvider)
    down = FakeProvider(QuotaError(retry_after=60), name="twin")
    factory = LLMFactory(down, ["twin"], config={})

    for _ in range(2):
        response = factory.generate_content("hello")
        assert (response.content, response.provider_name) == ("ok", "twin")
    assert factory.get_provider_status()["primary"]["name"] == "twin-2"


@pytest.mark.parametrize(
    ("first", "longest"),
    [
        ("LLM_RETRY_DELAY", "LLM_RETRY_MAX_DELAY"),
        ("LLM_BREAKER_REST", "LLM_BREAKER_MAX_REST"),
    ],
)
def test_times_that_grow_must_be_able_to(first, longest):
    """A longest wait below the first one is a mistake, if both were set."""
    with pytest.raises(ValueError, match=f"{longest} must not be less than {first}"):
        LLMFactory(FakeProvider(), [], config={first: 100, longest: 1})
    LLMFactory(FakeProvider(), [], config={first: 100})
    LLMFactory(FakeProvider(), [], config={longest: 1})
