import ast
import re
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
import wire
from faultserver import FaultServer
from wire import Row
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    InvalidRequestError,
    TransientError,
)
from flask_llm.providers import model_lifecycle as retired
from flask_llm.providers.base import Retirement
from flask_llm.providers.openai import OpenAIProvider

KEY = "sk-proj-a-made-up-key"

LIMIT = "Rate limit reached for gpt-6.1-terra on requests per min (RPM): Limit 500."
NO_CREDIT = (
    "You exceeded your current quota, please check your plan and billing details."
)


def completion(text: str | None = wire.ANSWER, finish="stop", usage=(12, 7), **said):
    """Return an answer of Chat Completions; `said` changes the message."""
    message = {"role": "assistant", "content": text, "refusal": None} | said
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "gpt-6.1-terra-2026-09-30",
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        },
    }


def error(text, kind="invalid_request_error", code=None, param=None):
    """Return an error body of OpenAI's API."""
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


def limited(**headers):
    body = error(LIMIT, "requests", "rate_limit_exceeded")
    return Row(429, body, "quota", "quota exceeded: Rate limit reached", headers)


def counted(reasoning_tokens):
    """Return a cut answer without text, whose usage counts hidden thinking."""
    answer = completion(None, "length")
    details = {"reasoning_tokens": reasoning_tokens}
    return answer | {"usage": answer["usage"] | {"completion_tokens_details": details}}


STATUSES = {
    "400": Row(
        400,
        error("max_tokens is too large: 300000", "invalid_request_error"),
        "invalid_request",
        "request rejected: max_tokens is too large: 300000",
    ),
    "400 prompt too long": Row(
        400,
        error("Please reduce the length.", code="context_length_exceeded"),
        "context_length",
        "prompt too long: Please reduce the length.",
    ),
    "400 prompt too long for llama.cpp": Row(
        400,
        error("It exceeds the available size", "exceed_context_size_error", 400),
        "context_length",
        "prompt too long: It exceeds",
    ),
    "400 prompt too long for vLLM": Row(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "context_length",
        "prompt too long: This model's maximum context length",
    ),
    "400 content filter of Azure": Row(
        400,
        error("The response was filtered.", None, "content_filter"),
        "content_blocked",
        "content blocked: The response was filtered.",
    ),
    "400 limit of money": Row(
        400,
        error("Billing hard limit has been reached", code="billing_hard_limit_reached"),
        "quota",
        "quota exceeded: Billing hard limit",
    ),
    "400 of a strange shape": Row(
        400, {"error": {"message": 5, "code": ["x"]}}, "invalid_request", "rejected"
    ),
    "400 text": Row(
        400, {"error": "bad request, friend"}, "invalid_request", "bad request, friend"
    ),
    "401": Row(
        401,
        error("Incorrect API key provided: sk-****ey.", code="invalid_api_key"),
        "auth",
        "API key rejected (check OPENAI_API_KEY): Incorrect API key provided",
    ),
    "402": Row(
        402,
        {"error": {"message": "Insufficient Balance", "code": 402}},
        "quota",
        "quota exceeded: Insufficient Balance",
    ),
    "403": Row(
        403,
        error("Country, region, or territory not supported", "request_forbidden"),
        "auth",
        "access denied: Country",
    ),
    "403 model of others": Row(
        403,
        error("Project does not have access to model `x`", code="model_not_found"),
        "model_not_found",
        "model not found",
    ),
    "404": Row(
        404,
        error("The model `gpt-4` does not exist.", code="model_not_found"),
        "model_not_found",
        "(set LLM_OPENAI_MODEL, or check LLM_OPENAI_BASE_URL): The model `gpt-4` does",
    ),
    "408": Row(408, error("Slow."), "transient", "timeout: Slow."),
    "413": Row(413, error("Too large."), "context_length", "prompt too long"),
    "422": Row(
        422,
        {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]},
        "invalid_request",
        "request rejected",
    ),
    "429": limited(),
    "429 with Retry-After": limited(**{"retry-after": "17"})._replace(told=17.0),
    "429 with retry-after-ms": limited(**{"retry-after-ms": "1500"})._replace(told=1.5),
    "429 with an absurd Retry-After": limited(**{"retry-after": "86400"})._replace(
        told=86400.0
    ),
    "429 the SDK is told to retry": limited(**{"x-should-retry": "true"}),
    "429 no credit": Row(
        429,
        error(NO_CREDIT, "insufficient_quota", "insufficient_quota"),
        "quota",
        "quota exceeded: You exceeded your current quota",
    ),
    "429 no credit, by its type only": Row(
        429,
        error("Come back later.", "insufficient_quota", 429),
        "quota",
        "quota exceeded: Come back later.",
    ),
    "429 billing": Row(
        429,
        error("Your account is not active.", "billing_not_active", None),
        "quota",
        "quota exceeded: Your account is not active.",
    ),
    "500": Row(
        500,
        error("The server had an error", "server_error"),
        "transient",
        "server error 500: The server had an error",
    ),
    "503": Row(
        503, error("Overloaded.", "server_error"), "transient", "server error 503: Over"
    ),
    "503 list": Row(503, [error("x")], "transient", "server error 503"),
    "503 loading": Row(
        503,
        error("Loading model", "unavailable_error", 503),
        "transient",
        "server error 503: Loading model",
    ),
}

THOUGHT = (
    "thinking used up max_tokens before any text"
    " (raise max_tokens or set LLM_OPENAI_REASONING=off)"
)
MALFORMED = "malformed answer"

NO_ANSWERS = {
    "broken JSON": Row(200, '{"id": "chatcmpl', "transient", MALFORMED),
    "{}": Row(200, {}, "transient", MALFORMED),
    "list": Row(200, [completion()], "transient", MALFORMED),
    "204": Row(204, "", "transient", MALFORMED),
    "choices null": Row(200, completion() | {"choices": None}, "transient", MALFORMED),
    "choices text": Row(200, completion() | {"choices": "hi"}, "transient", MALFORMED),
    "choice null": Row(200, completion() | {"choices": [None]}, "transient", MALFORMED),
    "choice empty": Row(200, completion() | {"choices": [{}]}, "transient", MALFORMED),
    "text of a number": Row(200, completion(5), "transient", MALFORMED),
    "no choices": Row(
        200, completion() | {"choices": []}, "bad_answer", "answer without a choice"
    ),
    "content null": Row(200, completion(None), "bad_answer", "empty answer"),
    "blank text": Row(200, completion(" \n"), "bad_answer", "empty answer"),
    "refusal": Row(
        200,
        completion(None, refusal="I'm sorry, I can't."),
        "content_blocked",
        "refused to answer: I'm sorry, I can't.",
    ),
    "content filter": Row(
        200, completion("First", "content_filter"), "content_blocked", "content blocked"
    ),
    "max_tokens without text": Row(
        200,
        completion(None, "length"),
        "bad_answer",
        "max_tokens used up before any text (raise max_tokens)",
    ),
    "max_tokens used up by counted thinking": Row(
        200, counted(300), "bad_answer", THOUGHT
    ),
    "max_tokens used up, no thinking counted": Row(
        200, counted(0), "bad_answer", "max_tokens used up before any text (raise max"
    ),
    "max_tokens used up by shown thinking": Row(
        200, completion("", "length", reasoning_content="Hm"), "bad_answer", THOUGHT
    ),
    "max_tokens used up by OpenRouter's thinking": Row(
        200, completion(None, "length", reasoning="Hm"), "bad_answer", THOUGHT
    ),
    "tool call": Row(
        200,
        completion(None, "tool_calls"),
        "bad_answer",
        "incomplete answer (finish reason: tool_calls)",
    ),
    "finish reason missing": Row(
        200,
        completion(finish=None),
        "bad_answer",
        "incomplete answer (finish reason: None)",
    ),
    "aborted": Row(
        200,
        completion(finish="abort"),
        "bad_answer",
        "incomplete answer (finish reason: abort)",
    ),
    "error inside, by its words": Row(
        200, {"error": "server overloaded"}, "transient", "server error: server overlo"
    ),
    "error inside, by its code": Row(
        200,
        error("Oh.", "server_error"),
        "transient",
        "temporary failure: Oh.",
    ),
    "error inside, unknown": Row(
        200, error("Oh."), "bad_answer", "answered with an error: Oh."
    ),
}

ANSWERS = {
    "cut": (completion("So it", "length"), "So it", "length"),
    "Together's word": (completion("So", "eos"), "So", "stop"),
    "TGI's word": (completion("So", "eos_token"), "So", "stop"),
    "Mistral's word": (completion("So", "model_length"), "So", "length"),
    "thinking beside": (completion("So", reasoning_content="Hm."), "So", "stop"),
    "OpenRouter's thinking": (completion("So", reasoning="Hm."), "So", "stop"),
    "error null": (completion("So") | {"error": None}, "So", "stop"),
    "refusal blank": (completion("So", refusal=""), "So", "stop"),
}

KNOWN = {
    "model": "gpt-6.1-terra-2026-09-30",
    "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
    "request_id": None,
    "warnings": [],
}

ECHO_OF_KEY = Row(
    401,
    error(f"{KEY} is not known", code="invalid_api_key"),
    "auth",
    "[redacted] is not known",
)


class TestOpenAI(WireContract):
    name = "openai"
    provider_class = OpenAIProvider
    key = KEY
    key_setting = "OPENAI_API_KEY"
    key_header = ("authorization", "Bearer {}")
    path = "/chat/completions"
    known = KNOWN
    answers = ANSWERS
    no_usage = {  # noqa: RUF012  # never changed
        str(usage): completion() | {"usage": usage}
        for usage in (None, {}, {"prompt_tokens": 12})
    }
    statuses = STATUSES
    exhausted = (
        "400 limit of money",
        "402",
        "429 no credit",
        "429 no credit, by its type only",
        "429 billing",
    )
    no_answers = NO_ANSWERS
    trouble = STATUSES["503"]
    echo_of_key = ECHO_OF_KEY
    leaks = {  # noqa: RUF012  # never changed
        "error": ECHO_OF_KEY.body,
        "strange shape": {"error": {"type": ["x"], "message": KEY}},
        "text": KEY,
    }

    answer = staticmethod(completion)

    @staticmethod
    def sent_prompt(received):
        return received.json["messages"][0]["content"]

    @staticmethod
    def hang_up(client):
        client.close()

    def test_request(self, httpserver, ask):
        """The request carries model, prompt, temperature, max_tokens and key."""
        wire.serve(httpserver, Row(200, completion()))
        ask(httpserver.url_for("/v1"), MODEL="qwen3")
        ((request, _),) = httpserver.log
        assert request.path == "/v1/chat/completions"
        assert request.json == {
            "model": "qwen3",
            "messages": [{"role": "user", "content": wire.PROMPT}],
            "max_tokens": 300,
            "temperature": 0.25,
        }
        assert request.headers["Authorization"] == f"Bearer {KEY}"

    def test_request_id(self, httpserver, ask):
        """The id that OpenAI's support asks for is in the metadata."""
        headers = {"x-request-id": "req_5f"}
        wire.serve(httpserver, Row(200, completion(), headers=headers))
        response = ask(httpserver.url_for(""))
        assert response.metadata["request_id"] == "req_5f"

    def test_advice_that_helps(self):
        """Nobody is told to switch off what is off, or cannot be."""
        with wire.Stub(wire.reply(counted(300))) as stub:
            off = OpenAIProvider(base_url=stub.url, reasoning="off")
            stubborn = OpenAIProvider(base_url=stub.url)
            stubborn._parameters._learned.add("reasoning_effort.none")
            for provider in (off, stubborn):
                with pytest.raises(BadAnswerError) as caught:
                    provider.generate_content(wire.PROMPT)
                assert caught.value.advice == "raise max_tokens"

    @pytest.mark.parametrize(
        ("refused", "body"),
        [
            (
                "max_tokens",
                error(
                    "Unsupported parameter: 'max_tokens' is not supported with this"
                    " model. Use 'max_completion_tokens' instead.",
                    code="unsupported_parameter",
                    param="max_tokens",
                ),
            ),
            ("max_tokens", error("unknown field: max_tokens")),
        ],
    )
    def test_max_tokens_is_renamed(self, ask, clock, refused, body):
        """A server that refuses the old name gets the new one, never none."""
        answers = wire.reply(body, 400), wire.reply(completion())
        with wire.Stub(wire.in_turn(*answers)) as stub:
            response = ask(stub.url)
        assert response.content == wire.ANSWER
        first, second = (each.json for each in stub.received)
        assert first.pop(refused) == second.pop("max_completion_tokens") == 300
        assert first == second
        assert clock.waits == []
        assert response.metadata["warnings"] == []

    def test_both_names_refused(self, ask):
        """A server that knows neither name is not asked without a limit."""

        def refuse(handler, received):
            name = next(each for each in received.json if each.startswith("max"))
            wire.reply(error(f"unknown field: {name}"), 400)(handler, received)

        with wire.Stub(refuse) as stub:
            assert not ask(stub.url).success
            assert not ask(stub.url).success
        asked = [[k for k in each.json if "max" in k] for each in stub.received]
        assert asked == [["max_tokens"], ["max_completion_tokens"]] * 2

    def test_effort_elsewhere(self):
        """Another server is sent an effort only if one is configured."""
        with wire.Stub(wire.reply(completion())) as stub:
            for reasoning in ("auto", "off", "High"):
                OpenAIProvider(base_url=stub.url, reasoning=reasoning).generate_content(
                    wire.PROMPT
                )
        sent = [each.json.get("reasoning_effort") for each in stub.received]
        assert sent == [None, "none", "high"]

    @pytest.mark.parametrize("value", ["", "on", "none", "8000", "very high"])
    def test_reasoning_is_checked(self, value):
        """What is no effort is told at the start."""
        with pytest.raises(ValueError, match="must be auto, off, minimal, low, medium"):
            OpenAIProvider(KEY, reasoning=value)

    def test_efforts_are_those_of_the_sdk(self):
        """Every effort that the SDK's types know can be configured."""
        from openai.types.shared.reasoning_effort import ReasoningEffort

        for effort in set(re.findall(r"'(\w+)'", str(ReasoningEffort))) - {"none"}:
            assert OpenAIProvider(KEY, reasoning=effort).reasoning == effort

    @pytest.mark.parametrize(
        ("code", "kind", "says", "asked"),
        [
            (502, "transient", "server error 502: Provider returned error", 3),
            (429, "quota", "quota exceeded: Provider returned error", 1),
            ("429", "quota", "quota exceeded: Provider returned error", 1),
            (402, "quota", "quota exceeded: Provider returned error", 1),
            (401, "auth", "API key rejected (check OPENAI_API_KEY): Provider", 1),
            (400, "invalid_request", "request rejected: Provider returned", 1),
        ],
    )
    @pytest.mark.parametrize("inside", ["answer", "choice"])
    def test_status_inside(self, httpserver, ask, code, kind, says, asked, inside):
        """OpenRouter's errors come with status 200, and their own status counts."""
        told = {"error": {"code": code, "message": "Provider returned error"}}
        body = told if inside == "answer" else completion() | {"choices": [told]}
        wire.serve(httpserver, Row(200, body))
        response = ask(httpserver.url_for(""))
        assert response.metadata["error_kind"] == kind
        assert says in response.error
        assert {each.status for each in response.attempts} == {int(code)}
        assert len(httpserver.log) == asked

    @pytest.mark.parametrize("key", [KEY, ""])
    def test_list(self, httpserver, key):
        """The server's own list is told, sorted."""
        models = [{"id": each, "object": "model"} for each in ("b", "a")]
        listed = httpserver.expect_ordered_request("/v1/models", method="GET")
        listed.respond_with_json({"object": "list", "data": models})
        refused = httpserver.expect_ordered_request("/v1/models", method="GET")
        refused.respond_with_json(STATUSES["401"].body, 401)
        provider = OpenAIProvider(key, base_url=httpserver.url_for("/v1"))
        assert provider.list_models() == ["a", "b"]
        with pytest.raises(AuthError):
            provider.list_models()
        sent = [request.headers.get("Authorization") for request, _ in httpserver.log]
        assert sent == [f"Bearer {KEY}" if key else None] * 2

    @pytest.mark.parametrize("body", [wire.HTML, "null", "[1]", "{"])
    def test_list_of_a_strange_shape(self, httpserver, body):
        """What is no list is a malformed answer."""
        httpserver.expect_request("/models").respond_with_data(
            body, content_type="application/json"
        )
        provider = OpenAIProvider(KEY, base_url=httpserver.url_for(""))
        with pytest.raises(TransientError, match="malformed answer"):
            provider.list_models()


class TestWithoutKey:
    """A server of one's own needs no key."""

    def test_no_header(self, echo_anything):
        """Without a key no Authorization header is sent, not even an empty one."""
        provider = OpenAIProvider(base_url=echo_anything.url)
        assert provider.is_available()
        assert provider.generate_content("hi").content == "echo: hi"
        assert "authorization" not in echo_anything.received[0].headers

    @pytest.mark.parametrize(
        ("base_url", "needed"),
        [
            (None, True),
            ("https://api.openai.com/v1", True),
            ("https://eu.api.openai.com/v1", True),
            ("https://notapi.openai.com/v1", False),
            ("https://api.openai.com.example/v1", False),
            ("http://127.0.0.1:8000/v1", False),
        ],
    )
    def test_openai_needs_one(self, base_url, needed):
        """OpenAI itself, in each of its regions, is not asked without one."""
        provider = OpenAIProvider(base_url=base_url)
        assert provider.is_available() is not needed

    def test_in_the_chain(self):
        """The setting of the address is all that such a server needs."""
        with FaultServer() as server:
            config = {"LLM_OPENAI_BASE_URL": f"{server.url}/v1"}
            response = LLMFactory("openai", [], config=config).generate_content("hi")
            assert response.success, response.error

    def test_nothing_configured(self):
        """Without address and key the missing key is named."""
        response = LLMFactory("openai", [], config={}).generate_content("hi")
        assert "openai: no API key (set OPENAI_API_KEY)" in response.error


@pytest.fixture
def echo_anything():
    """Return a server that repeats each prompt."""
    prompt_of = TestOpenAI.sent_prompt
    with wire.Stub(wire.echo(completion, prompt_of)) as stub:
        yield stub


class TestEnvironment:
    """What the SDK reads on its own changes nothing that our configuration says."""

    VARIABLES = {  # noqa: RUF012  # never changed
        "OPENAI_API_KEY": "sk-of-the-environment",
        "OPENAI_ADMIN_KEY": "sk-admin-of-the-environment",
        "OPENAI_ORG_ID": "org-of-the-environment",
        "OPENAI_PROJECT_ID": "proj-of-the-environment",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/of-the-environment",
        "OPENAI_CUSTOM_HEADERS": (
            "X-Of: of-the-environment\nAuthorization: Bearer of-the-environment"
        ),
    }

    @pytest.mark.parametrize("key", [KEY, ""])
    @pytest.mark.parametrize("variable", VARIABLES)
    def test_over_the_wire(self, monkeypatch, echo_anything, variable, key):
        """The same request arrives, with the key that was given or none."""
        monkeypatch.setenv(variable, self.VARIABLES[variable])
        provider = OpenAIProvider(key, base_url=echo_anything.url)
        assert provider.generate_content("hi").content == "echo: hi"
        (received,) = echo_anything.received
        assert "of-the-environment" not in str(received.headers)
        assert "openai-organization" not in received.headers
        assert "openai-project" not in received.headers
        bearer = f"Bearer {KEY}" if key else None
        assert received.headers.get("authorization") == bearer

    def test_own_address(self, monkeypatch):
        """Without a configured address it is OpenAI's, whatever the shell says."""
        monkeypatch.setenv("OPENAI_BASE_URL", "https://example.com/v1")
        client = OpenAIProvider(KEY)._client.get()
        assert str(client.base_url) == "https://api.openai.com/v1/"


@pytest.fixture
def own(httpserver):
    """Return a maker of providers for which a server of ours is OpenAI's own."""

    class Own(OpenAIProvider):
        address = httpserver.url_for("/v1")

    return Own


class TestReasoningModels:
    """At OpenAI's own address the models are known."""

    @pytest.mark.parametrize(
        ("model", "reasoning", "max_tokens", "effort"),
        [
            (None, "auto", 4095, "none"),
            (None, "auto", 4096, None),
            (None, "off", 100_000, "none"),
            (None, "xhigh", 300, "xhigh"),
            ("gpt-5.4-mini", "auto", 300, "none"),
            ("gpt-5-mini", "auto", 300, "low"),
            ("gpt-5-2025-08-07", "off", 9000, "low"),
            ("gpt-5.1-codex", "auto", 300, "low"),
            ("o4-mini", "auto", 300, "low"),
            ("gpt-6-astra", "auto", 300, "low"),
            ("gpt-6.2-astra", "auto", 300, "low"),
            ("gpt-6.1-sol", "auto", 300, "low"),
            ("gpt-6.2-sol", "auto", 9000, None),
            ("gpt-6-sol", "auto", 300, "none"),
        ],
    )
    def test_request(self, httpserver, own, model, reasoning, max_tokens, effort):
        """They get no temperature, the new max_tokens, and the least effort."""
        wire.serve(httpserver, Row(200, completion()))
        provider = own(KEY, model=model, reasoning=reasoning)
        response = provider.generate_content(wire.PROMPT, 0.5, max_tokens)
        ((request, _),) = httpserver.log
        wanted = {
            "model": provider.model,
            "messages": [{"role": "user", "content": wire.PROMPT}],
            "max_completion_tokens": max_tokens,
            "reasoning_effort": effort,
        }
        assert request.json == {k: v for k, v in wanted.items() if v is not None}
        warning = f"temperature is not sent to {provider.model}, which takes none"
        assert response.metadata["warnings"] == [warning]

    @pytest.mark.parametrize("model", ["gpt-4.1-mini", "gpt-4o", "gpt-5-chat-latest"])
    def test_other_models(self, httpserver, own, model):
        """Models that do not think take a temperature, and no effort."""
        wire.serve(httpserver, Row(200, completion()))
        response = own(KEY, model=model).generate_content(wire.PROMPT, 0.5, 300)
        ((request, _),) = httpserver.log
        assert request.json["temperature"] == 0.5
        assert request.json["max_completion_tokens"] == 300
        assert "reasoning_effort" not in request.json
        assert response.metadata["warnings"] == []

    @pytest.mark.parametrize(
        ("told", "takes", "expected", "warning"),
        [
            (
                " Supported values are: 'high', 'medium', and 'xhigh'.",
                {"medium"},
                ["none", "medium"],
                (
                    "none is sent to gpt-6.1-terra as reasoning_effort.medium, which it"
                    " offers instead"
                ),
            ),
            (
                "",
                {"low"},
                ["none", "low"],
                None,
            ),
            (
                "",
                set(),
                ["none", "low", None],
                "low is not sent to gpt-6.1-terra, which refused it",
            ),
        ],
    )
    def test_least_effort_is_learned(self, own, clock, told, takes, expected, warning):
        """A model without "none" is asked again with what it offers, or with "low"."""

        def refuse(handler, received):
            effort = received.json.get("reasoning_effort")
            if effort is None or effort in takes:
                return wire.reply(completion())(handler, received)
            text = (
                f"Unsupported value: 'reasoning_effort' does not support '{effort}'"
                f" with this model.{told}"
            )
            body = error(text, code="unsupported_value", param="reasoning_effort")
            return wire.reply(body, 400)(handler, received)

        with wire.Stub(refuse) as stub:
            own.address = stub.url
            factory = LLMFactory(own(KEY), [], clock=clock)
            response = factory.generate_content(wire.PROMPT)
            factory.generate_content(wire.PROMPT)
        sent = [each.json.get("reasoning_effort") for each in stub.received]
        assert sent == [*expected, expected[-1]]
        refused = ["invalid_request"] * (len(expected) - 1)
        assert [each.outcome for each in response.attempts] == [*refused, "success"]
        assert response.metadata["warnings"] == [
            "temperature is not sent to gpt-6.1-terra, which takes none",
            *([f"reasoning_effort.{warning}"] if warning else []),
        ]
        assert clock.waits == []

    def test_temperature_is_learned(self):
        """What another server's model refuses is left out from then on."""
        body = error(
            "Unsupported value: 'temperature' does not support 0.5 with this model."
            " Only the default (1) value is supported.",
            code="unsupported_value",
            param="temperature",
        )
        answers = wire.reply(body, 400), wire.reply(completion())
        with wire.Stub(wire.in_turn(*answers)) as stub:
            provider = OpenAIProvider(KEY, base_url=stub.url)
            with pytest.raises(InvalidRequestError, match="temperature refused"):
                provider.generate_content(wire.PROMPT, 0.5)
            provider.generate_content(wire.PROMPT, 0.5)
        assert ["temperature" in each.json for each in stub.received] == [True, False]


class TestRetirement:
    """OpenAI's own table says when a model ends."""

    @pytest.mark.parametrize(
        ("model", "end"),
        [
            ("o3", Retirement(date(2026, 12, 11))),
            ("gpt-4-0314", Retirement(date(2026, 3, 26))),
            ("gpt-4.1", Retirement(date(2027, 1, 14), "gpt-6-luna")),
            ("gpt-4o-mini-2024-07-18", Retirement(date(2027, 1, 14), "gpt-6-luna")),
            ("gpt-6.1-terra", None),
            ("gpt-5.1-mini", None),
        ],
    )
    def test_model(self, model, end):
        """Each has its day, and a successor where one is named."""
        assert OpenAIProvider(KEY, model=model).retirement() == end

    def test_elsewhere(self):
        """Other servers end their models when they like."""
        provider = OpenAIProvider(model="gpt-4", base_url="http://127.0.0.1:8000/v1")
        assert provider.retirement() is None

    def test_whole_table(self):
        """No entry of the SDK's table is overlooked."""
        folder = find_spec("openai").submodule_search_locations[0]
        source = Path(folder, "types/shared/chat_model.py").read_text()
        table = ast.parse(source).body[-1].value.value
        named = set(re.findall(r'"([\w.-]+)"', table)) - {"gpt-5.1-mini"}
        assert set(retired.openai_ends()) == named


def test_without_the_sdk_the_pip_line_is_told(monkeypatch):
    """A newcomer reads what to type."""
    monkeypatch.setattr(OpenAIProvider, "module", "no_such_module")
    assert OpenAIProvider(KEY).unavailable_reason() == (
        'openai is not installed: pip install "Flask-LLM[openai]"'
    )


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (
            "",
            {"detail": "Not Found"},
            "nothing at this address (LLM_OPENAI_BASE_URL usually ends in /v1)",
        ),
        ("", wire.HTML, "nothing at this address (LLM_OPENAI_BASE_URL usually"),
        (
            "",
            error("The model `m` does not exist"),
            "model not found (set LLM_OPENAI_MODEL, or check LLM_OPENAI_BASE_URL)",
        ),
        (
            "/v1",
            {"detail": "Not Found"},
            "model not found (check LLM_OPENAI_BASE_URL, or set LLM_OPENAI_MODEL)",
        ),
    ],
)
def test_an_address_without_its_path(httpserver, path, body, says):
    """What everybody forgets once is named, unless the server speaks of the model."""
    wire.serve(httpserver, Row(404, body))
    config = {"LLM_OPENAI_BASE_URL": httpserver.url_for(path), "LLM_OPENAI_MODEL": "m"}
    response = LLMFactory("openai", [], config=config).generate_content("hi")

    assert says in response.error


def test_nobody_at_the_address():
    """A wrong port is told with the setting, and with the system's own words."""
    config = {"LLM_OPENAI_BASE_URL": wire.closed_port(), "LLM_MAX_RETRIES": 1}
    response = LLMFactory("openai", [], config=config).generate_content("hi")

    assert "connection error (check LLM_OPENAI_BASE_URL): [Errno 111]" in response.error


@pytest.mark.parametrize(
    ("url", "model", "refused"),
    [
        ("https://me.openai.azure.com/openai/v1", "gpt-6-luna", True),
        ("https://me.openai.azure.com/openai/v1", "my-deployment", False),
        ("https://api.groq.com/openai/v1", "gpt-6-luna", False),
    ],
)
def test_azure_has_the_models_of_openai(url, model, refused):
    """Where a name means what it means at OpenAI, no request is wasted on learning."""
    parameters = OpenAIProvider(base_url=url, model=model)._parameters

    assert parameters.refuses("temperature") == refused
    assert parameters.refuses("max_tokens") == refused
