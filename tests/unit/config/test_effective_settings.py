"""The settings in force, each with its source, and no secret in any of them."""

import json

import pytest
from flask import Flask

from flask_llm import FlaskLLM, LLMFactory
from flask_llm.config.reader import Setting, shown_address
from flask_llm.providers.base import LLMProvider
from flask_llm.resilience.limits import Rate
from flask_llm.testing import FakeProvider

CANARY = "sk-canary-0123456789abcdef"


def settings(*chain, **config):
    """Return value and source of each setting by its key."""
    found = LLMFactory(*chain, config=config).settings
    assert all(list(each) == ["key", "value", "source", "secret"] for each in found)
    assert json.loads(json.dumps(found)) == found
    return {each["key"]: (each["value"], each["source"]) for each in found}


def test_each_setting_tells_where_it_is_from(monkeypatch):
    """The app's configuration, the environment, or nowhere."""
    monkeypatch.setenv("LLM_DEADLINE", "20")
    monkeypatch.setenv("LLM_TIMEOUT", "9")
    found = settings(LLM_TIMEOUT=12.5, LLM_FALLBACK_ON_BLOCKED="yes")

    assert found["LLM_TIMEOUT"] == ("12.5", "app.config")
    assert found["LLM_DEADLINE"] == ("20", "environment")
    assert found["LLM_FALLBACK_ON_BLOCKED"] == ("on", "app.config")
    assert found["LLM_PRIMARY_PROVIDER"] == ("gemini", "default")
    assert found["LLM_CLAUDE_MODEL"] == ("claude-sonnet-5-5", "default")
    assert found["LLM_CLAUDE_BASE_URL"] == ("not set", "default")


def test_numbers_of_a_preset_say_so():
    """Those that are set alone are one's own."""
    found = settings(LLM_RETRY_PRESET="web", LLM_RETRY_DELAY=2)

    assert found["LLM_RETRY_PRESET"] == ("web", "app.config")
    assert found["LLM_RETRY_DELAY"] == ("2", "app.config")
    assert found["LLM_DEADLINE"] == ("25", "preset web")
    assert found["LLM_RETRY_TIMEOUTS"] == ("off", "preset web")
    assert found["LLM_TIMEOUT"][1] == "default"
    assert settings()["LLM_DEADLINE"] == ("not set", "default")


def test_a_value_that_switches_something_off_is_told():
    """None because somebody wants it is another thing than not set."""
    found = settings(LLM_RETRY_PRESET="web", LLM_DEADLINE="none")

    assert found["LLM_DEADLINE"] == ("none", "app.config")


def test_arguments_come_before_what_is_configured():
    """The chain in force is shown, with the argument's name."""
    found = settings(FakeProvider(), ["claude:claude-haiku-5-5", "claude"])

    assert found["LLM_PRIMARY_PROVIDER"] == ("fake", "primary_provider")
    assert found["LLM_FALLBACK_PROVIDERS"] == (
        "claude:claude-haiku-5-5, claude",
        "fallback_providers",
    )


def test_the_order_is_always_the_same(monkeypatch):
    """A page that is compared with itself does not jump."""
    orders = [list(settings()), list(settings(LLM_TIMEOUT=3, LLM_USAGE_DAYS=5))]
    monkeypatch.setenv("LLM_RETRY_DELAY", "1")
    orders.append(list(settings()))

    assert orders[0] == orders[1] == orders[2]


def test_keys_are_set_or_not_set(monkeypatch):
    """Whatever they are called, and wherever they are from."""
    monkeypatch.setenv("GEMINI_API_KEY", CANARY)
    found = LLMFactory("gemini", ["claude"], config={}).settings
    keys = {each["key"]: each for each in found if each["key"].endswith("_API_KEY")}

    assert keys["GEMINI_API_KEY"] == {
        "key": "GEMINI_API_KEY",
        "value": "set",
        "source": "environment",
        "secret": True,
    }
    assert keys["ANTHROPIC_API_KEY"]["value"] == "not set"


def test_endpoints_of_llm_providers_show_their_settings_and_no_key():
    """With the place in the dict where each is written."""
    eu = {"provider": "claude", "api_key": CANARY, "model": "claude-haiku-5-5"}
    found = settings("claude-eu", [], LLM_PROVIDERS={"claude-eu": eu})

    assert found["LLM_PROVIDERS"] == ("claude-eu", "app.config")
    assert found["CLAUDE_EU_API_KEY"][0] == "set"
    assert found["LLM_CLAUDE_EU_MODEL"] == (
        "claude-haiku-5-5",
        "LLM_PROVIDERS['claude-eu']['model']",
    )
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example/v1", "https://api.example/v1"),
        ("https://ann:pw@api.example:8443/v1", "https://…@api.example:8443/v1"),
        ("https://api.example/v1?key=x#y", "https://api.example/v1?…"),
        (f"https://api.example/{CANARY}/v1", "https://api.example/[redacted]/v1"),
        ("redis://:pw@cache:6379/0", "redis://…@cache:6379/0"),
        ("postgresql+psycopg://ann:p@db/llm", "postgresql+psycopg://…@db/llm"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dpw", "mssql+pyodbc:///?…"),
        ("sqlite:////var/llm.db", "sqlite:////var/llm.db"),
        ("memory://", "memory://"),
        ("https://[::1", "set"),
        ("https://host:port/v1", "set"),
        ("https:/ann:pw@api.example", "set"),
        ("postgresql://ann:12/pw@db/llm", "set"),
        ("postgresql://ann:4711#pw@db/llm", "set"),
        ("postgresql://ann:4711?pw@db/llm", "set"),
        ("postgresql://a@b:12/pw@db/llm", "set"),
    ],
)
def test_addresses_are_shown_without_what_may_be_secret(url, shown):
    """User, password and query never; a part of the path if it looks like a token."""
    assert shown_address(url) == shown


class Acme(LLMProvider):
    """A plug-in with settings of its own, some of them secret."""

    options = {"region": str, "auth_token": str}  # noqa: RUF012
    options |= {"session": lambda value: value, "headers": str, "passphrase": str}

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        raise NotImplementedError

    def get_provider_name(self):
        return "acme"

    def is_available(self):
        return True


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https:/ann:pw@api.example", "set"),
        ("https:ann:pw@api.example", "set"),
        ("//ann:pw@api.example", "://…@api.example"),
        ("vertex:claude-sonnet-5@20260101", "vertex:claude-sonnet-5@20260101"),
        ("ann@example.com", "ann@example.com"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_what_may_be_an_address_is_taken_for_one(value, shown):
    """However it is written; a model with a date is none."""
    assert Setting("LLM_ACME_PLACE", value, "app.config").shown(())["value"] == shown


@pytest.mark.parametrize(
    "name",
    [
        *("API_KEYS", "KEY_ID", "ACCESS_TOKENS", "SECRET_ID", "PASS", "PASSWD"),
        *("PASSPHRASE", "PASSWORDS", "DB_PWD", "CREDENTIAL", "AUTH", "AUTHORIZATION"),
        *("HEADERS", "COOKIES", "SIGNATURE"),
    ],
)
def test_a_name_that_sounds_secret_hides_its_value(name):
    """Anywhere in the name of a plug-in's setting, and in the plural too."""
    shown = Setting(f"LLM_ACME_{name}", CANARY, "app.config").shown(())

    assert (shown["value"], shown["secret"]) == ("set", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOKENS", 512),
        ("FIRST_TOKEN_TIMEOUT", 2.5),
        ("TOKEN_RATE", Rate(9, 60)),
        ("PASSAGE", "on"),
    ],
)
def test_numbers_of_tokens_are_no_secret(name, value):
    """Nor is every word in which one is hidden."""
    shown = Setting(f"LLM_ACME_{name}", value, "app.config").shown(())

    assert (shown["value"], shown["secret"]) == (str(value), False)


class Session:
    """An object that tells a key when it is printed."""

    def __repr__(self):
        return f"Session({CANARY})"


def test_a_stranger_s_secrets_are_hidden_by_name_and_objects_by_type():
    """A plug-in says of none of its settings whether it is secret."""
    LLMFactory.register_provider("acme", Acme)
    found = settings(
        "acme",
        [],
        ACME_API_KEY=CANARY,
        LLM_ACME_REGION=f"near {CANARY}",
        LLM_ACME_AUTH_TOKEN="token-0123456789",
        LLM_ACME_SESSION=Session(),
        LLM_ACME_HEADERS="Authorization: secret",
        LLM_ACME_PASSPHRASE="secret",
    )

    assert found["LLM_ACME_REGION"][0] == "near [redacted]"
    assert found["LLM_ACME_AUTH_TOKEN"] == ("set", "app.config")
    assert found["LLM_ACME_SESSION"][0] == "Session"
    assert found["LLM_ACME_HEADERS"] == ("set", "app.config")
    assert found["LLM_ACME_PASSPHRASE"] == ("set", "app.config")
    assert CANARY not in str(found)


def test_no_route_shows_a_key_or_a_password():
    """Each of the extension's, as a page and as JSON; keys are wherever they may be."""
    app = Flask("testapp")
    url = f"https://ann:{CANARY}@127.0.0.1:9/{CANARY}"
    app.config |= {
        "SECRET_KEY": CANARY,
        "GOOGLE_API_KEY": CANARY,
        "ANTHROPIC_API_KEY": CANARY,
        "LLM_CLAUDE_BASE_URL": url,
        "LLM_STATE_URL": f"redis://ann:{CANARY}@127.0.0.1:9/0?password={CANARY}",
        "LLM_PROVIDERS": {"eu": {"provider": "gemini", "api_key": CANARY}},
        "LLM_FALLBACK_PROVIDERS": "claude,eu",
        "LLM_GEMINI_BASE_URL": url,
        "LLM_EU_BASE_URL": url,
        "LLM_METRICS": "on",
        "LLM_MAX_RETRIES": 1,
    }
    FlaskLLM(app, authorize=lambda: True)
    call_id = app.llm.generate_content("hello").metadata["call_id"]
    values = {"name": "claude", "call_id": call_id}
    client = app.test_client()
    seen = 0
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("flask_llm.") or "static" in rule.endpoint:
            continue
        with app.test_request_context():
            url = app.url_for(rule.endpoint, **{e: values[e] for e in rule.arguments})
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            for accepted in ("text/html", "application/json"):
                headers = {"Accept": accepted}
                answer = client.open(url, method=method, headers=headers)
                assert answer.status_code < 500 or "ready" in url, answer.text
                assert CANARY not in answer.text + str(answer.headers), url
                seen += 1

    assert seen >= 18
