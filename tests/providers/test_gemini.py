import pickle
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
import wire
from wire import Row, generated, google_detail, google_error

from flask_llm import LLMFactory
from flask_llm.errors import ProviderError
from flask_llm.providers.gemini import GeminiProvider, _import_sdk

KEY = "AIzaSyA-made-up-key-0123456789abcdefgh"
OLD = "gemini-3.5-flash-lite"  # takes a temperature

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
    "429 of a gateway": Row(429, {"error": "slow down"}, "quota", "quota exceeded"),
    "429 empty": Row(429, "", "quota", "quota exceeded"),
    "500": Row(
        500,
        google_error(500, "INTERNAL", "An internal error has occurred."),
        "transient",
        "server error 500: An internal error has occurred.",
    ),
    "502 web page": Row(502, wire.HTML, "transient", "server error 502"),
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
    "503 empty": Row(503, "", "transient", "server error 503"),
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
    "web page as JSON": Row(200, wire.HTML, "transient", "malformed answer"),
    "web page": Row(
        200, wire.HTML, "transient", "malformed answer", {"Content-Type": "text/html"}
    ),
    "empty body": Row(200, "", "transient", "malformed answer"),
    "null": Row(200, "null", "transient", "malformed answer"),
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

FAULTS = {
    "reset": (wire.reset, "connection error"),
    "closed": (wire.close, "connection error"),
    "half a body": (wire.half(generated("hi")), "connection error"),
    "read timeout": (wire.hang, "timeout"),
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


@pytest.fixture
def ask(clock):
    """Ask Gemini at an address, through the whole of the factory."""

    def ask(url, **settings):
        config = {
            "GOOGLE_API_KEY": KEY,
            "LLM_GEMINI_BASE_URL": url,
            "LLM_GEMINI_TIMEOUT": 5,
            "LLM_MAX_RETRIES": 3,
        }
        factory = LLMFactory("gemini", [], config=config | settings, clock=clock)
        return factory.generate_content(wire.PROMPT, temperature=0.25, max_tokens=300)

    return ask


@pytest.fixture
def echo():
    """Return a server that repeats each prompt."""
    with wire.Stub(wire.echo(generated, wire.generated_prompt)) as stub:
        yield stub


def test_answer(httpserver, ask, clock):
    """An answer comes with its text and everything known about it, for one request."""
    wire.serve(httpserver, Row(200, generated(wire.ANSWER), "", ""))
    response = ask(httpserver.url_for(""))
    assert response.success
    assert response.error is None
    assert response.content == wire.ANSWER
    assert response.provider_name == "gemini"
    assert response.metadata == {
        "model": "gemini-3.8-flash-001",
        # What was thought is paid for as output.
        "usage": {"input_tokens": 6, "output_tokens": 19, "total_tokens": 25},
        "finish_reason": "stop",
        "request_id": None,
        "warnings": ["temperature is not sent to gemini-3.8-flash, which takes none"],
        "attempts": response.metadata["attempts"],
        "latency_s": 0.0,
        "error_kind": None,
    }
    assert [each.outcome for each in response.attempts] == ["success"]
    assert len(httpserver.log) == 1
    assert clock.waits == []


def test_request(httpserver, ask):
    """The request carries model, prompt, max_tokens and the key, that in a header."""
    wire.serve(httpserver, Row(200, generated("hi"), "", ""))
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
def test_temperature(httpserver, ask, model, takes):
    """Temperature goes to the models that take it; the others' answers warn of it."""
    wire.serve(httpserver, Row(200, generated("hi"), "", ""))
    response = ask(httpserver.url_for(""), LLM_GEMINI_MODEL=model)
    ((request, _),) = httpserver.log
    assert f"/models/{model.removeprefix('models/')}:" in request.path
    assert request.json["generationConfig"].get("temperature") == (
        0.25 if takes else None
    )
    warned = f"temperature is not sent to {model}, which takes none"
    assert response.metadata["warnings"] == ([] if takes else [warned])


@pytest.mark.parametrize(("body", "content", "finish"), ANSWERS.values(), ids=ANSWERS)
def test_answers(httpserver, ask, body, content, finish):
    """The text parts of the first candidate make the content; a cut answer says so."""
    wire.serve(httpserver, Row(200, body, "", ""))
    response = ask(httpserver.url_for(""), LLM_GEMINI_MODEL=OLD)
    assert response.content == content
    assert response.metadata["finish_reason"] == finish
    cut = ["the answer is cut at max_tokens"] if finish == "length" else []
    assert response.metadata["warnings"] == cut
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("usage", [None, {}], ids=str)
def test_usage_unknown(httpserver, ask, usage):
    """An answer without usage and model is an answer; its model is the one asked."""
    body = generated("hi", usageMetadata=usage, modelVersion=None)
    wire.serve(httpserver, Row(200, body, "", ""))
    response = ask(httpserver.url_for(""))
    assert response.content == "hi"
    assert response.usage is None
    assert response.model == "gemini-3.8-flash"


@pytest.mark.parametrize("row", STATUSES.values(), ids=STATUSES)
def test_status(httpserver, ask, clock, row):
    """Each error status becomes its kind, and is repeated by nobody but the chain."""
    wire.serve(httpserver, row)
    response = ask(httpserver.url_for(""))
    assert row.says in response.error
    assert "POST http" not in response.error  # the SDK's prefix
    story = wire.story(response, clock, len(httpserver.log))
    assert story == wire.failure(row.kind, row.status, row.told)


@pytest.mark.parametrize("row", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_no_answer(httpserver, ask, clock, row):
    """A success status without a usable text is no success."""
    wire.serve(httpserver, row)
    response = ask(httpserver.url_for(""))
    assert row.says in response.error
    story = wire.story(response, clock, len(httpserver.log))
    assert story == wire.failure(row.kind)


@pytest.mark.parametrize(("answer", "says"), FAULTS.values(), ids=FAULTS)
def test_fault(ask, clock, answer, says):
    """Each fault of the connection is transient."""
    seconds = 0.3 if answer is wire.hang else 5
    with wire.Stub(answer) as stub:
        response = ask(stub.url, LLM_GEMINI_TIMEOUT=seconds)
        assert f"gemini: {says}" in response.error
        story = wire.story(response, clock, len(stub.received))
    assert story == wire.failure("transient")


def test_refused(ask, clock):
    """A refused connection is transient."""
    response = ask(wire.closed_port())
    assert "gemini: connection error" in response.error
    # Nobody is there to count.
    assert wire.story(response, clock, 3) == wire.failure("transient")


def test_retry_after_date(httpserver, ask):
    """A Retry-After that is a date becomes the seconds until then."""
    headers = {"Retry-After": formatdate(time.time() + 120, usegmt=True)}
    wire.serve(httpserver, Row(429, wire.exhausted(), "", "", headers))
    (attempt,) = ask(httpserver.url_for("")).attempts
    assert attempt.outcome == "quota"
    assert attempt.retry_after_s == pytest.approx(120, abs=10)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(httpserver, ask, status):
    """A redirect to another host does not take the key there."""
    with wire.Stub(wire.reply(generated("hi"))) as other:
        elsewhere = {"Location": f"{other.url}/v1beta/models/x:generateContent"}
        wire.serve(httpserver, Row(status, "", "", "", elsewhere))
        response = ask(httpserver.url_for(""))
        assert httpserver.log
        assert all(KEY not in str(each.headers) for each in other.received)
    assert not response.success


def test_answer_after_trouble(httpserver, ask, clock):
    """A server that recovers is asked no more often than it takes."""
    path = "/v1beta/models/gemini-3.8-flash:generateContent"
    overloaded = google_error(503, "UNAVAILABLE", "The model is overloaded.")
    bad = httpserver.expect_ordered_request(path, method="POST")
    bad.respond_with_json(overloaded, 503)
    good = httpserver.expect_ordered_request(path, method="POST")
    good.respond_with_json(generated("hi"))
    response = ask(httpserver.url_for(""))
    assert response.content == "hi"
    assert [each.outcome for each in response.attempts] == ["transient", "success"]
    assert len(httpserver.log) == 2
    assert clock.waits == [5.0]


def test_key_in_no_text(httpserver, ask, caplog):
    """A key that the server repeats is in no response and in no log."""
    caplog.set_level("DEBUG")
    echoed = google_error(403, "PERMISSION_DENIED", f"{KEY} was reported as leaked")
    wire.serve(httpserver, Row(403, echoed, "", ""))
    response = ask(httpserver.url_for(""))
    assert "[redacted] was reported as leaked" in response.error
    assert KEY not in repr(response)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        google_error(403, "PERMISSION_DENIED", f"{KEY} was reported as leaked"),
        google_error(403, "X", KEY, google_detail("ErrorInfo", reason=[KEY])),
        {"error": KEY},
        KEY,
    ],
    ids=["error", "strange details", "strange shape", "text"],
)
@pytest.mark.parametrize("status", [200, 400, 403, 503])
def test_error_of_its_own(httpserver, status, body):
    """Used directly it raises our error only: nothing of it leads to the key."""
    wire.serve(httpserver, Row(status, body, "", ""))
    provider = GeminiProvider(KEY, base_url=httpserver.url_for(""))
    with pytest.raises(ProviderError) as caught:
        provider.generate_content(wire.PROMPT)
    error = caught.value
    assert error.provider == "gemini"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in f"{error} {error!r} {vars(error)}"
    assert KEY not in "".join(traceback.format_exception(error))
    assert KEY.encode() not in pickle.dumps(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy)) == (type(error), vars(error))


def test_password_of_base_url(httpserver):
    """A password in the address is in no error."""
    wire.serve(httpserver, Row(503, "", "", ""))
    url = httpserver.url_for("").replace("//", "//proxy:hunter22@")
    with pytest.raises(ProviderError) as caught:
        GeminiProvider(KEY, base_url=url).generate_content(wire.PROMPT)
    assert "hunter22" not in f"{caught.value} {caught.value!r}"


def test_malformed_key():
    """A key that no header can carry is refused at once, and not repeated."""
    with pytest.raises(ValueError, match="line break") as caught:
        GeminiProvider(f"{KEY}\n{KEY}")
    assert KEY not in f"{caught.value} {caught.value!r}"


def test_key_from_a_file(echo):
    """A key with the line end of a secret file is used without it."""
    provider = GeminiProvider(f"{KEY}\n", base_url=echo.url)
    assert provider.generate_content("hi").content == "echo: hi"
    assert echo.received[0].headers["x-goog-api-key"] == KEY


def test_two_keys(monkeypatch, echo):
    """Providers with different keys, used by many threads in turn, never mix them.

    Nor does the SDK's own key, which is one for the whole process.
    """
    genai = _import_sdk()
    from google.generativeai import client

    monkeypatch.setattr(client, "_client_manager", client._ClientManager())
    keys = ["AIza-key-of-the-first", "AIza-key-of-the-second"]
    providers = {key: GeminiProvider(key, base_url=echo.url) for key in keys}
    prompts = [f"{key} {number}" for number in range(20) for key in keys]

    def ask(prompt):
        genai.configure(api_key="AIza-key-of-the-process", transport="rest")
        return providers[prompt.split()[0]].generate_content(prompt).content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, prompts)) == [f"echo: {each}" for each in prompts]
    assert len(echo.received) == len(prompts)
    for each in echo.received:
        key = wire.generated_prompt(each).split()[0]
        assert each.headers["x-goog-api-key"] == key


def test_many_threads(caplog):
    """Many threads share a provider at once, and each gets its own answer."""
    prompts = [str(number) for number in range(32)]
    answer = wire.together(16, wire.echo(generated, wire.generated_prompt))
    with wire.Stub(answer, keep_alive=True) as stub, ThreadPoolExecutor(16) as pool:
        provider = GeminiProvider(KEY, base_url=stub.url)
        answers = list(pool.map(provider.generate_content, prompts))
    assert [each.content for each in answers] == [f"echo: {p}" for p in prompts]
    assert "pool is full" not in caplog.text


def test_fork():
    """A child process never uses its parent's connection; both get their answers."""
    echo = wire.echo(generated, wire.generated_prompt)
    with wire.Stub(echo, keep_alive=True) as stub:
        wire.fork_with(GeminiProvider, stub.url)
    connections = {"parent": set(), "child": set()}
    for each in stub.received:
        connections[wire.generated_prompt(each).split()[0]].add(each.connection)
    assert [len(each) for each in connections.values()] == [1, 1]  # kept alive
    assert connections["parent"].isdisjoint(connections["child"])


def test_environment(monkeypatch, echo):
    """The SDK's environment variables change neither address nor key."""
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-of-the-environment")
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-of-the-environment")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
    provider = GeminiProvider(KEY, base_url=echo.url)
    assert provider.generate_content("hi").content == "echo: hi"
    assert echo.received[0].headers["x-goog-api-key"] == KEY
    assert "authorization" not in echo.received[0].headers


def test_home(monkeypatch):
    """Without a base URL the key goes to Google, whatever the environment says."""
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
    service = GeminiProvider(KEY)._client.get()._client
    assert service.transport._host == "https://generativelanguage.googleapis.com"


def test_quiet_import():
    """Importing the SDK warns of nothing, and hides nobody else's warnings."""
    assert wire.python(_QUIET_IMPORT, options=("-W", "error")) == "heard\n"
