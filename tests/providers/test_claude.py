import pickle
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
import wire
from wire import Row, anthropic_error, message

from flask_llm import LLMFactory
from flask_llm.errors import ProviderError
from flask_llm.providers.claude import ClaudeProvider

KEY = "sk-ant-api03-a-made-up-key"

LIMITED = anthropic_error(
    "rate_limit_error",
    "This request would exceed your organization's rate limit of 50 requests per minute"
    " (model: claude-sonnet-5-5).",
)

STATUSES = {
    "400": Row(
        400,
        anthropic_error(
            "invalid_request_error", "max_tokens: 300000 > 64000, the maximum allowed"
        ),
        "invalid_request",
        "request rejected: max_tokens: 300000 > 64000, the maximum allowed",
    ),
    "400 prompt too long": Row(
        400,
        anthropic_error(
            "invalid_request_error",
            "prompt is too long: 215001 tokens > 200000 maximum",
        ),
        "context_length",
        "prompt too long: prompt is too long: 215001 tokens > 200000 maximum",
    ),
    "400 credit used up": Row(
        400,
        anthropic_error(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to"
            " Plans & Billing to upgrade or purchase credits.",
        ),
        "quota",
        "quota exceeded: Your credit balance is too low",
    ),
    "400 own spend limit": Row(
        400,
        anthropic_error(
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access"
            " on 2026-12-01 at 00:00 UTC.",
        ),
        "quota",
        "You will regain access on 2026-12-01",
    ),
    "400 content filter": Row(
        400,
        anthropic_error(
            "invalid_request_error", "Output blocked by content filtering policy"
        ),
        "content_blocked",
        "content blocked: Output blocked by content filtering policy",
    ),
    "400 of a strange shape": Row(
        400,
        {"error": {"type": ["invalid_request_error"], "message": 5}},
        "invalid_request",
        "request rejected",
    ),
    "401": Row(
        401,
        anthropic_error("authentication_error", "invalid x-api-key"),
        "auth",
        "API key rejected (check ANTHROPIC_API_KEY): invalid x-api-key",
    ),
    "402": Row(
        402,
        anthropic_error("billing_error", "There is an issue with your payment."),
        "quota",
        "There is an issue with your payment.",
    ),
    "403": Row(
        403,
        anthropic_error(
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        "auth",
        "API key rejected (check ANTHROPIC_API_KEY): Your API key does not have",
    ),
    "404": Row(
        404,
        anthropic_error("not_found_error", "model: claude-sonnet-4-0"),
        "model_not_found",
        "(set LLM_CLAUDE_MODEL, or check LLM_CLAUDE_BASE_URL): model: claude-sonn",
    ),
    "408": Row(
        408,
        anthropic_error("timeout_error", "Request timed out"),
        "transient",
        "timeout: Request timed out",
    ),
    "409": Row(
        409,
        anthropic_error("conflict_error", "The resource was changed meanwhile"),
        "invalid_request",
        "request rejected: The resource was changed meanwhile",
    ),
    "413": Row(
        413,
        anthropic_error(
            "request_too_large", "Request exceeds the maximum allowed number of bytes."
        ),
        "context_length",
        "prompt too long: Request exceeds the maximum allowed number of bytes.",
    ),
    "429": Row(429, LIMITED, "quota", "quota exceeded: This request would exceed"),
    "429 with Retry-After": Row(
        429, LIMITED, "quota", "50 requests per minute", {"retry-after": "17"}, 17.0
    ),
    "429 with retry-after-ms": Row(
        429,
        LIMITED,
        "quota",
        "50 requests per minute",
        {"retry-after-ms": "1500", "retry-after": "2"},
        1.5,
    ),
    "429 with an absurd Retry-After": Row(
        429, LIMITED, "quota", "quota exceeded", {"retry-after": "86400"}, 86400.0
    ),
    "429 with Retry-After 0": Row(
        429, LIMITED, "quota", "quota exceeded", {"retry-after": "0"}
    ),
    "429 the SDK is told to retry": Row(
        429, LIMITED, "quota", "quota exceeded", {"x-should-retry": "true"}
    ),
    "429 spend limit": Row(
        429,
        anthropic_error(
            "rate_limit_error",
            "Your organization has reached its enforced spend limit.",
            details={"error_code": "enforced_spend_limit_reached"},
        ),
        "quota",
        "enforced spend limit",
    ),
    "429 of a gateway": Row(429, {"error": "slow down"}, "quota", "quota exceeded"),
    "500": Row(
        500,
        anthropic_error("api_error", "Internal server error"),
        "transient",
        "server error 500: Internal server error",
    ),
    "502 web page": Row(502, wire.HTML, "transient", "server error 502"),
    "503": Row(
        503,
        anthropic_error("api_error", "Service unavailable"),
        "transient",
        "server error 503: Service unavailable",
    ),
    "503 with Retry-After": Row(
        503,
        anthropic_error("api_error", "Service unavailable"),
        "transient",
        "server error 503",
        {"retry-after": "3600"},
        3600.0,
    ),
    "503 empty": Row(503, "", "transient", "server error 503"),
    "503 list": Row(
        503,
        [anthropic_error("api_error", "Service unavailable")],
        "transient",
        "server error 503",
    ),
    "504": Row(
        504,
        anthropic_error("timeout_error", "Request timed out"),
        "transient",
        "server error 504: Request timed out",
    ),
    "529": Row(
        529,
        anthropic_error("overloaded_error", "Overloaded"),
        "transient",
        "server error 529: Overloaded",
    ),
}

NO_ANSWERS = {
    "broken JSON": Row(200, '{"id": "msg_01', "transient", "malformed answer"),
    "web page as JSON": Row(200, wire.HTML, "transient", "malformed answer"),
    "web page": Row(
        200, wire.HTML, "transient", "malformed answer", {"Content-Type": "text/html"}
    ),
    "empty body": Row(200, "", "transient", "malformed answer"),
    "{}": Row(200, {}, "transient", "malformed answer"),
    "null": Row(200, "null", "transient", "malformed answer"),
    "list": Row(200, [message()], "transient", "malformed answer"),
    "content null": Row(200, message(content=None), "transient", "malformed answer"),
    "content text": Row(200, message(content="hi"), "transient", "malformed answer"),
    "block null": Row(200, message(content=[None]), "transient", "malformed answer"),
    "block text of a number": Row(
        200,
        message(content=[{"type": "text", "text": 5}]),
        "transient",
        "malformed answer",
    ),
    "204": Row(204, "", "transient", "malformed answer"),
    "refusal": Row(
        200,
        message(None, stop_reason="refusal"),
        "content_blocked",
        "refused to answer",
    ),
    "refusal midway": Row(
        200,
        message("First, take", stop_reason="refusal"),
        "content_blocked",
        "refused to answer",
    ),
    "max_tokens without text": Row(
        200,
        message(None, stop_reason="max_tokens"),
        "bad_answer",
        "max_tokens used up before any text (raise max_tokens)",
    ),
    "tool_use": Row(
        200,
        message(
            content=[{"type": "tool_use", "id": "t", "name": "dig", "input": {}}],
            stop_reason="tool_use",
        ),
        "bad_answer",
        "incomplete answer (stop reason: tool_use)",
    ),
    "pause_turn": Row(
        200,
        message("Let me see", stop_reason="pause_turn"),
        "bad_answer",
        "incomplete answer (stop reason: pause_turn)",
    ),
    "stop reason null": Row(
        200,
        message(stop_reason=None),
        "bad_answer",
        "incomplete answer (stop reason: None)",
    ),
    "stop reason of tomorrow": Row(
        200,
        message(stop_reason="daydream"),
        "bad_answer",
        "incomplete answer (stop reason: daydream)",
    ),
    "end_turn without text": Row(200, message(None), "bad_answer", "empty answer"),
    "blank text": Row(200, message(" \n"), "bad_answer", "empty answer"),
    "unknown block only": Row(
        200,
        message(content=[{"type": "hologram", "data": "x"}]),
        "bad_answer",
        "empty answer",
    ),
}

FAULTS = {
    "reset": (wire.reset, "connection error"),
    "closed": (wire.close, "connection error"),
    "half a body": (wire.half(message()), "connection error"),
    "read timeout": (wire.hang, "timeout"),
}

ANSWERS = {
    "stop sequence": (message("So", stop_reason="stop_sequence"), "So", "stop"),
    "max_tokens": (message("So it", stop_reason="max_tokens"), "So it", "length"),
    "context full": (
        message("So", stop_reason="model_context_window_exceeded"),
        "So",
        "length",
    ),
    "several blocks": (
        message(content=[{"type": "text", "text": each} for each in ("Rayl", "eigh")]),
        "Rayleigh",
        "stop",
    ),
    "thinking first": (
        message(
            content=[
                {"type": "thinking", "thinking": "Hmm.", "signature": "x"},
                {"type": "text", "text": "Scattering"},
            ]
        ),
        "Scattering",
        "stop",
    ),
    "unknown block beside": (
        message(
            content=[
                {"type": "hologram", "text": "not for you"},
                {"type": "text", "text": "Scattering"},
            ]
        ),
        "Scattering",
        "stop",
    ),
}


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch, tmp_path_factory):
    """Keep each new client from reading the system's certificates, for 40 ms."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def ask(clock):
    """Ask Claude at an address, through the whole of the factory."""

    def ask(url, max_tokens=300, **settings):
        config = {
            "ANTHROPIC_API_KEY": KEY,
            "LLM_CLAUDE_BASE_URL": url,
            "LLM_CLAUDE_TIMEOUT": 5,
            "LLM_MAX_RETRIES": 3,
        }
        factory = LLMFactory("claude", [], config=config | settings, clock=clock)
        return factory.generate_content(
            wire.PROMPT, temperature=0.2, max_tokens=max_tokens
        )

    return ask


@pytest.fixture
def echo():
    """Return a server that repeats each prompt."""
    with wire.Stub(wire.echo(message, wire.message_prompt)) as stub:
        yield stub


def test_answer(httpserver, ask, clock):
    """An answer comes with its text and everything known about it, for one request."""
    row = Row(200, message(), "", "", {"request-id": "req_011CSHoE"})
    wire.serve(httpserver, row)
    response = ask(httpserver.url_for(""))
    assert response.success
    assert response.error is None
    assert response.content == wire.ANSWER
    assert response.provider_name == "claude"
    assert response.metadata == {
        "model": "claude-sonnet-5-5",
        "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
        "finish_reason": "stop",
        "request_id": "req_011CSHoE",
        "warnings": ["temperature is not sent to claude-sonnet-5-5, which takes none"],
        "attempts": response.metadata["attempts"],
        "latency_s": 0.0,
        "error_kind": None,
    }
    assert [each.outcome for each in response.attempts] == ["success"]
    assert len(httpserver.log) == 1
    assert clock.waits == []


def test_request(httpserver, ask):
    """The request carries model, prompt, max_tokens and key, and no temperature."""
    wire.serve(httpserver, Row(200, message(), "", ""))
    ask(httpserver.url_for(""), LLM_CLAUDE_MODEL="claude-haiku-5-5")
    ((request, _),) = httpserver.log
    assert request.path == "/v1/messages"
    assert request.json == {
        "model": "claude-haiku-5-5",
        "max_tokens": 300,
        "messages": [{"role": "user", "content": wire.PROMPT}],
    }
    assert request.headers["Authorization"] == f"Bearer {KEY}"


def test_many_tokens(httpserver, ask):
    """More max_tokens than the SDK by itself would send without streaming are sent."""
    wire.serve(httpserver, Row(200, message(), "", ""))
    assert ask(httpserver.url_for(""), max_tokens=64_000).success
    ((request, _),) = httpserver.log
    assert request.json["max_tokens"] == 64_000


@pytest.mark.parametrize(("body", "content", "finish"), ANSWERS.values(), ids=ANSWERS)
def test_answers(httpserver, ask, body, content, finish):
    """Only text blocks make the content; a cut answer says so."""
    wire.serve(httpserver, Row(200, body, "", ""))
    response = ask(httpserver.url_for(""))
    assert response.content == content
    assert response.metadata["finish_reason"] == finish
    cut = "the answer is cut at max_tokens" in response.metadata["warnings"]
    assert cut == (finish == "length")
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 12}], ids=str)
def test_usage_unknown(httpserver, ask, usage):
    """An answer without complete usage is an answer; its usage is None."""
    wire.serve(httpserver, Row(200, message(usage=usage), "", ""))
    response = ask(httpserver.url_for(""))
    assert response.content == wire.ANSWER
    assert response.usage is None


@pytest.mark.parametrize("row", STATUSES.values(), ids=STATUSES)
def test_status(httpserver, ask, clock, row):
    """Each error status becomes its kind, and is repeated by nobody but the chain."""
    wire.serve(httpserver, row)
    response = ask(httpserver.url_for(""))
    assert row.says in response.error
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
        response = ask(stub.url, LLM_CLAUDE_TIMEOUT=seconds)
        assert f"claude: {says}" in response.error
        story = wire.story(response, clock, len(stub.received))
    assert story == wire.failure("transient")


def test_refused(ask, clock):
    """A refused connection is transient."""
    response = ask(wire.closed_port())
    assert "claude: connection error" in response.error
    # Nobody is there to count.
    assert wire.story(response, clock, 3) == wire.failure("transient")


def test_retry_after_date(httpserver, ask):
    """A Retry-After that is a date becomes the seconds until then."""
    headers = {"retry-after": formatdate(time.time() + 120, usegmt=True)}
    wire.serve(httpserver, Row(429, LIMITED, "", "", headers))
    (attempt,) = ask(httpserver.url_for("")).attempts
    assert attempt.outcome == "quota"
    assert attempt.retry_after_s == pytest.approx(120, abs=10)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(httpserver, ask, status):
    """A redirect to another host does not take the key there."""
    with wire.Stub(wire.reply(message())) as other:
        elsewhere = {"Location": f"{other.url}/v1/messages"}
        wire.serve(httpserver, Row(status, "", "", "", elsewhere))
        ask(httpserver.url_for(""))
        assert httpserver.log
        assert all(KEY not in str(each.headers) for each in other.received)


def test_answer_after_trouble(httpserver, ask, clock):
    """A server that recovers is asked no more often than it takes."""
    overloaded = anthropic_error("overloaded_error", "Overloaded")
    bad = httpserver.expect_ordered_request("/v1/messages", method="POST")
    bad.respond_with_json(overloaded, 529)
    good = httpserver.expect_ordered_request("/v1/messages", method="POST")
    good.respond_with_json(message())
    response = ask(httpserver.url_for(""))
    assert response.content == wire.ANSWER
    assert [each.outcome for each in response.attempts] == ["transient", "success"]
    assert len(httpserver.log) == 2
    assert clock.waits == [5.0]


def test_key_in_no_text(httpserver, ask, caplog):
    """A key that the server repeats is in no response and in no log."""
    caplog.set_level("DEBUG")
    echoed = anthropic_error("authentication_error", f"{KEY} is not known")
    wire.serve(httpserver, Row(401, echoed, "", ""))
    response = ask(httpserver.url_for(""))
    assert "[redacted] is not known" in response.error
    assert KEY not in repr(response)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        anthropic_error("authentication_error", f"{KEY} is not known"),
        {"error": {"type": ["authentication_error"], "message": KEY}},
        KEY,
    ],
    ids=["error", "strange shape", "text"],
)
@pytest.mark.parametrize("status", [200, 400, 401, 503])
def test_error_of_its_own(httpserver, status, body):
    """Used directly it raises our error only: nothing of it leads to the key."""
    wire.serve(httpserver, Row(status, body, "", ""))
    provider = ClaudeProvider(KEY, base_url=httpserver.url_for(""))
    with pytest.raises(ProviderError) as caught:
        provider.generate_content(wire.PROMPT)
    error = caught.value
    assert error.provider == "claude"
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
        ClaudeProvider(KEY, base_url=url).generate_content(wire.PROMPT)
    assert "hunter22" not in f"{caught.value} {caught.value!r}"


def test_malformed_key():
    """A key that no header can carry is refused at once, and not repeated."""
    with pytest.raises(ValueError, match="line break") as caught:
        ClaudeProvider(f"{KEY}\n{KEY}")
    assert KEY not in f"{caught.value} {caught.value!r}"


def test_key_from_a_file(echo):
    """A key with the line end of a secret file is used without it."""
    provider = ClaudeProvider(f"{KEY}\n", base_url=echo.url)
    assert provider.generate_content("hi").content == "echo: hi"
    assert echo.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_two_keys(echo):
    """Providers with different keys, used by many threads in turn, never mix them."""
    keys = ["sk-ant-key-of-the-first", "sk-ant-key-of-the-second"]
    providers = {key: ClaudeProvider(key, base_url=echo.url) for key in keys}
    prompts = [f"{key} {number}" for number in range(20) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda prompt: providers[prompt.split()[0]].generate_content(prompt),
            prompts,
        )
        assert [each.content for each in answers] == [f"echo: {p}" for p in prompts]
    assert len(echo.received) == len(prompts)
    for each in echo.received:
        key = wire.message_prompt(each).split()[0]
        assert each.headers["authorization"] == f"Bearer {key}"


def test_many_threads(caplog):
    """Many threads share a provider at once, and each gets its own answer."""
    prompts = [str(number) for number in range(32)]
    answer = wire.together(16, wire.echo(message, wire.message_prompt))
    with wire.Stub(answer) as stub, ThreadPoolExecutor(16) as pool:
        provider = ClaudeProvider(KEY, base_url=stub.url)
        answers = list(pool.map(provider.generate_content, prompts))
    assert [each.content for each in answers] == [f"echo: {p}" for p in prompts]
    assert "pool is full" not in caplog.text


def test_fork():
    """A child process never uses its parent's connection; both get their answers."""
    echo = wire.echo(message, wire.message_prompt)
    with wire.Stub(echo, keep_alive=True) as stub:
        wire.fork_with(ClaudeProvider, stub.url)
    connections = {"parent": set(), "child": set()}
    for each in stub.received:
        connections[wire.message_prompt(each).split()[0]].add(each.connection)
    assert [len(each) for each in connections.values()] == [1, 1]  # kept alive
    assert connections["parent"].isdisjoint(connections["child"])


def test_environment(monkeypatch, echo):
    """The SDK's environment variables change neither address nor key."""
    with wire.Stub(wire.reply(message("elsewhere"))) as other:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", other.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-environment")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-the-environment")
        provider = ClaudeProvider(KEY, base_url=echo.url)
        assert provider.generate_content("hi").content == "echo: hi"
        assert other.received == []
    assert echo.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in echo.received[0].headers
    assert ClaudeProvider(KEY)._client.get().base_url == "https://api.anthropic.com"
