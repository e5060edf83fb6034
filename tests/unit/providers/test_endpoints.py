"""Endpoints under names of their own, over the wire and with the real SDK."""

import json
from importlib.metadata import EntryPoint

import pytest
import wire

from flask_llm import LLMFactory
from flask_llm.errors import ConfigurationError
from flask_llm.providers.registry import GROUP
from flask_llm.testing import FakeProvider

KEY = "sk-ant-of-the-company"
EU_KEY = "sk-ant-of-the-region"


@pytest.fixture
def servers():
    """Yield two servers that echo, each a region."""
    answer = wire.echo(wire.message, lambda each: each.json["messages"][0]["content"])
    with wire.Stub(answer) as us, wire.Stub(answer) as eu:
        yield us, eu


def factory(endpoints, *, chain="claude-eu", **config):
    primary, *fallbacks = chain.split(",")
    config["LLM_PROVIDERS"] = endpoints
    return LLMFactory(primary, fallbacks, config=config)


def sent_key(stub):
    (received,) = stub.received
    return received.headers["authorization"].removeprefix("Bearer ")


def test_two_endpoints_of_one_provider(servers):
    """Each has its key, address and model, and answers under its own name."""
    us, eu = servers
    eu.answer = wire.reply("", 429)
    endpoints = {
        "claude-us": {
            "provider": "claude",
            "api_key": KEY,
            "base_url": us.url,
            "model": "claude-haiku-5-5",
        },
        "claude-eu": {"provider": "claude", "api_key": EU_KEY, "base_url": eu.url},
    }
    response = factory(endpoints, chain="claude-eu,claude-us").generate_content("hi")

    assert (response.provider_name, response.content) == ("claude-us", "echo: hi")
    assert [each.provider for each in response.attempts] == ["claude-eu", "claude-us"]
    assert (sent_key(us), sent_key(eu)) == (KEY, EU_KEY)
    models = [each.received[0].json["model"] for each in servers]
    assert models == ["claude-haiku-5-5", "claude-sonnet-5-5"]


def test_the_environment_holds_json(servers, monkeypatch):
    """In .env the endpoints are JSON, and their names may choose a model."""
    us, _ = servers
    endpoint = {"provider": "claude", "api_key": KEY, "base_url": us.url}
    monkeypatch.setenv("LLM_PROVIDERS", json.dumps({"claude-us": endpoint}))
    monkeypatch.setenv("LLM_PRIMARY_PROVIDER", "claude-us:claude-haiku-5-5")
    response = LLMFactory(fallback_providers=[]).generate_content("hi")

    assert response.provider_name == "claude-us:claude-haiku-5-5"
    assert us.received[0].json["model"] == "claude-haiku-5-5"


def test_what_is_left_open_is_read_from_keys_of_its_name(servers):
    """So a secret need not stand in the JSON."""
    us, _ = servers
    response = factory(
        {"claude-eu": {"provider": "claude", "base_url": us.url}},
        CLAUDE_EU_API_KEY=EU_KEY,
        LLM_CLAUDE_EU_MODEL="claude-haiku-5-5",
        ANTHROPIC_API_KEY=KEY,
    ).generate_content("hi")

    assert response.success
    assert sent_key(us) == EU_KEY
    assert us.received[0].json["model"] == "claude-haiku-5-5"


def test_the_key_of_the_provider_serves_its_own_address_only():
    """Without a key of its own an endpoint elsewhere is unavailable, and says so."""
    here = {"provider": "claude", "model": "claude-haiku-5-5"}
    there = {"provider": "claude", "base_url": "https://gateway.example"}
    llm = factory(
        {"claude-eu": here, "claude-us": there},
        chain="claude-eu,claude-us",
        ANTHROPIC_API_KEY=KEY,
    )
    status = llm.get_provider_status(detail=True)

    assert status["primary"]["available"]
    assert status["fallbacks"][0]["reason"] == "no API key (set CLAUDE_US_API_KEY)"


def test_the_key_of_a_gateway_stays_there():
    """Where the provider has another address, its key is no key for the usual one."""
    llm = factory(
        {"claude-eu": {"provider": "claude"}},
        ANTHROPIC_API_KEY=KEY,
        LLM_CLAUDE_BASE_URL="https://gateway.example",
    )
    status = llm.get_provider_status(detail=True)["primary"]

    assert status["reason"] == "no API key (set CLAUDE_EU_API_KEY)"


def test_a_key_that_is_nowhere_may_be_set_in_two_places():
    """The endpoint's own, or the provider's that it would share."""
    llm = factory({"haiku": {"provider": "claude"}}, chain="haiku")
    status = llm.get_provider_status(detail=True)["primary"]

    assert status["reason"] == "no API key (set HAIKU_API_KEY or ANTHROPIC_API_KEY)"


def test_advice_names_where_the_setting_is_written(servers):
    """A refused key and an unknown model are looked for in the right place."""
    us, eu = servers
    us.answer = wire.reply("", 401)
    eu.answer = wire.reply("", 404)
    endpoints = {
        "claude-us": {"provider": "claude", "api_key": KEY, "base_url": us.url},
        "claude-eu": {"provider": "claude", "api_key": KEY, "base_url": eu.url},
    }
    llm = factory(endpoints, chain="claude-us,claude-eu")
    refused, unknown = llm.generate_content("hi").attempts

    assert refused.error == (
        "API key rejected (check LLM_PROVIDERS['claude-us']['api_key'])"
    )
    assert unknown.error == (
        "model not found (check LLM_PROVIDERS['claude-eu']['base_url'],"
        " or set LLM_CLAUDE_EU_MODEL)"
    )


def test_an_advice_names_the_option_of_the_endpoint(servers):
    """A provider's own advice speaks of the endpoint's key, not of its class's."""
    us, _ = servers
    us.answer = wire.reply(
        wire.message(
            content=[{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
            stop_reason="max_tokens",
        )
    )
    endpoint = {"provider": "claude", "api_key": KEY, "base_url": us.url}
    response = factory({"claude-eu": endpoint}).generate_content("hi", max_tokens=9000)

    assert "set LLM_CLAUDE_EU_THINKING=off" in response.error


@pytest.mark.parametrize(
    ("endpoints", "fault"),
    [
        ("{", "is no valid JSON (at character 2)"),
        (
            "{'x': {}}",
            "is no valid JSON (at character 2; write double quotes)",
        ),
        ("[]", "must be a dict of endpoints by name, or the JSON of one"),
        (7, "must be a dict of endpoints by name, or the JSON of one"),
        ({"x": "claude"}, "must have a dict of settings for 'x'"),
        (
            {"a b": {"provider": "claude"}},
            "has the name 'a b': use letters, digits, - _ and . only",
        ),
        (
            {"claude": {"provider": "claude"}},
            "has the name 'claude', which is a provider's already",
        ),
        (
            {"x": {"provider": "cluade"}},
            "must name a provider for 'x', not 'cluade' (known: claude, cohere,",
        ),
        ({"x": {}}, "must name a provider for 'x', not None"),
        (
            {"x": {"provider": "claude", "modle": "m"}},
            (
                "has an unknown setting 'modle' for 'x'; did you mean 'model'? (known:"
                " provider, api_key, base_url, limit_group, max_concurrency, model,"
            ),
        ),
        (
            {"claude-eu": {"provider": "claude", "timeout": "soon"}},
            "['claude-eu']['timeout'] must be seconds",
        ),
        (
            {"claude-eu": {"provider": "claude", "api_key": "sk 1234567"}},
            "['claude-eu']['api_key'] holds a space",
        ),
    ],
)
def test_faults_are_told_with_their_place(endpoints, fault):
    """A wrong endpoint stops the app at start; no fault repeats a key."""
    with pytest.raises(ConfigurationError) as caught:
        factory(endpoints)
    assert f"- LLM_PROVIDERS{fault if fault[0] == '[' else f' {fault}'}" in str(
        caught.value
    )
    assert "1234567" not in str(caught.value)


def test_an_endpoint_that_nobody_uses_must_be_right_too():
    """It stands there in so many words; a typo in it is no other program's."""
    with pytest.raises(ConfigurationError, match="unknown setting 'modle'"):
        factory({"x": {"provider": "claude", "modle": "m"}}, chain="gemini")


def faults_of(endpoints, **options):
    with pytest.raises(ConfigurationError) as caught:
        factory(endpoints, **options)
    return caught.value.faults


@pytest.mark.parametrize(
    ("names", "twins"),
    [
        (("claude-eu", "claude_eu"), ("claude_eu", "claude-eu")),
        (("Claude",), ("Claude", "claude")),
        (("google",), ("google", "gemini")),
        (("anthropic",), ("anthropic", "claude")),
        (("my-parrot",), ("my-parrot", "my_parrot")),
    ],
)
def test_names_with_the_same_keys_cannot_both_be(names, twins):
    """Each would be given the key and the settings of the other."""
    LLMFactory.register_provider("my_parrot", FakeProvider)
    faults = faults_of({name: {"provider": "claude"} for name in names}, chain="claude")

    one, other = twins
    (fault,) = faults
    assert fault == (
        f"LLM_PROVIDERS has the name {one!r}, which has configuration keys of"
        f" {other!r}: choose another one"
    )


def test_looking_for_the_same_keys_imports_no_plug_in():
    """A broken one, or a slow one, is none of the endpoints' business."""
    registry = LLMFactory.PROVIDER_REGISTRY
    registry._entries["broken"] = EntryPoint("broken", "no_such_module:X", GROUP)
    registry._entries["sly"] = EntryPoint("sly", "flask_llm.no_such_module:X", GROUP)
    factory({"claude-eu": {"provider": "claude"}})

    assert isinstance(registry._entries["broken"], EntryPoint)


def test_an_endpoint_outside_of_the_chain_is_checked_wholly():
    """On the day on which it is used it must work; all its faults come at once."""
    wrong = {
        "provider": "claude",
        "modle": "m",
        "timeout": "soon",
        "thinking": "deeply",
        "max_concurrency": 0,
        "base_url": "gateway.example",
        "api_key": "sk 1234567",
    }
    faults = "\n".join(faults_of({"x": wrong}, chain="gemini"))

    assert faults.count("\n") == 5
    assert "has an unknown setting 'modle' for 'x'" in faults
    for setting in {*wrong} - {"provider", "modle"}:
        assert f"LLM_PROVIDERS['x'][{setting!r}] " in faults
    assert "1234567" not in faults


@pytest.mark.parametrize(
    "endpoints", ["{'claude-eu': {}}", {"claude-eu": {"provider": "cluade"}}, "[]"]
)
def test_a_faulty_endpoint_is_not_unknown_too(endpoints):
    """A second error for the same mistake would lead astray."""
    (fault,) = faults_of(endpoints, chain="claude-eu:m,gemini")

    assert fault.startswith("LLM_PROVIDERS ")


def test_a_key_where_a_name_belongs_is_not_shown_whole():
    """Whatever else is wrong with it."""
    told = str(faults_of({"sk-ant-0123456789abcdef": {"provider": "cluade"}}))

    assert "sk-ant-0123" in told
    assert "9abc" not in told


def test_a_typo_in_the_keys_of_an_endpoint_is_warned_of(caplog):
    """It begins like a setting of its provider, which is not in the chain."""
    llm = factory({"claude-eu": {"provider": "claude"}}, LLM_CLAUDE_EU_MODLE="m")

    warning = "Unknown setting LLM_CLAUDE_EU_MODLE: did you mean LLM_CLAUDE_EU_MODEL?"
    assert llm.notices == (warning,)
    assert warning in caplog.messages


def test_an_endpoint_of_a_class_that_fails_stops_nothing():
    """A stranger's class may raise in every method, also at start."""

    class Failing(FakeProvider):
        @classmethod
        def takes_key(cls):
            raise KeyError("sk-0123456789")

    LLMFactory.register_provider("failing", Failing)
    llm = factory({"mine": {"provider": "failing"}}, chain="mine,local")
    reason = llm.get_provider_status(detail=True)["primary"]["reason"]

    assert reason == "provider 'failing' cannot be configured (KeyError)"


def test_an_endpoint_of_a_broken_plug_in_stops_nothing():
    """It is unavailable like the plug-in itself."""
    registry = LLMFactory.PROVIDER_REGISTRY
    len(registry)
    registry._entries["broken"] = EntryPoint("broken", "no_such_module:X", GROUP)
    llm = factory({"mine": {"provider": "broken"}}, chain="mine,local")
    reason = llm.get_provider_status(detail=True)["primary"]["reason"]

    assert reason.startswith("provider plug-in 'broken' cannot be loaded")


def test_keys_of_endpoints_are_no_typos(caplog):
    """Neither those of the chain's endpoints nor those of others are warned of."""
    factory(
        {"claude-eu": {"provider": "claude"}, "claude-us": {"provider": "claude"}},
        LLM_CLAUDE_EU_TIMEOUT=5,
        LLM_CLAUDE_US_TIMEOUT=5,
    )
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


def test_the_keys_of_endpoints_appear_nowhere(servers, caplog):
    """Neither in what is logged nor in what the factory shows of itself."""
    us, _ = servers
    us.answer = wire.reply({"error": {"message": f"bad key {EU_KEY}"}}, 401)
    caplog.set_level("DEBUG")
    endpoint = {"provider": "claude", "api_key": EU_KEY, "base_url": us.url}
    llm = factory({"claude-eu": endpoint})
    response = llm.generate_content("hi")

    assert EU_KEY not in f"{response!r} {llm.config!r}"
    assert EU_KEY not in caplog.text


def test_a_name_is_judged_the_same_whatever_has_been_imported():
    """A plug-in's keys refuse no endpoint, or the second app would not start."""
    registry = LLMFactory.PROVIDER_REGISTRY
    len(registry)
    point = EntryPoint("groqnative", f"{__name__}:Groq", GROUP)
    registry._entries["groqnative"] = point
    endpoint = {"groq": {"provider": "openai", "base_url": "http://x/v1"}}
    for _ in "12":
        chain = factory(endpoint, chain="groq,groqnative").entries
        assert [each.name for each in chain] == ["groq", "groqnative"]


class Groq(FakeProvider):
    """A plug-in that has the same key as an endpoint may have."""

    needs_key = True
    api_key_names = ("GROQ_API_KEY",)


def test_a_provider_object_may_be_odd():
    """Its text is nobody's business where endpoints are told from the chain."""

    class Mute(FakeProvider):
        def __repr__(self):
            raise RuntimeError("no words")

    endpoint = {"groq": {"provider": "openai", "base_url": "http://x/v1"}}
    llm = LLMFactory(Mute("hi"), [], config={"LLM_PROVIDERS": endpoint})

    assert llm.generate_content("hello").content == "hi"


def test_advice_names_the_entry_where_the_address_stands(servers):
    """What is written in LLM_PROVIDERS comes first, so no other key would help."""
    us, _ = servers
    us.answer = wire.reply({"detail": "Not Found"}, 404)
    endpoint = {"groq": {"provider": "openai", "base_url": us.url, "model": "m"}}
    response = factory(endpoint, chain="groq").generate_content("hi")

    assert "LLM_PROVIDERS['groq']['base_url'] usually ends in /v1" in response.error
