import json
import time

import google_rows
import pytest
import wire
from real_time import AT_ONCE_S
from wire import Row, generated, google_error
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import TimedOutError
from flask_llm.providers.google.gemini import GeminiProvider, _import_sdk
from flask_llm.providers.google.genai import GenaiProvider
from flask_llm.providers.parameters import tell_once

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"

# It reads as numbers what Google writes in words.
NO_ANSWERS = google_rows.NO_ANSWERS | {
    "{}": Row(200, {}, "bad_answer", "answer without a candidate"),
    "empty list": Row(200, "[]", "bad_answer", "answer without a candidate"),
    "bare candidate": Row(
        200,
        generated(candidates=[{}]),
        "bad_answer",
        "incomplete answer (finish reason: 0)",
    ),
    "no finish reason": Row(
        200,
        generated("Rayl", finish=None),
        "bad_answer",
        "incomplete answer (finish reason: 0)",
    ),
    "finish reason of tomorrow": Row(
        200,
        generated("Rayl", finish="DAYDREAM"),
        "bad_answer",
        "incomplete answer (finish reason: 0)",
    ),
    "OTHER": Row(
        200,
        generated("Rayl", finish="OTHER"),
        "bad_answer",
        "incomplete answer (finish reason: 5)",
    ),
    "MALFORMED_FUNCTION_CALL": Row(
        200,
        generated(finish="MALFORMED_FUNCTION_CALL"),
        "bad_answer",
        "incomplete answer (finish reason: 10)",
    ),
}

KNOWN = {
    "model": "gemini-3.8-flash-001",
    # What was thought is paid for as output.
    "usage": {"input_tokens": 6, "output_tokens": 19, "total_tokens": 25},
    "request_id": None,
    "warnings": ["temperature is not sent to gemini-3.8-flash, which takes none"],
}

ECHO_OF_KEY = Row(
    403, google_rows.leaks(KEY)["error"], "auth", "[redacted] was reported as leaked"
)

_QUIET_IMPORT = """
import warnings
from flask_llm.providers.google.gemini import GeminiProvider

GeminiProvider("key-0123456789")._client.get()
try:
    warnings.warn("of somebody else", FutureWarning)
except FutureWarning:
    print("heard")
"""


# Factories in an interpreter that cannot import some modules.
_WITHOUT = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in json.loads(sys.argv[2]):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from flask_llm import LLMFactory

for config in json.loads(sys.argv[1]):
    response = LLMFactory("gemini", [], config=config).generate_content("hi")
    print(response.content or response.error)
"""

OLD, NEW = "google-generativeai", "google-genai"
GENAI_PATH = "/v1/models/gemini-3.8-flash:generateContent"


class TestGemini(WireContract):
    name = "gemini"
    provider_class = GeminiProvider
    key = KEY
    key_setting = "GOOGLE_API_KEY"
    key_header = ("x-goog-api-key", "{}")
    path = "/v1beta/models/gemini-3.8-flash:generateContent"
    reuse = True
    known = KNOWN
    answers = google_rows.ANSWERS
    no_usage = google_rows.NO_USAGE
    statuses = google_rows.STATUSES
    exhausted = ("429 per day",)
    no_answers = NO_ANSWERS
    trouble = google_rows.STATUSES["503"]
    echo_of_key = ECHO_OF_KEY
    leaks = google_rows.leaks(KEY)

    @staticmethod
    def answer(text=wire.ANSWER):
        return generated(text)

    @staticmethod
    def sent_prompt(received):
        return received.json["contents"][0]["parts"][0]["text"]

    @pytest.fixture
    def meanwhile(self, monkeypatch):
        """Set the SDK's own key, which is one for the whole process."""
        genai = _import_sdk()
        from google.generativeai import client

        monkeypatch.setattr(client, "_client_manager", client._ClientManager())
        return lambda: genai.configure(
            api_key="AIza-key-of-the-process", transport="rest"
        )

    def test_request(self, httpserver, ask):
        """The request carries model, prompt, max_tokens and, in a header, the key."""
        wire.serve(httpserver, Row(200, generated("hi")))
        ask(httpserver.url_for(""))
        ((request, _),) = httpserver.log
        assert request.path == "/v1beta/models/gemini-3.8-flash:generateContent"
        assert request.json == {
            "contents": [{"role": "user", "parts": [{"text": wire.PROMPT}]}],
            "generationConfig": {"maxOutputTokens": 300},
        }
        assert request.headers["x-goog-api-key"] == KEY
        assert KEY not in request.url

    @pytest.mark.parametrize(
        ("model", "takes"), google_rows.MODELS.items(), ids=google_rows.MODELS
    )
    def test_temperature(self, httpserver, ask, model, takes):
        """Temperature goes to the models that take it; the others' answers warn."""
        wire.serve(httpserver, Row(200, generated("hi")))
        response = ask(httpserver.url_for(""), MODEL=model)
        ((request, _),) = httpserver.log
        assert f"/models/{model.removeprefix('models/')}:" in request.path
        assert request.json["generationConfig"].get("temperature") == (
            0.25 if takes else None
        )
        warned = f"temperature is not sent to {model}, which takes none"
        assert response.metadata["warnings"] == ([] if takes else [warned])

    def test_refused_temperature(self, ask, clock):
        """A model that is not known to take none is asked once more without it."""
        text = (
            'Invalid JSON payload received. Unknown name "temperature" at'
            " 'generation_config': Cannot find field."
        )
        refusal = wire.reply(google_error(400, "INVALID_ARGUMENT", text), 400)
        answers = wire.in_turn(refusal, wire.reply(generated("hi")))
        with wire.Stub(answers) as stub:
            response = ask(stub.url, MODEL="gemma-4-27b-it")
        first, second = (each.json["generationConfig"] for each in stub.received)
        assert first == {"maxOutputTokens": 300, "temperature": 0.25}
        assert second == {"maxOutputTokens": 300}
        assert response.content == "hi"
        assert response.metadata["warnings"] == [
            "temperature is not sent to gemma-4-27b-it, which refused it"
        ]
        assert clock.waits == []

    def test_model_unknown(self, httpserver, ask):
        """An answer that names no model is of the one asked."""
        wire.serve(httpserver, Row(200, generated("hi", modelVersion=None)))
        assert ask(httpserver.url_for("")).model == "gemini-3.8-flash"

    def test_environment(self, monkeypatch, echo):
        """The SDK's environment variables change neither address nor key."""
        monkeypatch.setenv("GOOGLE_API_KEY", "AIza-of-the-environment")
        monkeypatch.setenv("GEMINI_API_KEY", "AIza-of-the-environment")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
        monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
        provider = GeminiProvider(KEY, base_url=echo.url)
        assert provider.generate_content("hi").content == "echo: hi"
        assert echo.received[0].headers["x-goog-api-key"] == KEY
        assert "authorization" not in echo.received[0].headers

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example"),
            ("GOOGLE_API_USE_MTLS_ENDPOINT", "always"),
            ("GOOGLE_API_USE_MTLS_ENDPOINT", "auto"),
            ("GOOGLE_API_USE_MTLS_ENDPOINT", "never"),
            ("GOOGLE_API_USE_CLIENT_CERTIFICATE", "true"),
        ],
    )
    def test_home(self, monkeypatch, variable, value):
        """Without a base URL the key goes to Google, whatever the environment says."""
        monkeypatch.setenv(variable, value)
        service = GeminiProvider(KEY)._client.get()
        assert service.transport._host == "https://generativelanguage.googleapis.com"

    @pytest.mark.parametrize("method", ["generate_content", "list_models"])
    def test_netrc(self, monkeypatch, tmp_path, echo, method):
        """Passwords of ~/.netrc are not sent, and all else is as ever."""
        netrc = tmp_path / "netrc"
        netrc.write_text("default login somebody password hunter22\n")
        arguments = ("hi",) if method == "generate_content" else ()
        if not arguments:
            echo.answer = wire.reply({"models": []})
        for present in (False, True):
            monkeypatch.setenv("NETRC", str(netrc) if present else str(tmp_path))
            provider = GeminiProvider(KEY, base_url=echo.url)
            getattr(provider, method)(*arguments)
        without, with_it = (each.headers for each in echo.received)
        assert "authorization" not in with_it
        assert with_it["x-goog-api-key"] == KEY
        assert with_it == without

    def test_proxy(self, monkeypatch, echo):
        """It is asked through the proxy of the environment."""
        for variable in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(variable, echo.url)
        provider = GeminiProvider(KEY, base_url="http://gemini.example")
        assert provider.generate_content("hi").content == "echo: hi"
        (received,) = echo.received
        assert received.headers["host"] == "gemini.example"

    @pytest.mark.parametrize("models", [[{"name": "models/another"}], []])
    def test_endless_list(self, models):
        """A list whose pages never end is given up when the time is over."""
        page = {"models": models, "nextPageToken": "more"}
        with wire.Stub(wire.reply(page)) as stub:
            provider = GeminiProvider(KEY, base_url=stub.url, timeout=0.1)
            provider.warm_up(full=True)
            started = time.monotonic()
            with pytest.raises(TimedOutError):
                provider.list_models()
        assert 0.09 < time.monotonic() - started < AT_ONCE_S

    @pytest.mark.slow
    def test_quiet_import(self):
        """Importing the SDK warns of nothing, and hides nobody else's warnings."""
        assert wire.python(_QUIET_IMPORT, options=("-W", "error")) == "heard\n"


@pytest.fixture
def echo():
    """Return a server that repeats each prompt."""
    answer = wire.echo(TestGemini.answer, TestGemini.sent_prompt)
    with wire.Stub(answer) as stub:
        yield stub


def factory(url, **settings):
    """Return a factory of one provider, with settings of its own."""
    own = {f"LLM_GEMINI_{name}": value for name, value in settings.items()}
    config = {"GOOGLE_API_KEY": KEY, "LLM_GEMINI_BASE_URL": url, **own}
    return LLMFactory("gemini", [], config=config)


def test_switch(echo):
    """LLM_GEMINI_SDK serves the name through the other SDK, with the same settings."""
    settings = {"MODEL": "gemini-3-pro", "THINKING": "high"}
    response = factory(echo.url, SDK=NEW, **settings).generate_content("hi")
    assert (response.content, response.provider_name) == ("echo: hi", "gemini")
    (received,) = echo.received
    assert received.path == "/v1/models/gemini-3-pro:generateContent"
    assert received.headers["x-goog-api-key"] == KEY
    sent = received.json["generationConfig"]["thinkingConfig"]
    assert sent == {"thinking_level": "HIGH"}


def test_advice_after_the_switch(httpserver):
    """What the other SDK's provider advises are the settings of this name."""
    wire.serve(httpserver, google_rows.STATUSES["404"])
    error = factory(httpserver.url_for(""), SDK=NEW).generate_content("hi").error
    assert google_rows.STATUSES["404"].says in error
    spent = {"thoughtsTokenCount": 9000, "totalTokenCount": 9000}
    wire_answer = generated(finish="MAX_TOKENS", usageMetadata=spent)
    httpserver.clear()
    wire.serve(httpserver, Row(200, wire_answer))
    made = factory(httpserver.url_for(""), SDK=NEW)
    error = made.generate_content("hi", max_tokens=9000).error
    assert "(raise max_tokens or set LLM_GEMINI_THINKING=off)" in error


def test_switch_of_an_endpoint(echo):
    """An endpoint under its own name chooses its SDK by itself."""
    own = {"provider": "gemini", "sdk": NEW, "api_key": KEY, "base_url": echo.url}
    made = LLMFactory("second", [], config={"LLM_PROVIDERS": {"second": own}})
    response = made.generate_content("hi")
    assert (response.content, response.provider_name) == ("echo: hi", "second")
    assert echo.received[0].path == GENAI_PATH


def test_switch_to_something_else():
    """A third SDK is refused at the start, naming the two."""
    says = f"LLM_GEMINI_SDK must be {OLD} or {NEW}, not 'genai'"
    with pytest.raises(ValueError, match=says):
        factory(wire.closed_port(), SDK="genai")


@pytest.mark.parametrize("sdk", [OLD, NEW, None])
def test_end_of_support(echo, caplog, sdk):
    """The old SDK's first use tells, once, that it ended and what to do."""
    tell_once.cache_clear()
    for _ in range(2):
        made = factory(echo.url, SDK=sdk)
        for _ in range(2):
            assert made.generate_content("hi").content == "echo: hi"
    says = GeminiProvider(KEY).ended
    warned = [each for each in caplog.records if each.message == says]
    assert [each.levelname for each in warned] == ([] if sdk == NEW else ["WARNING"])
    assert says.endswith(
        'set LLM_GEMINI_SDK=google-genai, after pip install "Flask-LLM[google-genai]"'
    )
    assert GenaiProvider(KEY).ended == ""


@pytest.mark.parametrize(
    ("written", "place"),
    [({}, "LLM_G2_SDK"), ({"sdk": OLD}, "LLM_PROVIDERS['g2']['sdk']")],
    ids=["unset", "in the entry"],
)
def test_end_of_support_for_an_endpoint(echo, caplog, written, place):
    """An endpoint under its own name is told where its own SDK is chosen."""
    tell_once.cache_clear()
    own = {"provider": "gemini", "api_key": KEY, "base_url": echo.url} | written
    made = LLMFactory("g2", [], config={"LLM_PROVIDERS": {"g2": own}})
    assert made.generate_content("hi").success
    (told,) = [each for each in caplog.messages if "no longer supported" in each]
    assert f"set {place}=google-genai" in told


def test_thinking_with_the_old_sdk(echo, caplog):
    """The old SDK cannot say how to think: answers warn of that, the log once."""
    tell_once.cache_clear()
    made = factory(echo.url, THINKING="off", MODEL="gemini-3-pro")
    says = (
        "thinking is left to gemini-3-pro by google-generativeai"
        " (set LLM_GEMINI_SDK=google-genai)"
    )
    for _ in range(2):
        assert made.generate_content("hi").metadata["warnings"] == [says]
    assert caplog.messages.count(says) == 1
    assert "thinkingConfig" not in echo.received[0].json["generationConfig"]


def without(*modules, url, sdks):
    """Return what is answered with some SDKs set, where modules are not installed."""
    usual = {"GOOGLE_API_KEY": KEY, "LLM_GEMINI_BASE_URL": url}
    configs = [usual | ({"LLM_GEMINI_SDK": each} if each else {}) for each in sdks]
    said = wire.python(_WITHOUT, json.dumps(configs), json.dumps(modules))
    return said.splitlines()


@pytest.mark.slow
def test_old_sdk_not_installed(echo):
    """Only the successor is there: the name just works, unless the old one is set."""
    refused, answer = without("google.generativeai", url=echo.url, sdks=[OLD, None])
    assert 'not installed: pip install "Flask-LLM[gemini]"' in refused
    assert answer == "echo: hi"
    assert [each.path for each in echo.received] == [GENAI_PATH]


@pytest.mark.slow
def test_new_sdk_not_installed(echo):
    """Only the old SDK is there: it serves the name, unless the successor is set."""
    refused, answer = without("google.genai", url=echo.url, sdks=[NEW, None])
    assert 'not installed: pip install "Flask-LLM[google-genai]"' in refused
    assert answer == "echo: hi"
    (received,) = echo.received
    assert received.path.startswith(TestGemini.path)


@pytest.mark.slow
def test_no_sdk_installed(echo):
    """Without either SDK the maintained one is to be installed."""
    both = ("google.generativeai", "google.genai")
    (refused,) = without(*both, url=echo.url, sdks=[None])
    assert 'not installed: pip install "Flask-LLM[google-genai]"' in refused
    assert 'or "Flask-LLM[gemini]" for the older SDK, which needs protobuf' in refused
