import logging
import time

import google_rows
import pytest
import wire
from real_time import AT_ONCE_S
from wire import Row, generated, google_error
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import BadAnswerError, ProviderError, TimedOutError
from flask_llm.providers.base import Retirement
from flask_llm.providers.google.gemini import GeminiProvider
from flask_llm.providers.google.genai import GenaiProvider
from flask_llm.types import Request

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"

STATUSES = google_rows.statuses("genai") | {
    "201": Row(201, generated("hi"), "transient", "malformed answer"),
    "204": Row(204, "", "transient", "malformed answer"),
    "400 without an error": Row(400, {"status": "odd"}, "invalid_request", "rejected"),
    "400 number": Row(400, "5", "invalid_request", "request rejected"),
    "503 list of two": Row(
        503,
        [google_error(503, "UNAVAILABLE", "The model is overloaded.")] * 2,
        "transient",
        "server error 503",
    ),
}

NO_ANSWERS = (
    google_rows.NO_ANSWERS
    | {
        "{}": Row(200, {}, "transient", "malformed answer"),
        "empty list": Row(200, "[]", "transient", "malformed answer"),
        # The SDK takes each letter for a candidate.
        "candidates of a text": Row(
            200,
            {"candidates": "hi"},
            "bad_answer",
            "incomplete answer (finish reason: None)",
        ),
        "unrelated JSON": Row(200, {"status": "ok"}, "transient", "malformed answer"),
        "only a model": Row(
            200, {"modelVersion": "gemini-3.8-flash"}, "transient", "malformed answer"
        ),
        "only a cost": Row(
            200,
            {"usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6}},
            "bad_answer",
            "answer without a candidate",
        ),
        "only a thought": Row(
            200,
            generated(
                candidates=[
                    {
                        "content": {"parts": [{"text": "Hm.", "thought": True}]},
                        "finishReason": "STOP",
                    }
                ]
            ),
            "bad_answer",
            "empty answer",
        ),
        "prompt blocked for a reason of tomorrow": Row(
            200,
            wire.blocked_prompt("BAD_MANNERS"),
            "content_blocked",
            "prompt blocked (BAD_MANNERS)",
        ),
        "bare candidate": Row(
            200,
            generated(candidates=[{}]),
            "bad_answer",
            "incomplete answer (finish reason: None)",
        ),
        "no finish reason": Row(
            200,
            generated("Rayl", finish=None),
            "bad_answer",
            "incomplete answer (finish reason: None)",
        ),
        "MAX_TOKENS without thinking": Row(
            200,
            generated(finish="MAX_TOKENS", usageMetadata={"totalTokenCount": 6}),
            "bad_answer",
            "max_tokens used up before any text (raise max_tokens)",
        ),
    }
    | {
        finish: Row(
            200,
            generated("Rayl", finish=finish),
            "bad_answer",
            f"incomplete answer (finish reason: {finish})",
        )
        for finish in ("DAYDREAM", "OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL")
    }
    | {
        finish: Row(
            200,
            generated("Rayl", finish=finish),
            "content_blocked",
            "answer blocked by a safety filter",
        )
        for finish in ("IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR", "ESCALATION")
    }
)

ANSWERS = google_rows.ANSWERS | {
    "a thought before the text": (
        generated(
            candidates=[
                {
                    "content": {
                        "parts": [
                            {"text": "Hm, the sky.", "thought": True},
                            {"text": "Scattering"},
                        ]
                    },
                    "finishReason": "STOP",
                }
            ]
        ),
        "Scattering",
        "stop",
    ),
    "fields of tomorrow inside a part": (
        generated(
            candidates=[
                {
                    "content": {"parts": [{"text": "Scattering", "mood": {"x": 1}}]},
                    "finishReason": "STOP",
                    "verdict": "fine",
                }
            ]
        ),
        "Scattering",
        "stop",
    ),
}

# What the SDK would do with them, were our configuration silent.
ENVIRONMENT = {
    "GOOGLE_API_KEY": "AIza-of-the-environment",
    "GEMINI_API_KEY": "AIza-of-the-environment",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_GENAI_USE_ENTERPRISE": "true",
    "GOOGLE_GENAI_API_VERSION": "beta",
    "GOOGLE_GENAI_HTTP_CLIENT": "httpx",
    "GOOGLE_GENAI_CLIENT_MODE": "replay",
    "GOOGLE_GENAI_REPLAYS_DIRECTORY": "/nowhere",
    "GOOGLE_GENAI_REPLAY_ID": "nothing",
    "GOOGLE_CLOUD_PROJECT": "of-the-environment",
    "GOOGLE_CLOUD_LOCATION": "of-the-environment",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json",
    "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "evil.example",
}

NO_LEVEL = "Thinking level {} is not supported for this model. Please retry."

# What is sent of thinking: by model, setting and max_tokens.
LEVEL, BUDGET = "thinking_level", "thinking_budget"
THINKING = [
    ("gemini-3.8-flash", "auto", 300, {LEVEL: "LOW"}),
    ("gemini-3.8-flash", "auto", 4095, {LEVEL: "LOW"}),
    ("gemini-3.8-flash", "auto", 4096, None),
    ("gemini-3.8-flash", "off", 9000, {LEVEL: "LOW"}),
    ("gemini-3.8-flash", "minimal", 9000, {LEVEL: "LOW"}),
    ("gemini-3.8-flash", "HIGH", 300, {LEVEL: "HIGH"}),
    ("gemini-3.8-flash", "medium", 300, {LEVEL: "MEDIUM"}),
    ("gemini-3.8-flash", "low", 300, {LEVEL: "LOW"}),
    ("gemini-flash-latest", "auto", 300, {LEVEL: "LOW"}),
    ("gemini-flash-lite-latest", "auto", 300, {LEVEL: "MINIMAL"}),
    ("gemini-3.6-flash", "auto", 300, {LEVEL: "MINIMAL"}),
    ("models/gemini-3-pro", "auto", 300, {LEVEL: "LOW"}),
    ("gemini-2.5-flash", "auto", 300, {BUDGET: 0}),
    ("gemini-2.5-pro", "off", 9000, {BUDGET: 128}),
    ("gemini-2.5-flash", "1000", 9000, {BUDGET: 1000}),
    ("gemini-2.5-flash", 1000, 300, {BUDGET: 150}),
    ("gemini-2.5-flash", "auto", 9000, None),
    ("gemini-2.0-flash", "off", 300, None),
    ("gemma-4-27b-it", "off", 300, None),
]

_ALONE_AND_QUIET = """
import sys, warnings
from flask_llm.providers.google.genai import GenaiProvider

GenaiProvider("key-0123456789").warm_up(full=True)
print(sorted({"grpc", "google.generativeai", "google.api_core"} & set(sys.modules)))
try:
    warnings.warn("of somebody else")
except UserWarning:
    print("heard")
"""


class TestGenai(WireContract):
    name = "genai"
    provider_class = GenaiProvider
    key = KEY
    key_setting = "GOOGLE_API_KEY"
    key_header = ("x-goog-api-key", "{}")
    path = "/v1/models/gemini-3.8-flash:generateContent"
    known = {  # noqa: RUF012
        "model": "gemini-3.8-flash-001",
        # What was thought is paid for as output.
        "usage": {
            "input_tokens": 6,
            "output_tokens": 19,
            "total_tokens": 25,
            "reasoning_tokens": 15,
        },
        "request_id": "mAitaLmkHPPlz7IPvtfUqQ4",
        "warnings": ["temperature is not sent to gemini-3.8-flash, which takes none"],
    }
    answers = ANSWERS
    no_usage = google_rows.NO_USAGE
    statuses = STATUSES
    exhausted = ("429 per day",)
    no_answers = NO_ANSWERS
    trouble = google_rows.STATUSES["503"]
    echo_of_key = Row(
        403,
        google_rows.leaks(KEY)["error"],
        "auth",
        "[redacted] was reported as leaked",
    )
    leaks = google_rows.leaks(KEY)

    @staticmethod
    def answer(text=wire.ANSWER):
        return generated(text)

    @staticmethod
    def sent_prompt(received):
        return received.json["contents"][0]["parts"][0]["text"]

    @staticmethod
    def hang_up(client):
        client._api_client._httpx_client.close()

    def test_request(self, httpserver, ask):
        """The request carries model, prompt, max_tokens and, in a header, the key."""
        wire.serve(httpserver, Row(200, generated("hi")))
        ask(httpserver.url_for(""), max_tokens=9000)
        ((request, _),) = httpserver.log
        assert request.path == self.path
        assert request.json == {
            "contents": [{"role": "user", "parts": [{"text": wire.PROMPT}]}],
            "generationConfig": {"maxOutputTokens": 9000},
        }
        assert request.headers["x-goog-api-key"] == KEY
        assert KEY not in request.url

    @pytest.mark.parametrize("slash", ["", "/", "/proxy", "/proxy/"])
    def test_address(self, echo, slash):
        """A base URL may have a path, and a slash at its end."""
        GenaiProvider(KEY, base_url=f"{echo.url}{slash}").generate_content("hi")
        (received,) = echo.received
        assert received.path == f"{slash.rstrip('/')}{self.path}"

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

    @pytest.mark.parametrize(("model", "thinking", "most", "sent"), THINKING)
    def test_thinking(self, httpserver, ask, model, thinking, most, sent):
        """A short call thinks as little as its model can; settings say otherwise."""
        wire.serve(httpserver, Row(200, generated("hi")))
        response = ask(
            httpserver.url_for(""), MODEL=model, THINKING=thinking, max_tokens=most
        )
        ((request, _),) = httpserver.log
        assert request.json["generationConfig"].get("thinkingConfig") == sent
        held = "thinking is held to half of max_tokens" in response.metadata["warnings"]
        assert held == (sent == {BUDGET: 150})

    @pytest.mark.parametrize("thinking", ["much", "-1", "1.5", True])
    def test_thinking_in_other_words(self, thinking):
        """A setting that means nothing is refused at the start, with what is right."""
        with pytest.raises(ValueError, match="LLM_GENAI_THINKING must be off, auto, m"):
            LLMFactory("genai", [], config={"LLM_GENAI_THINKING": thinking})

    def test_refused_levels(self, ask, clock):
        """A model that refuses the least thinking is asked for little, then for any."""
        texts = (NO_LEVEL.format("MINIMAL"), NO_LEVEL.format("LOW"))
        refusals = [
            wire.reply(google_error(400, "INVALID_ARGUMENT", text), 400)
            for text in texts
        ]
        with wire.Stub(wire.in_turn(*refusals, wire.reply(generated("hi")))) as stub:
            response = ask(stub.url, MODEL="gemini-3.6-flash")
        sent = [
            each.json["generationConfig"].get("thinkingConfig")
            for each in stub.received
        ]
        assert sent == [{LEVEL: "MINIMAL"}, {LEVEL: "LOW"}, None]
        assert response.content == "hi"
        assert clock.waits == []

    @pytest.mark.parametrize(
        ("text", "then"),
        [
            (
                "'minimal' is not a supported thinking level. Allowed levels: medium",
                "MEDIUM",
            ),
            ("THINKING_LEVEL_MINIMAL is unsupported for this model.", "LOW"),
        ],
    )
    def test_a_level_that_is_refused_in_the_field(self, ask, text, then):
        """Its nearest neighbour is asked for, if the answer says which there are."""
        refusal = wire.reply(google_error(400, "INVALID_ARGUMENT", text), 400)
        with wire.Stub(wire.in_turn(refusal, wire.reply(generated("hi")))) as stub:
            assert ask(stub.url, MODEL="gemini-3.6-flash").success
        second = stub.received[1].json["generationConfig"]
        assert second.get("thinkingConfig") == {LEVEL: then}

    def test_refused_budget(self, ask):
        """A budget that a model refuses is left out from then on, and told."""
        text = "Unable to submit request because thinking_budget is not supported."
        refusal = wire.reply(google_error(400, "INVALID_ARGUMENT", text), 400)
        with wire.Stub(wire.in_turn(refusal, wire.reply(generated("hi")))) as stub:
            response = ask(stub.url, MODEL="gemini-3.8-flash", THINKING=100)
        assert "thinkingConfig" not in stub.received[1].json["generationConfig"]
        assert (
            "thinking_budget is not sent to gemini-3.8-flash, which refused it"
            in response.metadata["warnings"]
        )

    @pytest.mark.parametrize(
        ("thinking", "spent", "most", "helps"),
        [
            ("auto", 15, 300, False),
            ("auto", 9000, 9000, True),
            ("high", 15, 300, True),
            ("off", 15, 300, False),
        ],
    )
    def test_advice(self, httpserver, thinking, spent, most, helps):
        """Switching thinking off is advised only where that can help."""
        counted = {"thoughtsTokenCount": spent, "totalTokenCount": spent + 6}
        body = generated(finish="MAX_TOKENS", usageMetadata=counted)
        wire.serve(httpserver, Row(200, body))
        provider = GenaiProvider(
            KEY, base_url=httpserver.url_for(""), thinking=thinking
        )
        with pytest.raises(BadAnswerError) as caught:
            provider.generate_content("hi", max_tokens=most)
        assert caught.value.reason == "thinking used up max_tokens before any text"
        off = " or set LLM_GENAI_THINKING=off" if helps else ""
        assert caught.value.advice == f"raise max_tokens{off}"

    @pytest.mark.parametrize("variable", [*ENVIRONMENT, "all of them"])
    def test_environment(self, monkeypatch, echo, variable):
        """The SDK's environment variables change neither key nor address nor API."""
        for name, value in ENVIRONMENT.items():
            if variable in {name, "all of them"}:
                monkeypatch.setenv(name, value)
        provider = GenaiProvider(KEY, base_url=echo.url)
        assert provider.generate_content("hi").content == "echo: hi"
        (received,) = echo.received
        assert received.path == self.path
        assert received.headers["x-goog-api-key"] == KEY
        assert "authorization" not in received.headers

    @pytest.mark.parametrize("library", ["httpx", "httpx2", "curl"])
    def test_http_library(self, monkeypatch, library):
        """GOOGLE_GENAI_HTTP_CLIENT does not take the limits off a body."""
        monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", library)
        with wire.Stub(wire.drip(generated("hi"))) as stub:
            self.assert_timed_out(stub)

    def test_home(self, monkeypatch):
        """Without a base URL the key goes to Google, whatever the environment says."""
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://evil.example")
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://evil.example")
        options = GenaiProvider(KEY)._client.get()._api_client._http_options
        assert options.base_url == "https://generativelanguage.googleapis.com"

    def test_short_time(self):
        """A time below a millisecond is short, not endless."""
        late = wire.drip(generated("hi"), late=AT_ONCE_S)
        with wire.Stub(late) as stub:
            provider = GenaiProvider(KEY, base_url=stub.url)
            provider.warm_up(full=True)
            started = time.monotonic()
            with pytest.raises(TimedOutError):
                provider.answer(Request("hi", timeout=0.0001))
        assert time.monotonic() - started < AT_ONCE_S

    def test_one_request(self, ask):
        """An answer that asks to be continued is not, behind our back."""
        body = generated("Rayl", finish="CONTINUATION")
        body["candidates"][0]["continuationToken"] = "dG9rZW4="
        answers = wire.in_turn(wire.reply(body), wire.reply(generated("eigh")))
        with wire.Stub(answers) as stub:
            response = ask(stub.url)
        assert "finish reason: CONTINUATION" in response.error
        assert len(stub.received) == 1

    def test_model_unknown(self, httpserver, ask):
        """An answer that names no model is of the one asked."""
        wire.serve(httpserver, Row(200, generated("hi", modelVersion=None)))
        assert ask(httpserver.url_for("")).model == "gemini-3.8-flash"

    def test_no_noise(self, httpserver, ask, caplog):
        """The SDK's own loggers say nothing of an ordinary answer."""
        call = [{"functionCall": {"name": "dig"}}, {"text": "Scattering"}]
        wire.serve(
            httpserver,
            Row(
                200,
                generated(
                    candidates=[{"content": {"parts": call}, "finishReason": "STOP"}]
                ),
            ),
        )
        caplog.set_level(logging.INFO)
        assert ask(httpserver.url_for("")).content == "Scattering"
        assert not [each for each in caplog.records if "google" in each.name]

    @pytest.mark.slow
    def test_alone_and_quiet(self):
        """It loads neither gRPC nor the old SDK, and hides nobody's warnings."""
        said = wire.python(_ALONE_AND_QUIET, options=("-W", "error"))
        assert said == "[]\nheard\n"

    def test_both_sdks(self, echo):
        """Both SDKs of Google serve one process, in turn, with a key each."""
        old = GeminiProvider("key-of-the-old", base_url=echo.url)
        new = GenaiProvider("key-of-the-new", base_url=echo.url)
        for _ in range(2):
            for provider in (old, new):
                assert provider.generate_content("hi").content == "echo: hi"
        keys = [each.headers["x-goog-api-key"] for each in echo.received]
        assert keys == ["key-of-the-old", "key-of-the-new"] * 2


def listed(name, *actions):
    return {"name": f"models/{name}", "supportedGenerationMethods": list(actions)}


def test_list_models(httpserver):
    """The list names the models that generate text, from all its pages."""
    first = httpserver.expect_ordered_request("/v1/models", method="GET")
    first.respond_with_json(
        {
            "models": [
                listed("gemini-3.8-flash", "generateContent", "countTokens"),
                listed("embedding-3", "embedContent"),
            ],
            "nextPageToken": "more",
        }
    )
    second = httpserver.expect_ordered_request("/v1/models", method="GET")
    second.respond_with_json({"models": [listed("gemini-3-pro", "generateContent")]})
    provider = GenaiProvider(KEY, base_url=httpserver.url_for(""))
    assert provider.list_models() == ["gemini-3-pro", "gemini-3.8-flash"]
    assert httpserver.log[1][0].args["pageToken"] == "more"


def test_endless_list():
    """A list whose pages never end is given up when the time is over."""
    page = {"models": [listed("gemini-3-pro")], "nextPageToken": "more"}
    with wire.Stub(wire.reply(page)) as stub:
        provider = GenaiProvider(KEY, base_url=stub.url, timeout=0.1)
        provider.warm_up(full=True)
        started = time.monotonic()
        with pytest.raises(TimedOutError):
            provider.list_models()
    assert 0.09 < time.monotonic() - started < AT_ONCE_S


def test_list_of_a_bad_key(httpserver):
    """A list that is refused raises our own error, without the key."""
    httpserver.expect_request("/v1/models").respond_with_json(
        google_rows.leaks(KEY)["error"], 403
    )
    provider = GenaiProvider(KEY, base_url=httpserver.url_for(""))
    with pytest.raises(ProviderError) as caught:
        provider.list_models()
    assert caught.value.kind == "auth"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("provider_class", [GeminiProvider, GenaiProvider])
def test_retirement(provider_class):
    """A model whose end Google has announced says when, and what follows."""
    old = provider_class(KEY, model="models/gemini-2.5-pro").retirement()
    assert isinstance(old, Retirement)
    assert (old.on.isoformat(), old.successor) == ("2026-12-01", "gemini-3.8-flash")
    assert provider_class(KEY).retirement() is None
