"""The fault server as the real SDKs see it: each takes a fault for what it is."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import wired
from faultserver import FaultServer, faults
from wire import ANSWER, PROMPT

pytestmark = pytest.mark.matrix

_MESSAGES = [{"role": "user", "content": PROMPT}]


class Sdk(NamedTuple):
    """What an SDK can be asked, and where it has put the answer.

    Attributes:
        ask: For an answer in one piece: text, why it ended, tokens in and out.
        stream: For the pieces of a text, those that are none included.
        models: For the names of a list.
    """

    ask: Callable[[], tuple[str, str, int, int]]
    stream: Callable[[], Iterator[str | None]]
    models: Callable[[], list[str]]


def anthropic(url: str) -> Sdk:
    from anthropic import Anthropic

    client = Anthropic(api_key="sk-test", base_url=url, timeout=60, max_retries=0)
    asked = {"model": "m", "max_tokens": 300, "messages": _MESSAGES}

    def ask():
        answer = client.messages.create(**asked)
        usage = answer.usage.input_tokens, answer.usage.output_tokens
        return answer.content[0].text, answer.stop_reason, *usage

    def stream():
        with client.messages.create(**asked, stream=True) as events:
            for each in events:
                yield each.delta.text if each.type == "content_block_delta" else None

    return Sdk(ask, stream, lambda: [each.id for each in client.models.list()])


def openai(url: str) -> Sdk:
    from openai import OpenAI

    client = OpenAI(api_key="sk-test", base_url=f"{url}/v1", timeout=60, max_retries=0)
    asked = {"model": "m", "messages": _MESSAGES}

    def ask():
        answer = client.chat.completions.create(**asked)
        choice, usage = answer.choices[0], answer.usage
        said = choice.message.content, choice.finish_reason
        return *said, usage.prompt_tokens, usage.completion_tokens

    def stream():
        with client.chat.completions.create(**asked, stream=True) as chunks:
            for each in chunks:
                yield each.choices[0].delta.content

    return Sdk(ask, stream, lambda: [each.id for each in client.models.list()])


def cohere(url: str) -> Sdk:
    from cohere import ClientV2

    client = ClientV2("co-test", base_url=url, timeout=60, max_retries=0)

    def ask():
        answer = client.chat(model="m", messages=_MESSAGES)
        tokens = answer.usage.tokens
        said = answer.message.content[0].text, answer.finish_reason
        return *said, tokens.input_tokens, tokens.output_tokens

    def stream():
        for each in client.chat_stream(model="m", messages=_MESSAGES):
            delta = each.type == "content-delta"
            yield each.delta.message.content.text if delta else None

    def models():
        return [each.name for each in client.models.list(endpoint="chat").models]

    return Sdk(ask, stream, models)


def ollama(url: str) -> Sdk:
    from ollama import Client

    client = Client(url, timeout=60)

    def ask():
        answer = client.chat("m", _MESSAGES)
        usage = answer.prompt_eval_count, answer.eval_count
        return answer.message.content, answer.done_reason, *usage

    def stream():
        for each in client.chat("m", _MESSAGES, stream=True):
            yield each.message.content

    return Sdk(ask, stream, lambda: [each.model for each in client.list().models])


def _google(client: Any) -> Sdk:
    def ask():
        answer = client.models.generate_content(model="m", contents=PROMPT)
        usage = answer.usage_metadata
        tokens = usage.prompt_token_count, usage.candidates_token_count
        return answer.text, answer.candidates[0].finish_reason.value, *tokens

    def stream():
        # A generator, which holds the client: a collected one closes its connections.
        for each in client.models.generate_content_stream(model="m", contents=PROMPT):
            yield each.text

    def models():
        return [each.name.rpartition("/")[2] for each in client.models.list()]

    return Sdk(ask, stream, models)


def genai(url: str) -> Sdk:
    from google import genai

    options = {"base_url": url, "timeout": 60_000}
    return _google(genai.Client(api_key="AIza-test", http_options=options))


def vertex(url: str, credentials: Any = None) -> Sdk:
    from google import genai
    from google.oauth2.credentials import Credentials

    return _google(
        genai.Client(
            vertexai=True,
            project="p",
            location="l",
            credentials=credentials or Credentials(token="T"),
            http_options={"base_url": url, "timeout": 60_000},
        )
    )


def gemini(url: str) -> Sdk:
    from flask_llm.providers.google.gemini import _import_sdk

    sdk = _import_sdk()
    from google.ai.generativelanguage import (
        GenerativeServiceClient,
        ModelServiceClient,
    )

    options = {"api_endpoint": url, "api_key": "AIza-test"}
    model = sdk.GenerativeModel("m")
    model._client = GenerativeServiceClient(transport="rest", client_options=options)
    lists = ModelServiceClient(transport="rest", client_options=options)
    limits = {"retry": None, "timeout": 60.0}

    def ask():
        answer = model.generate_content(PROMPT, request_options=limits)
        usage = answer.usage_metadata
        tokens = usage.prompt_token_count, usage.candidates_token_count
        return answer.text, answer.candidates[0].finish_reason.name, *tokens

    def stream():
        chunks = model.generate_content(PROMPT, stream=True, request_options=limits)
        return (each.text for each in chunks)

    def models():
        found = lists.list_models(retry=None, timeout=60.0)
        return [each.name.removeprefix("models/") for each in found]

    return Sdk(ask, stream, models)


SDKS = {
    each.__name__: each
    for each in (anthropic, openai, cohere, ollama, gemini, genai, vertex)
}
WIRES = {name: name for name in SDKS} | {"genai": "gemini"}
ENDS = {
    "anthropic": "end_turn",
    "openai": "stop",
    "cohere": "COMPLETE",
    "ollama": "stop",
    "gemini": "STOP",
    "genai": "STOP",
    "vertex": "STOP",
}

EACH_SDK = pytest.mark.parametrize("name", SDKS)


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with wired.loaded(wired.WIRES):
        yield


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@EACH_SDK
def test_healthy(server, name):
    """Each SDK finds text, end and tokens of an answer where its API puts them."""
    sdk = SDKS[name](server.url)
    assert sdk.ask() == (ANSWER, ENDS[name], 12, 7)
    assert [each.wire for each in server.attempts()] == [WIRES[name]]


@EACH_SDK
def test_stream(server, name):
    """Each SDK reads a stream to its end, piece by piece."""
    pieces = [each for each in SDKS[name](server.url).stream() if each]
    assert pieces == ["Rayleigh", " scattering."]


def test_streams_of_google(server):
    """Google's old SDK reads a JSON list; the new one asks for events."""
    list(gemini(server.url).stream())
    list(genai(server.url).stream())
    list(vertex(server.url).stream())
    by_sse = ["alt=sse" in each.path for each in server.attempts()]
    assert by_sse == [False, True, True]


@EACH_SDK
def test_models(server, name):
    """Each SDK reads its API's list of models, which takes no step from the chat's."""
    server.script(faults.status(500), faults.OK)
    sdk = SDKS[name](server.url)
    assert sdk.models() == ["m-large", "m-small"]
    assert [each.wire for each in server.attempts()] == [f"{WIRES[name]} models"]
    with pytest.raises(Exception, match=r"500|[Ii]nternal"):
        sdk.ask()


@EACH_SDK
def test_models_fail(server, name):
    """A list has a script of its own: other names, or errors in its API's words."""
    wire = f"{WIRES[name]} models"
    server.script(wire, faults.OK(models=("other",)), faults.bad_key())
    sdk = SDKS[name](server.url)
    assert sdk.models() == ["other"]
    with pytest.raises(Exception, match=r"(?i)key|unauthorized|credentials|token"):
        sdk.models()


# Errors ---------------------------------------------------------------------------


class Told(NamedTuple):
    """What an SDK's exception tells of an error: the status, a code, the words."""

    status: int
    code: object
    words: str


# Where each SDK documents them.
TOLD: dict[str, Callable[[Any], tuple[int, object, str]]] = {
    "anthropic": lambda error: (error.status_code, error.type, str(error)),
    "openai": lambda error: (
        error.status_code,
        (error.code, error.param),
        error.message,
    ),
    "cohere": lambda error: (error.status_code, None, error.body["message"]),
    "ollama": lambda error: (error.status_code, None, error.error),
    "gemini": lambda error: (int(error.code), None, error.message),
    "genai": lambda error: (error.code, error.status, error.message),
    "vertex": lambda error: (error.code, error.status, error.message),
}


ERRORS: dict[tuple[str, faults.Step], Told] = {
    ("anthropic", faults.status(529)): Told(529, "overloaded_error", "Overloaded"),
    ("anthropic", faults.rate_limited()): Told(429, "rate_limit_error", "rate limit"),
    ("anthropic", faults.bad_key()): Told(401, "authentication_error", "x-api-key"),
    ("anthropic", faults.unknown_model()): Told(404, "not_found_error", "model: m"),
    ("openai", faults.rate_limited()): Told(
        429, ("rate_limit_exceeded", None), "requests per min (RPM)"
    ),
    ("openai", faults.day_quota()): Told(
        429, ("rate_limit_exceeded", None), "requests per day (RPD)"
    ),
    ("openai", faults.billing()): Told(
        429, ("insufficient_quota", None), "exceeded your current quota"
    ),
    ("openai", faults.context_length()): Told(
        400, ("context_length_exceeded", "messages"), "maximum context length"
    ),
    ("openai", faults.unsupported("temperature")): Told(
        400, ("unsupported_value", "temperature"), "Only the default (1) value"
    ),
    ("openai", faults.unsupported("max_tokens")): Told(
        400, ("unsupported_parameter", "max_tokens"), "Use 'max_completion_tokens'"
    ),
    ("openai", faults.bad_key()): Told(
        401, ("invalid_api_key", None), "Incorrect API key provided"
    ),
    ("openai", faults.unknown_model()): Told(
        404, ("model_not_found", None), "The model `m` does not exist"
    ),
    ("openai", faults.status(503)): Told(503, (None, None), "Service unavailable"),
    ("cohere", faults.rate_limited(2)): Told(429, None, "per minute request limit"),
    ("cohere", faults.day_quota()): Told(429, None, "1000 API calls / month"),
    ("cohere", faults.billing()): Told(402, None, "update your payment method"),
    ("cohere", faults.context_length()): Told(400, None, "too many tokens"),
    ("cohere", faults.unsupported("k")): Told(422, None, "parameter 'k' is not"),
    ("cohere", faults.bad_key()): Told(401, None, "invalid api token"),
    ("cohere", faults.unknown_model()): Told(404, None, "model 'm' not found"),
    ("ollama", faults.rate_limited()): Told(429, None, "Too many requests"),
    ("ollama", faults.day_quota()): Told(429, None, "weekly usage limit"),
    ("ollama", faults.billing()): Told(403, None, "requires a subscription"),
    ("ollama", faults.context_length()): Told(400, None, "exceeds the context length"),
    ("ollama", faults.unsupported("thinking")): Told(
        400, None, "does not support thinking"
    ),
    ("ollama", faults.bad_key()): Told(401, None, "unauthorized"),
    ("ollama", faults.unknown_model()): Told(404, None, "model 'm' not found"),
    ("genai", faults.rate_limited(2)): Told(
        429, "RESOURCE_EXHAUSTED", "exceeded your current quota"
    ),
    ("genai", faults.bad_key()): Told(400, "INVALID_ARGUMENT", "API key not valid"),
    ("genai", faults.unknown_model()): Told(404, "NOT_FOUND", "models/m is not found"),
    ("genai", faults.status(503)): Told(503, "UNAVAILABLE", "overloaded"),
    ("vertex", faults.rate_limited()): Told(
        429, "RESOURCE_EXHAUSTED", "Resource exhausted"
    ),
    ("vertex", faults.day_quota()): Told(429, "RESOURCE_EXHAUSTED", "per_day"),
    ("vertex", faults.billing()): Told(403, "PERMISSION_DENIED", "requires billing"),
    ("vertex", faults.bad_key()): Told(401, "UNAUTHENTICATED", "credentials"),
    ("vertex", faults.unknown_model()): Told(404, "NOT_FOUND", "was not found"),
    ("gemini", faults.status(503)): Told(503, None, "overloaded"),
    ("gemini", faults.day_quota()): Told(429, None, "current quota"),
    ("gemini", faults.bad_key()): Told(400, None, "API key not valid"),
}


@pytest.mark.parametrize(("name", "step"), ERRORS, ids=repr)
def test_error(server, name, step):
    """Each SDK reads status, code and words of an error, and asks once only."""
    server.script(step)
    expected = ERRORS[name, step]
    with pytest.raises(Exception) as caught:  # noqa: PT011  # its contents are the test
        SDKS[name](server.url).ask()
    status, code, words = TOLD[name](caught.value)
    assert (status, code) == expected[:2]
    assert expected.words in words
    assert len(server.attempts()) == 1


@pytest.mark.parametrize("name", [each for each in SDKS if each != "gemini"])
def test_refused_stream(server, name):
    """A refused stream is the same error; the old Gemini SDK alone takes it for 400."""
    server.script(faults.rate_limited())
    with pytest.raises(Exception) as caught:  # noqa: PT011
        list(SDKS[name](server.url).stream())
    assert TOLD[name](caught.value)[0] == 429


IN_STREAM = {
    "anthropic": ("APIStatusError", "overloaded_error"),
    "openai": ("APIError", "Overloaded"),
    "ollama": ("ResponseError", "Overloaded"),
    "genai": ("ServerError", "529"),
    "vertex": ("ServerError", "529"),
}


@pytest.mark.parametrize("name", IN_STREAM)
def test_error_in_stream(server, name):
    """The SDKs that know errors within a stream raise them, after the first pieces."""
    server.script(faults.error_event(529, after=1))
    kind, words = IN_STREAM[name]
    pieces = []
    with pytest.raises(Exception) as caught:  # noqa: PT011
        pieces.extend(SDKS[name](server.url).stream())
    assert (type(caught.value).__name__, words in str(caught.value)) == (kind, True)


def test_error_in_stream_of_cohere(server):
    """Cohere's SDK takes an error for an end; the event says that it is none."""
    from cohere import ClientV2

    server.script(faults.error_event(529, after=1))
    client = ClientV2("co-test", base_url=server.url, timeout=60, max_retries=0)
    *_, last = client.chat_stream(model="m", messages=_MESSAGES)
    assert (last.delta.finish_reason, last.delta.error) == ("ERROR", "Overloaded")


def test_thought(server):
    """The SDKs that show thinking find it, in one piece and in streams."""
    from cohere import ClientV2
    from ollama import Client

    server.script(faults.OK(thought="Hm."))
    co = ClientV2("co-test", base_url=server.url, timeout=60, max_retries=0)
    asked = {"model": "m", "messages": _MESSAGES}
    assert co.chat(**asked).message.content[0].thinking == "Hm."
    deltas = [each for each in co.chat_stream(**asked) if each.type == "content-delta"]
    assert deltas[0].delta.message.content.thinking == "Hm."
    client = Client(server.url, timeout=60)
    assert client.chat(**asked).message.thinking == "Hm."
    assert next(client.chat(**asked, stream=True)).message.thinking == "Hm."


# The network ----------------------------------------------------------------------

BROKEN = {
    faults.reset_before_headers: {
        "anthropic": "APIConnectionError",
        "openai": "APIConnectionError",
        "gemini": "ConnectionError",
        "genai": "ReadError",
        "cohere": "ReadError",
        "ollama": "ReadError",
    },
    faults.close_without_answer: {
        "anthropic": "APIConnectionError",
        "openai": "APIConnectionError",
        "gemini": "ConnectionError",
        "genai": "RemoteProtocolError",
        "cohere": "RemoteProtocolError",
        "ollama": "RemoteProtocolError",
    },
    faults.cut_body: {
        "anthropic": "APIConnectionError",
        "openai": "APIConnectionError",
        "gemini": "ChunkedEncodingError",
        "genai": "RemoteProtocolError",
        "cohere": "RemoteProtocolError",
        "ollama": "RemoteProtocolError",
    },
    faults.malformed_body: {
        "anthropic": "JSONDecodeError",
        "openai": "JSONDecodeError",
        "gemini": "ParseError",
        "genai": "JSONDecodeError",
        "cohere": "ApiError",
        "ollama": "JSONDecodeError",
    },
}
EACH_BROKEN = pytest.mark.parametrize(
    ("step", "name", "kind"),
    [(step, *each) for step, kinds in BROKEN.items() for each in kinds.items()],
    ids=repr,
)


@EACH_BROKEN
def test_broken(server, step, name, kind):
    """Each SDK takes a broken connection or body for what it is, in one request."""
    server.script(step)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        SDKS[name](server.url).ask()
    assert type(caught.value).__name__ == kind
    assert len(server.attempts()) == 1


def test_leaves(server):
    """A stream that an SDK closes early is abandoned."""
    server.script(faults.stall_stream())
    stream = anthropic(server.url).stream()
    next(stream)
    stream.close()
    (attempt,) = server.attempts()
    assert attempt.wait()
    assert attempt.abandoned


def test_gemini_stream_cut(server):
    """The old SDK notices a JSON list that is not closed."""
    server.script(faults.cut_stream(1, "clean"))
    with pytest.raises(ValueError, match="Unfinished stream"):
        list(gemini(server.url).stream())


# Google Cloud ---------------------------------------------------------------------


def test_refresh(server):
    """A stale token is made fresh at the token server, then used."""
    assert vertex(server.url, wired.expired_credentials(server.url)).ask()[0] == ANSWER
    refresh, chat = server.attempts()
    assert (refresh.wire, refresh.address) == ("oauth", "/token")
    assert b"grant_type=refresh_token" in refresh.body
    assert chat.headers["authorization"] == "Bearer fresh-token"


def test_refresh_refused(server):
    """A token server that refuses says why, and the model is not asked."""
    from google.auth.exceptions import RefreshError

    server.script("oauth", faults.bad_key())
    with pytest.raises(RefreshError, match="invalid_grant") as caught:
        vertex(server.url, wired.expired_credentials(server.url)).ask()
    assert not caught.value.retryable
    assert [each.wire for each in server.attempts()] == ["oauth"]


def test_scripts_for_all(server):
    """A script for all is one for chats: tokens and lists have theirs by name only."""
    server.script(faults.status(503))
    with pytest.raises(Exception, match="503 UNAVAILABLE"):
        vertex(server.url, wired.expired_credentials(server.url)).ask()
    assert [each.wire for each in server.attempts()] == ["oauth", "vertex"]
