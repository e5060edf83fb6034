import logging
from dataclasses import replace
from enum import Enum
from inspect import signature
from operator import attrgetter

import pytest

from flask_llm.config import reader
from flask_llm.config.reader import Reader
from flask_llm.config.settings import SETTINGS, LLMConfig, ProviderSettings
from flask_llm.errors import ConfigurationError
from flask_llm.resilience.circuit_breaker import BreakerPolicy
from flask_llm.resilience.retry import PRESETS, RetryPolicy, StreamLimits


class Words(str, Enum):  # noqa: UP042  # `str` of a StrEnum would be right
    QUICK = "web"


class Numbers(Enum):
    DELAY = 2.0


def read(**mapping):
    """Return the settings and the faults."""
    reader = Reader(mapping)
    return LLMConfig.read(reader), reader.faults


def test_defaults_are_the_documented_ones():
    """Nothing set means Gemini, then Claude, five attempts, 5 s, 30 s."""
    settings, faults = read()

    assert settings == LLMConfig(
        primary="gemini",
        fallbacks=("claude",),
        retry=RetryPolicy(max_attempts=5, delay=5.0, max_delay=60.0),
        deadline=None,
        breaker=BreakerPolicy(failures=5, window=300, rest=5, max_rest=20),
        state_url="memory://",
        warm_up="after",
        timeout=30.0,
        fallback_on_blocked=False,
        url_prefix="/llm",
    )
    assert faults == []


def test_the_table_holds_every_setting():
    """One that is not in it could not be set."""
    parts = {"retry", "limits", "breaker", "observing"}
    usual = LLMConfig()
    inner = {
        f"{part}.{name}"
        for part in parts
        for name in signature(type(getattr(usual, part))).parameters
    }
    outer = {*signature(LLMConfig).parameters} - parts

    assert {attribute for _, attribute, _ in SETTINGS} == inner | outer


def test_the_web_preset_is_for_code_inside_a_request():
    """One word changes what belongs together; each number can still be set alone."""
    settings, faults = read(LLM_RETRY_PRESET="web", LLM_RETRY_DELAY=1)

    assert faults == []
    assert settings.deadline == 25
    assert settings.retry == replace(PRESETS["web"].retry, delay=1)


@pytest.mark.parametrize(
    ("key", "value", "attribute", "parsed"),
    [
        ("LLM_PRIMARY_PROVIDER", " claude ", "primary", "claude"),
        ("LLM_FALLBACK_PROVIDERS", "a, b:c ,", "fallbacks", ("a", "b:c")),
        ("LLM_FALLBACK_PROVIDERS", ["a", " b "], "fallbacks", ("a", "b")),
        ("LLM_FALLBACK_PROVIDERS", [], "fallbacks", ()),
        ("LLM_FALLBACK_PROVIDERS", "None", "fallbacks", ()),
        ("LLM_FALLBACK_PROVIDERS", "off", "fallbacks", ()),
        ("LLM_FALLBACK_PROVIDERS", False, "fallbacks", ()),
        ("LLM_FALLBACK_PROVIDERS", "a : b", "fallbacks", ("a:b",)),
        ("LLM_RETRY_PRESET", Words.QUICK, "deadline", PRESETS["web"].deadline),
        ("LLM_RETRY_DELAY", Numbers.DELAY, "retry.delay", 2.0),
        ("LLM_MAX_RETRIES", "3", "retry.max_attempts", 3),
        ("LLM_MAX_RETRIES", 0, "retry.max_attempts", 0),
        ("LLM_RETRY_DELAY", "0.5", "retry.delay", 0.5),
        ("LLM_RETRY_DELAY", 0, "retry.delay", 0.0),
        ("LLM_RETRY_MAX_DELAY", 30, "retry.max_delay", 30.0),
        ("LLM_RETRY_JITTER", "0.5", "retry.jitter", 0.5),
        ("LLM_RETRY_MAX_RETRY_AFTER", 4, "retry.max_retry_after", 4.0),
        ("LLM_RETRY_TIMEOUTS", "no", "retry.retry_timeouts", False),
        ("LLM_DEADLINE", "2.5", "deadline", 2.5),
        ("LLM_DEADLINE", "none", "deadline", None),
        ("LLM_FIRST_TOKEN_TIMEOUT", "Off", "limits.first_token", None),
        ("LLM_STALL_TIMEOUT", False, "limits.stall", None),
        ("LLM_WARM_UP", False, "warm_up", "off"),
        ("LLM_WARM_UP", "no", "warm_up", "off"),
        ("LLM_BREAKER_FAILURES", 0, "breaker.failures", 0),
        ("LLM_BREAKER_WINDOW", 60, "breaker.window", 60.0),
        ("LLM_BREAKER_REST", "1", "breaker.rest", 1.0),
        ("LLM_BREAKER_MAX_REST", 9, "breaker.max_rest", 9.0),
        ("LLM_MAX_COOLDOWN", 0, "breaker.max_cooldown", 0.0),
        ("LLM_STATE_URL", "memory://", "state_url", "memory://"),
        ("LLM_WARM_UP", "Full", "warm_up", "full"),
        ("LLM_TIMEOUT", "12.5", "timeout", 12.5),
        ("LLM_FALLBACK_ON_BLOCKED", "True", "fallback_on_blocked", True),
        ("LLM_FALLBACK_ON_BLOCKED", "off", "fallback_on_blocked", False),
        ("LLM_FALLBACK_ON_BLOCKED", True, "fallback_on_blocked", True),
        ("LLM_URL_PREFIX", "/api/v1/llm", "url_prefix", "/api/v1/llm"),
    ],
)
def test_values_are_parsed(key, value, attribute, parsed):
    """Texts of the environment and objects of a config file mean the same."""
    settings, faults = read(**{key: value})

    assert faults == []
    assert attrgetter(attribute)(settings) == parsed


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("LLM_FALLBACK_PROVIDERS", 7, "must be names separated by commas"),
        ("LLM_FALLBACK_PROVIDERS", {"a": 1}, "must be names separated by commas"),
        ("LLM_MAX_RETRIES", "five", "must be a whole number, not 'five'"),
        ("LLM_MAX_RETRIES", "2.5", "must be a whole number, not '2.5'"),
        ("LLM_MAX_RETRIES", -1, "must be a whole number, not -1"),
        ("LLM_MAX_RETRIES", True, "must be a whole number, not True"),
        ("LLM_RETRY_PRESET", "fast", "must be patient or web, not 'fast'"),
        ("LLM_RETRY_JITTER", 2, "must be a number from 0 to 1, not 2"),
        ("LLM_DEADLINE", 0, "must be seconds, from more than 0 to 86400, not 0"),
        ("LLM_WARM_UP", "yes", "must be after, off, import or full, not 'yes'"),
        ("LLM_RETRY_DELAY", "-1", "must be seconds, from 0 to 86400, not '-1'"),
        ("LLM_RETRY_DELAY", "nan", "must be seconds, from 0 to 86400, not 'nan'"),
        ("LLM_RETRY_DELAY", True, "must be seconds, from 0 to 86400, not True"),
        ("LLM_TIMEOUT", "inf", "must be seconds, from more than 0 to 86400, not 'inf'"),
        ("LLM_RETRY_DELAY", 1e11, "must be seconds, from 0 to 86400, not 1000"),
        ("LLM_RETRY_DELAY", 10**400, "must be seconds, from 0 to 86400, not 1000"),
        ("LLM_PRIMARY_PROVIDER", "claude:", "names 'claude:' without a model"),
        ("LLM_FALLBACK_PROVIDERS", "a,b:", "names 'b:' without a model"),
        ("LLM_TIMEOUT", 0, "must be seconds, from more than 0 to 86400, not 0"),
        ("LLM_TIMEOUT", [], "must be seconds, from more than 0 to 86400, not []"),
        ("LLM_FALLBACK_ON_BLOCKED", "maybe", "must be true or false, not 'maybe'"),
        ("LLM_URL_PREFIX", "llm", "must be a path such as /llm, not 'llm'"),
        ("LLM_URL_PREFIX", "/llm/", "must be a path such as /llm, not '/llm/'"),
    ],
)
def test_faults_name_their_key(key, value, fault):
    """A wrong value is told by its key and what would be right."""
    _, faults = read(**{key: value})

    assert len(faults) == 1
    assert faults[0].startswith(f"{key} {fault}")


def test_all_faults_come_at_once():
    """Nobody likes to mend one fault at a time."""
    reader = Reader({"LLM_TIMEOUT": "x", "LLM_MAX_RETRIES": "y"})
    LLMConfig.read(reader)

    with pytest.raises(ConfigurationError) as caught:
        reader.finish({}, [])
    assert len(caught.value.faults) == 2


def test_the_app_comes_before_the_environment(monkeypatch):
    """A value in the app's configuration wins."""
    monkeypatch.setenv("LLM_TIMEOUT", "10")

    assert read(LLM_TIMEOUT=20)[0].timeout == 20
    assert read()[0].timeout == 10


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_blank_means_unset(monkeypatch, blank):
    """A line `LLM_TIMEOUT=` in a .env file is no fault."""
    monkeypatch.setenv("LLM_TIMEOUT", "10")

    assert read(LLM_TIMEOUT=blank)[0].timeout == 10
    monkeypatch.setenv("LLM_TIMEOUT", " ")
    assert read(LLM_TIMEOUT=blank)[0].timeout == 30


def test_a_typo_is_warned_of(caplog, monkeypatch):
    """An unknown key gets a did-you-mean, in the app's configuration or a .env file."""
    monkeypatch.setenv("LLM_MAX_RETRY", "3")
    reader = Reader({"LLM_FALBACK_PROVIDERS": "claude"})
    LLMConfig.read(reader)
    reader.finish({}, [])

    assert [record.getMessage() for record in caplog.records] == [
        "Unknown setting LLM_FALBACK_PROVIDERS: did you mean LLM_FALLBACK_PROVIDERS?",
        "Unknown setting LLM_MAX_RETRY: did you mean LLM_MAX_RETRIES?",
    ]


def test_an_unlike_key_is_warned_of_only_in_the_app(caplog, monkeypatch):
    """The environment serves other programs that begin their keys with LLM_ too."""
    monkeypatch.setenv("LLM_USER_PATH", "x")
    Reader({"LLM_WHATEVER": "x"}).finish({}, [])

    assert caplog.messages == ["Unknown setting LLM_WHATEVER"]


def test_a_setting_is_not_taken_for_another_provider_s(caplog):
    """Advice to set LLM_GEMINI_MODEL instead would misconfigure Gemini."""
    reader = Reader({"LLM_OPENAI_MODEL": "x", "LLM_SLOW_TIMEOUT": "1"})
    reader.raw("LLM_GEMINI_MODEL")
    reader.raw("LLM_TIMEOUT")
    reader.finish({"slow": "SLOW_API_KEY", "gemini": "GOOGLE_API_KEY"}, [])

    assert caplog.messages == [
        "Unknown setting LLM_OPENAI_MODEL",
        "Unknown setting LLM_SLOW_TIMEOUT",
    ]


def test_settings_of_providers_outside_the_chain_are_known(caplog):
    """LLM_CLAUDE_MODEL is no typo while Claude is not in use."""
    Reader({"LLM_CLAUDE_MODEL": "x", "LLM_MY_OWN_MODEL": "y"}).finish(
        {}, ["claude", "my-own"]
    )

    assert caplog.messages == []


def test_the_longest_prefix_says_whose_setting_it_is(caplog):
    """A typo of an endpoint is not excused by the provider that it begins like."""
    mapping = {"LLM_CLAUDE_EU_MODLE": "x", "LLM_CLAUDE_MODLE": "y"}
    reader = Reader(mapping)
    reader.raw("LLM_CLAUDE_EU_MODEL")
    reader.finish({"claude-eu": "CLAUDE_EU_API_KEY"}, ["claude"])

    assert reader.warnings == caplog.messages
    assert caplog.messages == [
        "Unknown setting LLM_CLAUDE_EU_MODLE: did you mean LLM_CLAUDE_EU_MODEL?"
    ]


@pytest.mark.parametrize("key", ["LLM_CLAUDE_API_KEY", "LLM_ANTHROPIC_API_KEY"])
def test_an_api_key_has_no_prefix(caplog, monkeypatch, key):
    """Nearly all other settings have, so this is a natural mistake."""
    monkeypatch.setenv(key, "sk-ant-0123456789")
    reader = Reader({})
    reader.raw("ANTHROPIC_API_KEY")
    reader.finish({"claude": "ANTHROPIC_API_KEY"}, [])

    assert caplog.messages == [
        f"Unknown setting {key}: did you mean ANTHROPIC_API_KEY?"
    ]


def test_settings_do_not_show_their_secrets():
    """A repr in a log or a debugger page holds neither key nor address."""
    settings = ProviderSettings(
        "claude", "claude", api_key="sk-secret", base_url="https://me:pw@x"
    )

    assert "sk-secret" not in repr(settings)
    assert "pw" not in repr(settings)


def test_keys_of_a_provider_follow_its_name():
    """LLM_<PROVIDER>_<SETTING>, <NAME>_API_KEY, with what no key may hold replaced."""
    assert reader.setting_key("my-own", "base_url") == "LLM_MY_OWN_BASE_URL"
    assert reader.default_api_key_name("openai") == "OPENAI_API_KEY"


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.DEBUG, "flask_llm")


def test_endpoints_that_differ_have_circuits_of_their_own():
    """Another key, address, model or project has its own limits."""
    usual = ProviderSettings("vertex", "vertex", options={"project": "one"})
    others = [
        replace(usual, api_key="sk-1"),
        replace(usual, base_url="https://eu.example"),
        replace(usual, model="gemini-3.5-flash-lite"),
        replace(usual, options={"project": "two"}),
    ]
    prints = {each.fingerprint() for each in (usual, *others)}

    assert len(prints) == 5
    assert not any("sk-1" in each for each in prints)


def test_processes_agree_on_a_circuit():
    """What is an object is in it neither by its address nor by its text."""
    usual = ProviderSettings("vertex", "vertex", options={"credentials": object()})
    twin = replace(usual, entry="vertex:x", options={"credentials": object()})

    assert usual.fingerprint() == twin.fingerprint()


@pytest.mark.parametrize(
    ("mapping", "limits"),
    [
        ({}, StreamLimits(None, None)),
        ({"LLM_RETRY_PRESET": "web"}, StreamLimits(10, 10)),
        (
            {"LLM_RETRY_PRESET": "web", "LLM_STALL_TIMEOUT": "none"},
            StreamLimits(10, None),
        ),
        ({"LLM_FIRST_TOKEN_TIMEOUT": "4.5"}, StreamLimits(4.5, None)),
        ({"LLM_STALL_TIMEOUT": 3}, StreamLimits(None, 3)),
    ],
)
def test_the_limits_of_a_stream(mapping, limits):
    """By the preset, or each as it is set alone."""
    assert read(**mapping)[0].limits == limits


@pytest.mark.parametrize(
    "key", ["LLM_FIRST_TOKEN_TIMEOUT", "LLM_STALL_TIMEOUT", "LLM_HEARTBEAT"]
)
@pytest.mark.parametrize("value", ["0", "-1", "soon", True, "86401"])
def test_a_limit_of_a_stream_is_seconds(key, value):
    """A fault names the key; "none" is no heartbeat's value."""
    settings, faults = read(**{key: value})

    assert [each.partition(" ")[0] for each in faults] == [key]
    assert settings.heartbeat == 15


def test_a_heartbeat_is_always_there():
    """Without one a client that has gone would never be noticed."""
    assert read(LLM_HEARTBEAT="2.5")[0].heartbeat == 2.5
    assert read(LLM_HEARTBEAT="none")[1]
