import json
import pickle
import re
from datetime import date

import pytest
import wire
from wire import Row, anthropic_error, message
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import BadAnswerError, InvalidRequestError, ParameterError
from flask_llm.providers import model_lifecycle as retired
from flask_llm.providers.base import Retirement
from flask_llm.providers.claude import ClaudeProvider
from flask_llm.providers.parameters import tell_once

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
        "transient",
        "temporary failure: The resource was changed meanwhile",
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
    "429 contract, by its code only": Row(
        429,
        anthropic_error(
            "rate_limit_error",
            "Number of requests exceeded.",
            details={"error_code": "contract_spend_limit_reached"},
        ),
        "quota",
        "quota exceeded: Number of requests",
    ),
    "429 code of tomorrow": Row(
        429,
        anthropic_error(
            "rate_limit_error", "Slow.", details={"error_code": "ramp_limit_exceeded"}
        ),
        "quota",
        "quota exceeded: Slow.",
    ),
    "429 details of a strange shape": Row(
        429,
        anthropic_error("rate_limit_error", "Slow.", details={"error_code": ["x"]}),
        "quota",
        "quota exceeded: Slow.",
    ),
    "500": Row(
        500,
        anthropic_error("api_error", "Internal server error"),
        "transient",
        "server error 500: Internal server error",
    ),
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

THOUGHT = (
    "thinking used up max_tokens before any text"
    " (raise max_tokens or set LLM_CLAUDE_THINKING=off)"
)

NO_ANSWERS = {
    "broken JSON": Row(200, '{"id": "msg_01', "transient", "malformed answer"),
    "{}": Row(200, {}, "transient", "malformed answer"),
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
    "max_tokens used up by thinking": Row(
        200,
        message(
            content=[{"type": "thinking", "thinking": "", "signature": "x"}],
            stop_reason="max_tokens",
        ),
        "bad_answer",
        THOUGHT,
    ),
    "max_tokens used up by hidden thinking": Row(
        200,
        message(
            content=[{"type": "redacted_thinking", "data": "x"}],
            stop_reason="max_tokens",
        ),
        "bad_answer",
        THOUGHT,
    ),
    "max_tokens used up by counted thinking": Row(
        200,
        message(
            None,
            stop_reason="max_tokens",
            usage={
                "input_tokens": 12,
                "output_tokens": 300,
                "output_tokens_details": {"thinking_tokens": 300},
            },
        ),
        "bad_answer",
        THOUGHT,
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

KNOWN = {
    "model": "claude-sonnet-5-5",
    "usage": {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
    "request_id": "req_011CSHoE",
    "warnings": ["temperature is not sent to claude-sonnet-5-5, which takes none"],
}

NO_USAGE = {
    str(usage): message(usage=usage) for usage in (None, {}, {"input_tokens": 12})
}

ECHO_OF_KEY = Row(
    401,
    anthropic_error("authentication_error", f"{KEY} is not known"),
    "auth",
    "[redacted] is not known",
)

LEAKS = {
    "error": ECHO_OF_KEY.body,
    "strange shape": {
        "error": {"type": ["authentication_error"], "message": KEY},
    },
    "text": KEY,
}


# As users of the API reported them, the first two for other types.
REFUSALS = [
    (
        '"thinking.type.disabled" is not supported for this model. Use'
        ' "thinking.type.adaptive" and "output_config.effort" to control it.'
    ),
    (
        "thinking: Input tag 'disabled' found using 'type' does not match any of the"
        " expected tags: 'adaptive', 'enabled'"
    ),
    "`thinking` is not supported by this model",
    "thinking: Extra inputs are not permitted",
    "thinking.type: disabled is not supported on this model",
    "`thinking.type` must be `enabled` or `adaptive`",
]
OTHER_COMPLAINTS = [
    "`max_tokens` must be greater than `thinking.budget_tokens`.",
    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    "temperature: Extra inputs are not permitted",
    "Thinking may not be enabled when tool_choice forces tool use.",
    "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
    "`temperature` is not supported when thinking is disabled",
]


STRICT, OTHER = "claude-sonnet-5-5", "claude-opus-4-8"


class TestClaude(WireContract):
    name = "claude"
    provider_class = ClaudeProvider
    key = KEY
    key_setting = "ANTHROPIC_API_KEY"
    key_header = ("authorization", "Bearer {}")
    path = "/v1/messages"
    known = KNOWN
    answers = ANSWERS
    no_usage = NO_USAGE
    statuses = STATUSES
    exhausted = (
        "400 credit used up",
        "400 own spend limit",
        "402",
        "429 spend limit",
        "429 contract, by its code only",
    )
    no_answers = NO_ANSWERS
    trouble = STATUSES["529"]
    echo_of_key = ECHO_OF_KEY
    leaks = LEAKS

    answer = staticmethod(message)

    @staticmethod
    def sent_prompt(received):
        return received.json["messages"][0]["content"]

    @staticmethod
    def hang_up(client):
        client.close()

    def test_request(self, httpserver, ask):
        """The request carries model, prompt, max_tokens and key, and no temperature."""
        wire.serve(httpserver, Row(200, message()))
        ask(httpserver.url_for(""), MODEL="claude-haiku-5-5")
        ((request, _),) = httpserver.log
        assert request.path == "/v1/messages"
        assert request.json == {
            "model": "claude-haiku-5-5",
            "max_tokens": 300,
            "messages": [{"role": "user", "content": wire.PROMPT}],
            "thinking": {"type": "between_tools"},
        }
        assert request.headers["Authorization"] == f"Bearer {KEY}"

    def test_many_tokens(self, httpserver, ask):
        """More max_tokens than the SDK would send by itself without streaming go."""
        wire.serve(httpserver, Row(200, message()))
        assert ask(httpserver.url_for(""), max_tokens=64_000).success
        ((request, _),) = httpserver.log
        assert request.json["max_tokens"] == 64_000

    @pytest.mark.parametrize(
        ("model", "setting", "max_tokens", "config"),
        [
            (STRICT, None, 4095, {"type": "between_tools"}),
            (STRICT, None, 4096, None),
            (STRICT, "auto", 1, {"type": "between_tools"}),
            (STRICT, "Off", 100_000, {"type": "between_tools"}),
            (STRICT, "adaptive", 300, {"type": "adaptive"}),
            (STRICT, 8000, 20_000, {"type": "adaptive"}),
            (STRICT, 8000, 2047, {"type": "between_tools"}),
            ("claude-haiku-5-5", "off", 100_000, {"type": "between_tools"}),
            (OTHER, None, 4095, {"type": "disabled"}),
            (OTHER, None, 4096, None),
            (OTHER, "Off", 100_000, {"type": "disabled"}),
            (OTHER, "1024", 1025, {"type": "enabled", "budget_tokens": 1024}),
            (OTHER, 8000, 20_000, {"type": "enabled", "budget_tokens": 8000}),
            (OTHER, 8000, 8000, {"type": "enabled", "budget_tokens": 4000}),
            (OTHER, 8000, 2048, {"type": "enabled", "budget_tokens": 1024}),
            (OTHER, 8000, 2047, {"type": "disabled"}),
        ],
    )
    def test_thinking(  # what a request depends on
        self, httpserver, ask, model, setting, max_tokens, config
    ):
        """Short calls do not think unless told to; a budget leaves room for text."""
        wire.serve(httpserver, Row(200, message()))
        settings = {"MODEL": model} | ({} if setting is None else {"THINKING": setting})
        response = ask(httpserver.url_for(""), max_tokens, **settings)
        ((request, _),) = httpserver.log
        assert request.json.get("thinking") == config
        warnings = {
            (OTHER, 8000, 8000): ["thinking is held to half of max_tokens"],
            (OTHER, 8000, 2048): ["thinking is held to half of max_tokens"],
            (OTHER, 8000, 2047): ["thinking is off below 2048 max_tokens"],
            (STRICT, 8000, 2047): ["thinking is off below 2048 max_tokens"],
            (STRICT, 8000, 20_000): [
                f"{STRICT} takes no budget for thinking: it is adaptive"
            ],
        }.get((model, setting, max_tokens), [])
        known = [each.replace(STRICT, model) for each in KNOWN["warnings"]]
        assert response.metadata["warnings"] == known + warnings

    @pytest.mark.parametrize("value", ["", "on", "1023", "0", "-1", "2k", "8000.0"])
    def test_thinking_is_checked(self, value):
        """What is no mode and no budget is told at the start."""
        with pytest.raises(ValueError, match=r"must be (off, auto|1024 tokens)"):
            ClaudeProvider(KEY, thinking=value)

    @pytest.mark.parametrize("text", REFUSALS)
    def test_refused_thinking(self, ask, clock, caplog, text):
        """A model that cannot but think is asked again, and never told so again."""
        caplog.set_level("INFO", "flask_llm")
        tell_once.cache_clear()
        bad = wire.reply(anthropic_error("invalid_request_error", text), 400)
        with wire.Stub(wire.in_turn(bad, wire.reply(message()))) as stub:
            response = ask(stub.url)
        assert response.content == wire.ANSWER
        first, second = (each.json for each in stub.received)
        assert first.pop("thinking") == {"type": "between_tools"}
        offered = "adaptive" if "adaptive" in text else None
        assert second.pop("thinking", {}).get("type") == offered
        assert first == second
        told = (
            f"is sent to {STRICT} as thinking.{offered}, which it offers instead"
            if offered
            else f"is not sent to {STRICT}, which refused it"
        )
        warning = f"thinking.between_tools {told}"
        assert response.metadata["warnings"] == [*KNOWN["warnings"], warning]
        assert caplog.messages.count(warning) == 1
        refused, answered = response.attempts
        done = f"sent as {offered}" if offered else "left out"
        assert refused.error == f"thinking.between_tools refused, {done} from now on"
        assert (refused.outcome, refused.status) == ("invalid_request", 400)
        assert answered.outcome == "success"
        assert clock.waits == []

    @pytest.mark.parametrize(
        ("offers", "sent"),
        [
            ('Use "between_tools" instead.', "between_tools"),
            ('Use "thinking.type.adaptive" or "thinking.type.enabled".', "adaptive"),
            ("Supported values: `adaptive`, `between_tools`", "between_tools"),
            ("", None),
        ],
    )
    def test_what_is_offered_instead(self, offers, sent):
        """A model that no table knows is asked with the least thinking it offers."""
        text = f'thinking.type: "disabled" is not supported for this model. {offers}'
        bad = wire.reply(anthropic_error("invalid_request_error", text), 400)
        with wire.Stub(wire.in_turn(bad, wire.reply(message()))) as stub:
            provider = ClaudeProvider(KEY, model="claude-orchid-7", base_url=stub.url)
            factory = LLMFactory(provider, [], config={})
            assert factory.generate_content(wire.PROMPT, max_tokens=100).success
            assert factory.generate_content(wire.PROMPT, max_tokens=100).success
        asked = [each.json.get("thinking", {}).get("type") for each in stub.received]
        assert asked == ["disabled", sent, sent]

    @pytest.mark.parametrize("text", OTHER_COMPLAINTS)
    def test_other_complaints(self, ask, text):
        """A 400 that refuses a value, or something else, is what it was."""
        bad = wire.reply(anthropic_error("invalid_request_error", text), 400)
        with wire.Stub(bad) as stub:
            response = ask(stub.url)
        assert len(stub.received) == 1
        assert f"request rejected: {text[:20]}" in response.error

    def test_refused_for_ever(self):
        """Whoever refuses what was not sent is asked once more in each call only.

        Nothing is remembered that has not helped.
        """
        bad = anthropic_error("invalid_request_error", REFUSALS[2])
        with wire.Stub(wire.reply(bad, 400)) as stub:
            provider = ClaudeProvider(KEY, base_url=stub.url)
            with pytest.raises(ParameterError) as caught:
                provider.generate_content(wire.PROMPT)
            error = pickle.loads(pickle.dumps(caught.value))
            assert (error.at_once, error.detail) == (True, REFUSALS[2])
            with pytest.raises(InvalidRequestError) as caught:
                provider.generate_content(wire.PROMPT)
            assert type(caught.value) is InvalidRequestError
            with pytest.raises(ParameterError):
                provider.generate_content(wire.PROMPT)
        asked = ["thinking" in each.json for each in stub.received]
        assert asked == [True, False, True]

    def test_advice_that_helps(self, httpserver):
        """Nobody is told to switch off what is off, or cannot be."""
        row = NO_ANSWERS["max_tokens used up by thinking"]
        wire.serve(httpserver, row)
        url = httpserver.url_for("")
        off = ClaudeProvider(KEY, base_url=url, thinking="off")
        stubborn = ClaudeProvider(KEY, base_url=url)
        stubborn._parameters._learned.add("thinking.between_tools")
        for provider in (off, stubborn):
            with pytest.raises(BadAnswerError) as caught:
                provider.generate_content(wire.PROMPT)
            assert caught.value.advice == "raise max_tokens"

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("ANTHROPIC_API_KEY", "sk-ant-of-the-environment"),
            ("ANTHROPIC_AUTH_TOKEN", "token-of-the-environment"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/of-the-environment"),
            ("ANTHROPIC_PROFILE", "of-the-environment"),
            (
                "ANTHROPIC_CUSTOM_HEADERS",
                "X-Of: of-the-environment\nAuthorization: Bearer of-the-environment",
            ),
        ],
    )
    def test_environment(self, monkeypatch, tmp_path, echo, variable, value):
        """The SDK's environment variables change neither address, key nor headers."""
        profile = {
            "base_url": "http://127.0.0.1:9",
            "workspace_id": "of-the-environment",
            "authentication": {"type": "user_oauth"},
        }
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "of-the-environment.json").write_text(
            json.dumps(profile)
        )
        monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv(variable, value)
        provider = ClaudeProvider(KEY, base_url=echo.url)
        assert provider.generate_content("hi").content == "echo: hi"
        (received,) = echo.received
        assert "of-the-environment" not in str(received.headers)
        assert received.headers["authorization"] == f"Bearer {KEY}"
        assert "x-api-key" not in received.headers

    def test_own_address(self, monkeypatch):
        """Without a configured address it is Anthropic's, whatever the shell says."""
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://example.com")
        assert ClaudeProvider(KEY)._client.get().base_url == "https://api.anthropic.com"

    def test_cached_tokens(self, httpserver, ask):
        """What the API's cache takes or holds of a prompt counts as the prompt."""
        usage = {
            "input_tokens": 2,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 400,
            "output_tokens": 7,
        }
        wire.serve(httpserver, Row(200, message(usage=usage)))
        usage = ask(httpserver.url_for("")).usage
        assert (usage.input_tokens, usage.total_tokens) == (432, 439)

    @pytest.mark.slow
    def test_warnings_of_the_sdk(self, echo):
        """A model that the SDK warns of answers, even where warnings are errors."""
        code = """if True:
            import sys
            from anthropic.resources.messages import messages
            from flask_llm.providers.claude import ClaudeProvider
            for models, thinking in [
                (list(messages.DEPRECATED_MODELS), "off"),
                (messages.MODELS_TO_WARN_WITH_THINKING_ENABLED, "1024"),
            ]:
                provider = ClaudeProvider(
                    "k", base_url=sys.argv[1], model=models[0], thinking=thinking
                )
                for _ in range(2):
                    print(provider.generate_content("hi", max_tokens=4096).content)
        """
        said = wire.python(code, echo.url, options=("-W", "error"))
        assert said == "echo: hi\n" * 4

    @pytest.mark.parametrize(
        ("model", "end"),
        [
            ("claude-instant-1.2", Retirement(date(2024, 11, 6))),
            ("claude-opus-4-20250514", Retirement(date(2026, 6, 15))),
            ("claude-sonnet-4-5", Retirement(date(2026, 11, 30))),
            ("claude-sonnet-5-5", None),
        ],
    )
    def test_retirement(self, model, end):
        """Each model has its last day, also those that newer tables name no longer."""
        assert ClaudeProvider(KEY, model=model).retirement() == end

    def test_whole_table_of_retirements(self):
        """No entry of the SDK's table is overlooked, and each day is its day."""
        from anthropic.resources.messages.messages import DEPRECATED_MODELS

        ends = retired.anthropic_ends()
        assert ends.keys() >= DEPRECATED_MODELS.keys()
        for model, words in DEPRECATED_MODELS.items():
            day = ends[model]
            plain = re.sub(r"(?<=\d)[a-z]+", "", words)
            assert f"{day:%B} {day.day}, {day.year}" == plain
