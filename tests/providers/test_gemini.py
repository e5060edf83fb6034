import pytest
import wire
from wire import Row, generated, google_detail, google_error
from wire_contract import WireContract

from flask_llm.providers.gemini import GeminiProvider, _import_sdk

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"

STATUSES = {
    "400": Row(
        400,
        google_error(400, "INVALID_ARGUMENT", "Unable to submit request: bad value."),
        "invalid_request",
        "request rejected: Unable to submit request: bad value.",
    ),
    "400 prompt too long": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens"
            " allowed (1048576).",
        ),
        "context_length",
        "prompt too long: The input token count (1200000) exceeds",
    ),
    "400 key invalid": Row(
        400,
        wire.KEY_INVALID,
        "auth",
        "API key rejected (check GOOGLE_API_KEY): API key not valid.",
    ),
    "400 key expired": Row(
        400,
        google_error(
            400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): API key expired.",
    ),
    "400 key invalid, in words of tomorrow": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "Wrong credential.",
            google_detail("Help", links=[]),
            google_detail("ErrorInfo", reason="API_KEY_INVALID"),
        ),
        "auth",
        "check GOOGLE_API_KEY",
    ),
    "400 details of a strange shape": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "Bad.",
            google_detail("ErrorInfo", reason=["API_KEY_INVALID"]),
            google_detail("RetryInfo", retryDelay=37),
        ),
        "invalid_request",
        "Bad.",
    ),
    "401": Row(
        401,
        google_error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
            google_detail("ErrorInfo", reason="ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Request had invalid",
    ),
    "403": Row(
        403,
        google_error(
            403,
            "PERMISSION_DENIED",
            "Your API key was reported as leaked. Please use another API key.",
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Your API key was reported as leaked.",
    ),
    "403 API switched off": Row(
        403,
        google_error(
            403,
            "PERMISSION_DENIED",
            "Generative Language API has not been used in project 1 before.",
            google_detail("ErrorInfo", reason="SERVICE_DISABLED"),
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Generative Language API has not",
    ),
    "404": Row(
        404,
        google_error(
            404,
            "NOT_FOUND",
            "models/gemini-1.5-flash is not found for API version v1beta, or is not"
            " supported for generateContent.",
        ),
        "model_not_found",
        "(set LLM_GEMINI_MODEL, or check LLM_GEMINI_BASE_URL): models/gemini-1.5-f",
    ),
    "408": Row(408, "", "transient", "timeout"),
    "409": Row(
        409,
        google_error(409, "ABORTED", "The operation was aborted."),
        "invalid_request",
        "request rejected: The operation was aborted.",
    ),
    "413": Row(413, wire.HTML, "context_length", "prompt too long"),
    "429": Row(
        429,
        wire.exhausted(),
        "quota",
        "quota exceeded: You exceeded your current quota",
    ),
    "429 with RetryInfo": Row(
        429, wire.exhausted("37.5s"), "quota", "quota exceeded", told=37.5
    ),
    "429 with RetryInfo of whole seconds": Row(
        429, wire.exhausted("37s"), "quota", "quota exceeded", told=37.0
    ),
    "429 with both": Row(
        429,
        wire.exhausted("37.5s"),
        "quota",
        "quota exceeded",
        {"Retry-After": "60"},
        37.5,
    ),
    "429 with Retry-After": Row(
        429, wire.exhausted(), "quota", "quota exceeded", {"Retry-After": "17"}, 17.0
    ),
    "429 with Retry-After, without details": Row(
        429,
        google_error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
        "quota",
        "Resource has been exhausted.",
        {"Retry-After": "17"},
        17.0,
    ),
    "429 with an unreadable RetryInfo": Row(
        429,
        wire.exhausted("soon"),
        "quota",
        "quota exceeded",
        {"Retry-After": "17"},
        17.0,
    ),
    "429 per day": Row(429, wire.exhausted(quota="PerDay"), "quota", "quota exceeded"),
    "429 empty": Row(429, "", "quota", "quota exceeded"),
    "500": Row(
        500,
        google_error(500, "INTERNAL", "An internal error has occurred."),
        "transient",
        "server error 500: An internal error has occurred.",
    ),
    "503": Row(
        503,
        google_error(
            503, "UNAVAILABLE", "The model is overloaded. Please try again later."
        ),
        "transient",
        "server error 503: The model is overloaded.",
    ),
    "503 with RetryInfo": Row(
        503,
        google_error(
            503,
            "UNAVAILABLE",
            "The model is overloaded.",
            google_detail("RetryInfo", retryDelay="8s"),
        ),
        "transient",
        "server error 503: The model is overloaded.",
        told=8.0,
    ),
    "503 list": Row(
        503,
        [google_error(503, "UNAVAILABLE", "The model is overloaded.")],
        "transient",
        "server error 503",
    ),
    "504": Row(
        504,
        google_error(504, "DEADLINE_EXCEEDED", "Deadline expired."),
        "transient",
        "server error 504: Deadline expired.",
    ),
    "529": Row(529, wire.HTML, "transient", "server error 529"),
}

NO_ANSWERS = {
    "broken JSON": Row(200, '{"candidates": [', "transient", "malformed answer"),
    "number": Row(200, "5", "transient", "malformed answer"),
    "list": Row(200, [generated("hi")], "transient", "malformed answer"),
    "candidates of a text": Row(
        200, {"candidates": "hi"}, "transient", "malformed answer"
    ),
    "parts of numbers": Row(
        200,
        generated(finish="STOP") | {"candidates": [{"content": {"parts": [5]}}]},
        "transient",
        "malformed answer",
    ),
    "{}": Row(200, {}, "bad_answer", "answer without a candidate"),
    "empty list": Row(200, "[]", "bad_answer", "answer without a candidate"),
    "no candidates": Row(
        200, generated(candidates=[]), "bad_answer", "answer without a candidate"
    ),
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
    "MAX_TOKENS without text": Row(
        200,
        generated(finish="MAX_TOKENS"),
        "bad_answer",
        "thinking used up max_tokens before any text (raise max_tokens)",
    ),
    "STOP without parts": Row(200, generated(), "bad_answer", "empty answer"),
    "blank text": Row(200, generated(" ", "\n"), "bad_answer", "empty answer"),
    "function call": Row(
        200,
        generated(
            candidates=[
                {
                    "content": {"parts": [{"functionCall": {"name": "dig"}}]},
                    "finishReason": "STOP",
                }
            ]
        ),
        "bad_answer",
        "empty answer",
    ),
    "prompt blocked": Row(
        200, wire.blocked_prompt(), "content_blocked", "prompt blocked (SAFETY)"
    ),
    "prompt prohibited": Row(
        200,
        wire.blocked_prompt("PROHIBITED_CONTENT"),
        "content_blocked",
        "prompt blocked (PROHIBITED_CONTENT)",
    ),
} | {
    finish: Row(
        200,
        generated(*texts, finish=finish),
        "content_blocked",
        "answer blocked by a safety filter",
    )
    for finish, texts in {
        "SAFETY": (),
        "RECITATION": ("To be, or",),
        "BLOCKLIST": (),
        "PROHIBITED_CONTENT": ("First, take",),
        "SPII": (),
        "IMAGE_SAFETY": (),
    }.items()
}

ANSWERS = {
    "several parts": (generated("Rayl", "eigh"), "Rayleigh", "stop"),
    "max tokens": (generated("Rayl", finish="MAX_TOKENS"), "Rayl", "length"),
    "text beside a call": (
        generated(
            candidates=[
                {
                    "content": {
                        "parts": [
                            {"functionCall": {"name": "dig"}},
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
    "fields of tomorrow": (
        generated("Scattering", mood={"level": "high"}),
        "Scattering",
        "stop",
    ),
    "two candidates": (
        generated(candidates=generated("one")["candidates"] * 2),
        "one",
        "stop",
    ),
}

KNOWN = {
    "model": "gemini-3.8-flash-001",
    # What was thought is paid for as output.
    "usage": {"input_tokens": 6, "output_tokens": 19, "total_tokens": 25},
    "request_id": None,
    "warnings": ["temperature is not sent to gemini-3.8-flash, which takes none"],
}

NO_USAGE = {
    str(usage): generated(wire.ANSWER, usageMetadata=usage) for usage in (None, {})
}

ECHO_OF_KEY = Row(
    403,
    google_error(403, "PERMISSION_DENIED", f"{KEY} was reported as leaked"),
    "auth",
    "[redacted] was reported as leaked",
)

LEAKS = {
    "error": ECHO_OF_KEY.body,
    "strange details": google_error(
        403, "X", KEY, google_detail("ErrorInfo", reason=[KEY])
    ),
    "strange shape": {"error": KEY},
    "text": KEY,
}

# Whether each of them takes a temperature.
MODELS = {
    "gemini-3.8-flash": False,
    "gemini-3.6-pro": False,
    "gemini-4-flash": False,
    "gemini-flash-latest": False,
    "models/gemini-3.8-flash": False,
    "gemini-3.5-flash-lite": True,
    "gemini-3-pro": True,
    "models/gemini-3.5-flash-lite": True,
    "gemma-4-27b-it": True,
}

_QUIET_IMPORT = """
import warnings
from flask_llm.providers.gemini import GeminiProvider

GeminiProvider("key-0123456789")._client.get()
try:
    warnings.warn("of somebody else", FutureWarning)
except FutureWarning:
    print("heard")
"""


class TestGemini(WireContract):
    name = "gemini"
    provider_class = GeminiProvider
    key = KEY
    key_setting = "GOOGLE_API_KEY"
    key_header = ("x-goog-api-key", "{}")
    path = "/v1beta/models/gemini-3.8-flash:generateContent"
    reuse = True
    known = KNOWN
    answers = ANSWERS
    no_usage = NO_USAGE
    statuses = STATUSES
    exhausted = ("429 per day",)
    no_answers = NO_ANSWERS
    trouble = STATUSES["503"]
    echo_of_key = ECHO_OF_KEY
    leaks = LEAKS

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

    @pytest.mark.parametrize(("model", "takes"), MODELS.items(), ids=MODELS)
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

    def test_home(self, monkeypatch):
        """Without a base URL the key goes to Google, whatever the environment says."""
        monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
        service = GeminiProvider(KEY)._client.get()._client
        assert service.transport._host == "https://generativelanguage.googleapis.com"

    def test_quiet_import(self):
        """Importing the SDK warns of nothing, and hides nobody else's warnings."""
        assert wire.python(_QUIET_IMPORT, options=("-W", "error")) == "heard\n"
