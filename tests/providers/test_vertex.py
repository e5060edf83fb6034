import json
import os
import pickle
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import SimpleNamespace
from urllib.parse import quote_plus

import google_rows
import pytest
import wire
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from real_time import AT_ONCE_S
from wire import Row, generated, google_detail, google_error
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import (
    AuthError,
    InvalidRequestError,
    ProviderError,
    TimedOutError,
    TransientError,
)
from flask_llm.providers.google import vertex as google_credentials
from flask_llm.providers.google.auth import StaleTokenError
from flask_llm.providers.google.vertex import VertexProvider
from flask_llm.types import Request

TOKEN = "ya29.a-made-up-access-token"
REFRESH = "1//a-made-up-refresh-token"
SECRET = "GOCSPX-a-made-up-client-secret"
PATH = (
    "/v1beta1/projects/p/locations/global/publishers/google/models/"
    "gemini-3.8-flash:generateContent"
)
PAST = datetime(2020, 1, 1)  # noqa: DTZ001  # google.auth counts without a zone

_DENIED = "access denied (check LLM_VERTEX_PROJECT and the account's roles in it)"
_REFUSED = "credentials refused (renew LLM_VERTEX_CREDENTIALS)"

STATUSES = {
    name: row
    for name, row in google_rows.statuses("vertex").items()
    if row.kind != "auth"
} | {
    "401": Row(
        401,
        google_error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
            google_detail("ErrorInfo", reason="ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ),
        "auth",
        f"{_REFUSED}: Request had invalid authentication credentials.",
    ),
    "401 expired": Row(
        401,
        google_error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
            google_detail("ErrorInfo", reason="ACCESS_TOKEN_EXPIRED"),
        ),
        "auth",
        "credentials expired (renew LLM_VERTEX_CREDENTIALS): Request had invalid",
    ),
    "401 web page": Row(401, wire.HTML, "auth", _REFUSED),
    "403": Row(
        403,
        google_error(
            403,
            "PERMISSION_DENIED",
            "Permission 'aiplatform.endpoints.predict' denied on resource.",
            google_detail("ErrorInfo", reason="IAM_PERMISSION_DENIED"),
        ),
        "auth",
        f"{_DENIED}: Permission 'aiplatform.endpoints.predict' denied",
    ),
}

ENVIRONMENT = {
    "GOOGLE_API_KEY": "AIza-of-the-environment",
    "GEMINI_API_KEY": "AIza-of-the-environment",
    "GOOGLE_GENAI_USE_VERTEXAI": "false",
    "GOOGLE_GENAI_USE_ENTERPRISE": "false",
    "GOOGLE_GENAI_API_VERSION": "v7",
    "GOOGLE_GENAI_HTTP_CLIENT": "httpx",
    "GOOGLE_GENAI_CLIENT_MODE": "replay",
    "GOOGLE_CLOUD_PROJECT": "of-the-environment",
    "GOOGLE_CLOUD_LOCATION": "of-the-environment",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json",
    "GOOGLE_VERTEX_BASE_URL": "http://evil.example",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": "true",
}


class OfToken(VertexProvider):
    """A provider whose credentials are a bare token, as others have a key."""

    def __init__(self, token, **more):
        credentials = Credentials(token=token)
        super().__init__(project="p", credentials=credentials, **more)


class TestVertex(WireContract):
    name = "vertex"
    provider_class = OfToken
    key = TOKEN
    key_header = ("authorization", "Bearer {}")
    path = PATH
    known = {  # noqa: RUF012
        "model": "gemini-3.8-flash-001",
        "usage": {
            "input_tokens": 6,
            "output_tokens": 19,
            "total_tokens": 25,
            "reasoning_tokens": 15,
        },
        "request_id": "mAitaLmkHPPlz7IPvtfUqQ4",
        "warnings": ["temperature is not sent to gemini-3.8-flash, which takes none"],
    }
    answers = google_rows.ANSWERS
    no_usage = google_rows.NO_USAGE
    statuses = STATUSES
    exhausted = ("429 per day",)
    no_answers = {  # noqa: RUF012
        name: google_rows.NO_ANSWERS[name] for name in ("prompt blocked", "blank text")
    }
    trouble = google_rows.STATUSES["503"]
    echo_of_key = Row(
        403,
        google_rows.leaks(TOKEN)["error"],
        "auth",
        "[redacted] was reported as leaked",
    )
    leaks = google_rows.leaks(TOKEN)

    # A token is no key: nobody writes it into a file of its own.
    test_malformed_key = None
    test_key_from_a_file = None

    @staticmethod
    def answer(text=wire.ANSWER):
        return generated(text)

    @staticmethod
    def sent_prompt(received):
        return received.json["contents"][0]["parts"][0]["text"]

    @staticmethod
    def hang_up(client):
        client._api_client._httpx_client.close()

    def asked(self, clock, url, max_tokens=300, **settings):
        factory = configured(url, LLM_MAX_RETRIES=3, clock=clock, **settings)
        return factory.generate_content(
            wire.PROMPT, temperature=0.25, max_tokens=max_tokens
        )

    @pytest.fixture(autouse=True)
    def _importable(self, monkeypatch):
        """Let the other process of the fork's test find this module."""
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    @pytest.mark.parametrize("variable", [*ENVIRONMENT, "all of them"])
    def test_environment(self, monkeypatch, echo, variable):
        """The SDK's environment variables change no setting of ours that is set."""
        for name, value in ENVIRONMENT.items():
            if variable in {name, "all of them"}:
                monkeypatch.setenv(name, value)
        provider = OfToken(TOKEN, base_url=echo.url, location="global")
        assert provider.generate_content("hi").content == "echo: hi"
        (received,) = echo.received
        assert received.path == PATH
        assert received.headers["authorization"] == f"Bearer {TOKEN}"
        assert "x-goog-api-key" not in received.headers


def configured(url, *, clock=None, credentials=None, **settings):
    """Return a factory of one Vertex provider."""
    names = ("TIMEOUT", "LOCATION", "PROJECT", "MODEL", "THINKING")
    config = {
        "LLM_VERTEX_PROJECT": "p",
        "LLM_VERTEX_CREDENTIALS": credentials or Credentials(token=TOKEN),
        "LLM_VERTEX_BASE_URL": url,
        "LLM_VERTEX_TIMEOUT": 5,
    } | {
        f"LLM_VERTEX_{name}" if name in names else name: value
        for name, value in settings.items()
    }
    more = {"clock": clock} if clock else {}
    return LLMFactory("vertex", [], config=config, **more)


# Where it asks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "home"),
    [
        (None, "https://aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_home(monkeypatch, location, home):
    """Without a base URL the token goes to Google's host for the location."""
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://evil.example")
    options = OfToken(TOKEN, location=location)._client.get()._api_client._http_options
    assert options.base_url == home


def test_location(httpserver):
    """The request names the project and the location that are configured."""
    wire.serve(httpserver, Row(200, generated("hi")))
    factory = configured(
        httpserver.url_for(""), PROJECT="mine", LOCATION="Europe-West4"
    )
    assert factory.generate_content("hi").success
    ((request, _),) = httpserver.log
    assert "/projects/mine/locations/europe-west4/" in request.path


def test_googles_own_variables(monkeypatch, httpserver):
    """GOOGLE_CLOUD_PROJECT and _LOCATION count where ours are not set."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "theirs")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    wire.serve(httpserver, Row(200, generated("hi")))
    assert configured(httpserver.url_for(""), PROJECT="").generate_content("hi").success
    ((request, _),) = httpserver.log
    assert "/projects/theirs/locations/us-central1/" in request.path


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("LOCATION", "evil.example/", "must be a location such as europe-west4"),
        ("PROJECT", "a/../b", "must be the id of a Google Cloud project"),
        ("CREDENTIALS", 5, "must be the path of a JSON file, or a google.auth object"),
        ("CREDENTIALS", ' {"a": 1}', "must be the path of a file, not its content"),
    ],
)
def test_settings(setting, value, says):
    """What cannot be a part of an address, or credentials, is refused at the start."""
    with pytest.raises(ValueError, match=f"LLM_VERTEX_{setting} {says}"):
        LLMFactory("vertex", [], config={f"LLM_VERTEX_{setting}": value})


def test_credentials_in_the_setting():
    """The content of a credentials file in place of its path is never repeated."""
    config = {"LLM_VERTEX_CREDENTIALS": json.dumps(USER, indent=2)}
    with pytest.raises(ValueError, match="not its content") as caught:
        LLMFactory("vertex", [], config=config)
    for secret in (SECRET, REFRESH):
        assert secret not in f"{caught.value} {caught.value!r}"
        assert secret not in "".join(traceback.format_exception(caught.value))


def test_project_missing():
    """Without a project it is unavailable, and names the key to set."""
    response = configured(wire.closed_port(), PROJECT="").generate_content("hi")
    assert "no Google Cloud project: set LLM_VERTEX_PROJECT" in response.error


def test_file_missing(tmp_path):
    """Without the credentials file it is unavailable, and names the key to check."""
    factory = configured(wire.closed_port(), credentials=str(tmp_path / "none.json"))
    assert not factory.get_provider_status()["primary"]["available"]
    error = factory.generate_content("hi").error
    assert "no credentials file: check LLM_VERTEX_CREDENTIALS" in error


def test_list_models(httpserver):
    """The list names Google Cloud's Gemini models."""
    names = ("gemini-3.8-flash", "text-embedding-005", "gemini-3-pro")
    models = [{"name": f"publishers/google/models/{name}"} for name in names]
    expected = httpserver.expect_request("/v1beta1/publishers/google/models")
    expected.respond_with_json({"publisherModels": models})
    provider = OfToken(TOKEN, base_url=httpserver.url_for(""))
    assert provider.list_models() == ["gemini-3-pro", "gemini-3.8-flash"]
    ((request, _),) = httpserver.log
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


def test_retirement():
    """The Gemini API's dates are not Google Cloud's."""
    assert OfToken(TOKEN, model="gemini-2.5-pro").retirement() is None


# Credentials ---------------------------------------------------------------------


def expired(token_uri, **changes):
    """Return a user's credentials whose token has to be renewed."""
    held = {
        "refresh_token": REFRESH,
        "client_id": "client",
        "client_secret": SECRET,
        "token_uri": f"{token_uri}/token",
    }
    return Credentials(token="ya29.an-old-token", expiry=PAST, **(held | changes))


def token_body(token=TOKEN, **more):
    return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"} | more


@pytest.fixture
def api():
    """Return the API, which repeats each prompt."""
    prompt = TestVertex.sent_prompt
    with wire.Stub(wire.echo(TestVertex.answer, prompt)) as stub:
        yield stub


@pytest.fixture
def tokens():
    """Return the token server."""
    with wire.Stub(wire.reply(token_body())) as stub:
        yield stub


def refused_by(tokens, api, **settings):
    """Return the error of a call whose token cannot be renewed."""
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url), **settings
    )
    with pytest.raises(ProviderError) as caught:
        provider.generate_content("hi")
    assert api.received == []
    assert caught.value.__context__ is None
    for secret in (TOKEN, REFRESH, SECRET):
        assert secret not in f"{caught.value} {vars(caught.value)}"
    return caught.value


def test_renewal(api, tokens):
    """An expired token is renewed once, before the request, and then used again."""
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url)
    )
    for _ in range(2):
        assert provider.generate_content("hi").content == "echo: hi"
    (asked,) = tokens.received
    assert b"grant_type=refresh_token" in asked.body
    sent = [each.headers["authorization"] for each in api.received]
    assert sent == [f"Bearer {TOKEN}"] * 2


def test_short_lived_token(api, tokens):
    """A token of a minute, which the SDK would renew itself, costs one request."""
    tokens.answer = wire.reply(token_body(expires_in=60))
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url)
    )
    assert provider.generate_content("hi").content == "echo: hi"
    assert len(tokens.received) == 1


def test_renewal_by_many_threads(api, tokens):
    """Threads that renew a token at once are all answered, with the new one."""
    tokens.answer = wire.together(8, tokens.answer)
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url)
    )
    prompts = [str(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(provider.generate_content, prompts))
    assert [each.content for each in answers] == [f"echo: {each}" for each in prompts]
    assert {each.headers["authorization"] for each in api.received} == {
        f"Bearer {TOKEN}"
    }


def test_refused_renewal(api, tokens):
    """A refused renewal is told in Google's words, after a single request."""
    body = {"error": "invalid_grant", "error_description": f"{REFRESH} is revoked."}
    tokens.answer = wire.reply(body, 400)
    error = refused_by(tokens, api)
    assert type(error) is AuthError
    assert str(error) == (
        "credentials refused (renew LLM_VERTEX_CREDENTIALS): invalid_grant:"
        " [redacted] is revoked."
    )
    assert len(tokens.received) == 1


def test_refused_renewal_through_the_factory(api, tokens, clock, caplog):
    """The chain does not repeat a refused renewal; no secret is in any text."""
    caplog.set_level("DEBUG")
    tokens.answer = wire.reply({"error": "invalid_grant", "why": REFRESH + SECRET}, 400)
    factory = configured(api.url, credentials=expired(tokens.url), clock=clock)
    response = factory.generate_content("hi")
    assert response.metadata["error_kind"] == "auth"
    assert "vertex: credentials refused" in response.error
    assert (len(tokens.received), clock.waits) == (1, [])
    for secret in (REFRESH, SECRET, "ya29.an-old-token"):
        assert secret not in caplog.text
        assert secret not in repr(response)


def test_no_renewal_possible(api, tokens):
    """An expired token with nothing to renew it is told so, and nobody is asked."""
    provider = VertexProvider(
        project="p",
        base_url=api.url,
        credentials=expired(tokens.url, refresh_token=None),
    )
    with pytest.raises(AuthError) as caught:
        provider.generate_content("hi")
    assert caught.value.summary == "credentials expired (renew LLM_VERTEX_CREDENTIALS)"
    assert tokens.received == api.received == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 500),
        (wire.HTML, 503),
        ({"error": "internal_failure"}, 500),
        ({"error": "server_error"}, 400),
        ({"error": "temporarily_unavailable"}, 400),
        ("slow down", 429),
        ("", 408),
    ],
)
def test_token_server_in_trouble(api, tokens, body, status):
    """Trouble of the token server passes; google.auth does not repeat the request."""
    tokens.answer = wire.reply(body, status, {"Retry-After": "7"})
    error = refused_by(tokens, api)
    assert type(error) is TransientError
    assert error.reason == f"token server error {status}"
    assert error.retry_after == 7
    assert len(tokens.received) == 1


@pytest.mark.parametrize("body", [wire.HTML, {}, "null", [], token_body(token=None)])
def test_malformed_token(api, tokens, body):
    """A success without a token is trouble too, not a refusal."""
    tokens.answer = wire.reply(body)
    error = refused_by(tokens, api)
    assert (type(error), error.reason) == (TransientError, "malformed answer")


def test_redirected_renewal(api, tokens):
    """A redirect does not take the refresh token to another host."""
    with wire.Stub(wire.reply(token_body())) as other:
        elsewhere = {"Location": f"{other.url}/token"}
        tokens.answer = wire.reply("", 307, elsewhere)
        error = refused_by(tokens, api)
        assert other.received == []
    assert (type(error), error.reason) == (InvalidRequestError, "redirected (307)")


@pytest.mark.parametrize("answer", [wire.reset, wire.close, wire.half(token_body())])
def test_unreachable_token_server(api, tokens, answer):
    """A token server that breaks the connection is unreachable, which passes."""
    tokens.answer = answer
    error = refused_by(tokens, api)
    assert type(error) is TransientError
    assert error.reason == "token server unreachable"
    assert len(tokens.received) == 1


def test_absent_token_server(api):
    """A token server that is not there is unreachable, which passes."""
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(wire.closed_port())
    )
    with pytest.raises(TransientError, match="token server unreachable"):
        provider.generate_content("hi")


@pytest.mark.parametrize("answer", [wire.hang, wire.drip(token_body())])
def test_silent_token_server(api, tokens, answer):
    """A renewal ends with the attempt's time, even if the answer drips in."""
    tokens.answer = answer
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url)
    )
    provider.warm_up(full=True)
    started = time.monotonic()
    with pytest.raises(TimedOutError) as caught:
        provider.answer(Request("hi", timeout=0.2))
    assert 0.19 < time.monotonic() - started < AT_ONCE_S
    assert caught.value.reason == "timeout of the token server"


def test_time_of_renewal_counts(api, tokens, sockets, later):
    """What the renewal took is no longer there for the request."""
    quick = tokens.answer
    tokens.answer = lambda *args: (later(40), quick(*args))
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url), timeout=60
    )
    assert provider.answer(Request("hi", timeout=60)).content == "echo: hi"
    assert sockets.told[-1] == pytest.approx(20, abs=AT_ONCE_S)


# A token that the API refuses ----------------------------------------------------

OLD = "ya29.too-old"
EXPIRED = "ACCESS_TOKEN_EXPIRED"


def refusal(reason=EXPIRED):
    """Answer that the API does not take a token."""
    text = f"Request had invalid authentication credentials: {OLD}."
    detail = google_detail("ErrorInfo", reason=reason)
    return wire.reply(google_error(401, "UNAUTHENTICATED", text, detail), 401)


def seems_valid(tokens, **changes):
    """Return renewable credentials, whose token seems to be valid."""
    credentials = expired(tokens.url, **changes)
    credentials.token, credentials.expiry = OLD, None
    return credentials


def one_after_the_other(*names):
    """Answer requests for a token with these, in turn."""
    return wire.in_turn(*(wire.reply(token_body(name)) for name in names))


def sent_to(api):
    """Return the tokens that the API was sent."""
    return [each.headers["authorization"].split()[1] for each in api.received]


@pytest.mark.parametrize("reason", [EXPIRED, "ACCESS_TOKEN_TYPE_UNSUPPORTED"])
def test_refused_token(api, tokens, clock, reason):
    """A token that the API refuses is renewed, and the prompt repeated at once."""
    hi = wire.reply(generated("hi"))
    api.answer = wire.in_turn(refusal(reason), hi)
    credentials = seems_valid(tokens)
    factory = configured(
        api.url, credentials=credentials, clock=clock, LLM_MAX_RETRIES=3
    )
    response = factory.generate_content("hi")
    assert response.content == "hi"
    assert [each.outcome for each in response.attempts] == ["auth", "success"]
    assert clock.waits == []
    assert sent_to(api) == [OLD, TOKEN]
    assert len(tokens.received) == 1


def test_refused_token_without_a_chain(api, tokens):
    """Used directly, it raises an error that lets the provider be asked at once."""
    api.answer = wire.in_turn(refusal(), wire.reply(generated("hi")))
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=seems_valid(tokens)
    )
    with pytest.raises(StaleTokenError) as caught:
        provider.generate_content("hi")
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is StaleTokenError
    assert (error.kind, error.status, error.cooldown) == ("auth", 401, 0)
    assert (error.retryable, error.at_once, error.severity) == (True, True, 30)
    assert provider.generate_content("hi").content == "hi"


def test_refused_token_of_a_list(api, tokens):
    """A list that fails for its token can be asked for again at once."""
    api.answer = wire.in_turn(refusal(), wire.reply({"publisherModels": []}))
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=seems_valid(tokens)
    )
    with pytest.raises(StaleTokenError):
        provider.list_models()
    assert provider.list_models() == []
    assert sent_to(api) == [OLD, TOKEN]


def test_refused_tokens(api, tokens, clock):
    """If a fresh token is refused too, it is the credentials: the provider rests."""
    api.answer = refusal("ACCOUNT_STATE_INVALID")
    tokens.answer = one_after_the_other("ya29.second", "ya29.third")
    factory = configured(
        api.url, credentials=seems_valid(tokens), clock=clock, LLM_MAX_RETRIES=9
    )
    response = factory.generate_content("hi")
    assert f"vertex: {_REFUSED}" in response.error
    assert sent_to(api) == [OLD, "ya29.second"]
    assert [each.outcome for each in response.attempts] == ["auth", "auth"]
    assert factory.generate_content("hi").metadata["error_kind"] == "cooldown"
    clock.now += 301
    assert _REFUSED in factory.generate_content("hi").error
    assert sent_to(api)[2:] == ["ya29.third"]


def test_repeated_token(api, tokens, clock):
    """A token server may repeat the refused token, as the metadata server does."""
    hi = wire.reply(generated("hi"))
    api.answer = wire.in_turn(refusal(), hi)
    tokens.answer = wire.reply(token_body(OLD))
    factory = configured(
        api.url, credentials=seems_valid(tokens), clock=clock, LLM_MAX_RETRIES=3
    )
    for _ in range(3):
        assert factory.generate_content("hi").content == "hi"
    assert sent_to(api) == [OLD] * 4
    assert len(tokens.received) == 1


def test_token_refused_after_use(api, tokens, clock):
    """A token that was taken is not fresh any more: where clocks differ, each ends."""
    hi = wire.reply(generated("hi"))
    api.answer = wire.in_turn(refusal(), hi, refusal(), hi)
    tokens.answer = one_after_the_other("ya29.second", "ya29.third")
    factory = configured(
        api.url, credentials=seems_valid(tokens), clock=clock, LLM_MAX_RETRIES=3
    )
    for _ in range(2):
        assert factory.generate_content("hi").content == "hi"
    assert sent_to(api) == [OLD, "ya29.second", "ya29.second", "ya29.third"]


def test_renewal_of_a_refused_token_fails(api, tokens, clock):
    """Credentials that cannot renew a refused token are refused themselves."""
    api.answer = refusal()
    tokens.answer = wire.reply({"error": "invalid_grant"}, 400)
    factory = configured(
        api.url, credentials=seems_valid(tokens), clock=clock, LLM_MAX_RETRIES=3
    )
    response = factory.generate_content("hi")
    assert f"{_REFUSED}: invalid_grant" in response.error
    assert (len(api.received), len(tokens.received)) == (1, 1)


@pytest.mark.parametrize(("reason", "word"), [(EXPIRED, "expired"), ("X", "refused")])
def test_refused_bare_token(api, tokens, reason, word):
    """A token with nothing to renew it is not tried again."""
    api.answer = refusal(reason)
    provider = VertexProvider(
        project="p",
        base_url=api.url,
        credentials=seems_valid(tokens, refresh_token=None),
    )
    with pytest.raises(AuthError, match=f"credentials {word}") as caught:
        provider.generate_content("hi")
    assert type(caught.value) is AuthError
    assert tokens.received == []


def test_password_refused_in_database_url_of_a_token(api, tokens):
    """A proxy's refusal of a password in the address says nothing of a token."""
    api.answer = refusal()
    address = api.url.replace("//", "//user:hunter22@")
    provider = VertexProvider(
        project="p", base_url=address, credentials=seems_valid(tokens)
    )
    for _ in range(2):
        with pytest.raises(AuthError) as caught:
            provider.generate_content("hi")
        assert type(caught.value) is AuthError
    assert tokens.received == []


def test_late_refusal(api, tokens):
    """A refusal is of the token that was sent, not of one renewed meanwhile."""
    both_sent, renewed = threading.Barrier(2, timeout=10), threading.Event()

    def answer(handler, received):
        if received.headers["authorization"] == f"Bearer {TOKEN}":
            wire.reply(generated("hi"))(handler, received)
            return
        both_sent.wait()
        if TestVertex.sent_prompt(received) == "late":
            renewed.wait(10)
        refusal()(handler, received)

    api.answer = answer
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=seems_valid(tokens)
    )

    def ask(prompt):
        with pytest.raises(StaleTokenError, match=r"credentials: \[redacted\]\."):
            provider.generate_content(prompt)
        content = provider.generate_content(prompt).content
        renewed.set()
        return content

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, ["soon", "late"])) == ["hi", "hi"]
    assert sent_to(api) == [OLD, OLD, TOKEN, TOKEN]
    assert len(tokens.received) == 1


# What the environment may add to requests ----------------------------------------


def test_netrc(monkeypatch, tmp_path, api, tokens):
    """Passwords of ~/.netrc go neither to the token server nor to the API."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hunter22\n")
    monkeypatch.setenv("NETRC", str(netrc))
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired(tokens.url)
    )
    assert provider.generate_content("hi").content == "echo: hi"
    (asked,) = tokens.received
    assert "authorization" not in asked.headers
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert f"refresh_token={quote_plus(REFRESH)}".encode() in asked.body
    assert sent_to(api) == [TOKEN]


def test_proxy(monkeypatch, api, tokens):
    """The token server is asked through the proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", tokens.url)
    monkeypatch.setenv("http_proxy", tokens.url)
    provider = VertexProvider(
        project="p", base_url=api.url, credentials=expired("http://tokens.example")
    )
    assert provider.generate_content("hi").content == "echo: hi"
    (asked,) = tokens.received
    assert asked.headers["host"] == "tokens.example"


# Where credentials come from -----------------------------------------------------


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def account(private_key, token_uri):
    """Return what is in a service account's file."""
    return {
        "type": "service_account",
        "project_id": "another",
        "private_key_id": "key-1",
        "private_key": private_key,
        "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": f"{token_uri}/token",
    }


USER = {
    "type": "authorized_user",
    "client_id": "client",
    "client_secret": SECRET,
    "refresh_token": REFRESH,
}


def test_service_account(api, tokens, tmp_path, private_key):
    """A service account's file signs the request for a token, for Google Cloud."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account(private_key, tokens.url)))
    factory = configured(api.url, credentials=path)
    assert factory.generate_content("hi").content == "echo: hi"
    (asked,) = tokens.received
    assert b"jwt-bearer" in asked.body
    assert api.received[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_unscoped_object(api, tokens, private_key):
    """A google.auth object without a scope is given the one that is needed."""
    info = account(private_key, tokens.url)
    bare = service_account.Credentials.from_service_account_info(info)
    factory = configured(api.url, credentials=bare)
    assert factory.generate_content("hi").content == "echo: hi"


def test_refused_service_account(api, tokens, tmp_path, private_key):
    """A deleted service account is told in Google's words, without its key."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account(private_key, tokens.url)))
    body = {"error": "invalid_grant", "error_description": "account not found"}
    tokens.answer = wire.reply(body, 400)
    response = configured(api.url, credentials=str(path)).generate_content("hi")
    says = "credentials refused (renew LLM_VERTEX_CREDENTIALS)"
    assert f"vertex: {says}" in response.error
    assert "PRIVATE KEY" not in repr(response)


def test_users_file(tmp_path):
    """A user's file is read; its refresh token is one of the secrets."""
    path = tmp_path / "user.json"
    path.write_text(json.dumps(USER))
    provider = VertexProvider(project="p", credentials=str(path))
    provider.warm_up(full=True)
    assert {REFRESH, SECRET} <= set(provider._secrets())


NO_CREDENTIALS = "file holds no service account or authorized user"


@pytest.mark.parametrize(
    "written",
    ["", "{", "[]", "{}", "5", '{"type": []}', '{"type": "external_account"}'],
)
def test_file_of_something_else(tmp_path, written):
    """A file without credentials makes it unavailable, and names the key to check."""
    path = tmp_path / "odd.json"
    path.write_text(written)
    factory = configured(wire.closed_port(), credentials=str(path))
    assert not factory.get_provider_status()["primary"]["available"]
    response = factory.generate_content("hi")
    says = f"the credentials {NO_CREDENTIALS}: check LLM_VERTEX_CREDENTIALS"
    assert says in response.error
    assert response.metadata["error_kind"] == "unavailable"


def test_file_of_half_an_account(tmp_path):
    """A file that only looks like an account's is told when it is used."""
    path = tmp_path / "odd.json"
    path.write_text('{"type": "service_account"}')
    response = configured(wire.closed_port(), credentials=str(path)).generate_content(
        "hi"
    )
    assert f"{NO_CREDENTIALS} (check LLM_VERTEX_CREDENTIALS)" in response.error
    assert response.metadata["error_kind"] == "unavailable"


def test_file_that_is_mended(tmp_path):
    """A file is read once for all prompts, and again when it has changed."""
    path = tmp_path / "user.json"
    path.write_text("{}")
    provider = VertexProvider(project="p", credentials=str(path))
    known = google_credentials._holds_credentials
    known.cache_clear()
    assert not any(provider.is_available() for _ in range(9))
    assert known.cache_info().misses == 1
    path.write_text(json.dumps(USER))
    os.utime(path, ns=(1, 1))
    assert all(provider.is_available() for _ in range(9))
    assert known.cache_info().misses == 2


def test_default_credentials(monkeypatch, api, tokens, tmp_path, private_key):
    """Without a setting Google's own ways to credentials are taken."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account(private_key, tokens.url)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    provider = VertexProvider(project="p", base_url=api.url)
    assert provider.generate_content("hi").content == "echo: hi"
    assert len(tokens.received) == 1


@pytest.mark.parametrize("metadata", [wire.close, wire.reply("", 404), wire.hang])
def test_no_credentials(monkeypatch, tmp_path, metadata):
    """Without any credentials it says how to get some, soon and after one question."""
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with wire.Stub(metadata) as stub:
        monkeypatch.setenv("GCE_METADATA_IP", stub.url.removeprefix("http://"))
        provider = VertexProvider(project="p", timeout=0.5)
        provider.warm_up(full=False)
        started = time.monotonic()
        response = LLMFactory(provider, []).generate_content("hi")
        assert time.monotonic() - started < AT_ONCE_S
        assert wire.arrived(stub, 1)
    assert (
        "no Google Cloud credentials (run gcloud auth application-default login, or"
        " set LLM_VERTEX_CREDENTIALS)" in response.error
    )
    assert response.metadata["error_kind"] == "unavailable"


def test_absence_is_remembered(monkeypatch, tmp_path):
    """Without any credentials the next calls fail at once, for a minute."""
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(google_credentials, "time", clock)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with wire.Stub(wire.reply("", 404)) as stub:
        monkeypatch.setenv("GCE_METADATA_IP", stub.url.removeprefix("http://"))
        factory = LLMFactory(VertexProvider(project="p", timeout=0.5), [])
        errors = {factory.generate_content("hi").error for _ in range(5)}
        now += 59
        errors.add(factory.generate_content("hi").error)
        assert len(stub.received) == 1
        now += 2
        errors.add(factory.generate_content("hi").error)
        assert len(stub.received) == 2
    (error,) = errors
    assert "no Google Cloud credentials" in error


def test_absence_that_ends(monkeypatch, tmp_path, api, tokens, private_key):
    """Credentials that come later are found when the minute is over."""
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(google_credentials, "time", clock)
    path = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    provider = VertexProvider(project="p", base_url=api.url)
    with pytest.raises(ProviderError, match="no Google Cloud credentials"):
        provider.generate_content("hi")
    path.write_text(json.dumps(account(private_key, tokens.url)))
    now += 61
    assert provider.generate_content("hi").content == "echo: hi"


def test_availability_asks_nobody(api, tokens):
    """Whether it is available is known without the network."""
    factory = configured(api.url, credentials=expired(tokens.url))
    assert factory.get_provider_status()["primary"]["available"]
    assert tokens.received == api.received == []


def test_projects_of_the_environment_have_circuits_of_their_own(monkeypatch):
    """Two apps with one store and two projects do not rest each other."""
    keys = set()
    for project in ("one", "two"):
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
        (entry,) = LLMFactory("vertex", [], config={}).entries
        assert entry.provider.project == project
        keys.add(entry.circuit_key)
    assert len(keys) == 2


def test_the_projects_own_key_comes_first():
    """Google's variable is a convention, ours is said of this provider."""
    config = {"LLM_VERTEX_PROJECT": "mine", "GOOGLE_CLOUD_PROJECT": "theirs"}
    (entry,) = LLMFactory("vertex", [], config=config).entries
    assert entry.provider.project == "mine"
