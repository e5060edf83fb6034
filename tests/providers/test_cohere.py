import logging

import pytest
import wire
from wire import Row
from wire_contract import WireContract

from flask_llm import LLMFactory
from flask_llm.errors import BadAnswerError, ContentBlockedError
from flask_llm.providers.cohere import CohereProvider
from flask_llm.providers.parameters import tell_once

KEY = "co-a-made-up-key-0123456789"
REASONING = "command-a-reasoning-08-2025"
ID = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"

TRIAL = (
    "You are using a Trial key, which is limited to {}. You can continue to use the"
    " Trial key for free or upgrade to a Production key with higher rate limits at"
    " 'https://dashboard.cohere.com/api-keys'."
)


def chat(text: str | None = wire.ANSWER, finish="COMPLETE", *, content=None, **changes):
    """Return an answer of Cohere's chat; without a text it has no content."""
    blocks = None if text is None else [{"type": "text", "text": text}]
    return {
        "id": ID,
        "message": {"role": "assistant", "content": blocks or content},
        "finish_reason": finish,
        "usage": {
            "billed_units": {"input_tokens": 5.0, "output_tokens": 7.0},
            "tokens": {"input_tokens": 71.0, "output_tokens": 7.0},
        },
    } | changes


def error(text: object):
    """Return an error body of Cohere's API."""
    return {"id": ID, "message": text}


THINKING = {"type": "thinking", "thinking": "Hmm."}

LIMITED = error(TRIAL.format("20 API calls / minute"))

STATUSES = {
    "400": Row(
        400,
        error("invalid request: message must be at least 1 token long"),
        "invalid_request",
        "request rejected: invalid request: message must be",
    ),
    "400 too many tokens": Row(
        400,
        error("too many tokens: size limit exceeded by 11326 tokens."),
        "context_length",
        "prompt too long: too many tokens: size limit exceeded",
    ),
    "422 too many tokens": Row(
        422,
        error("too many tokens: total number of tokens cannot exceed 4081"),
        "context_length",
        "prompt too long: too many tokens",
    ),
    "400 blocked input": Row(
        400,
        error("blocked input: please adjust your prompt and try again"),
        "content_blocked",
        "content blocked: blocked input: please adjust",
    ),
    "400 blocked output": Row(
        400,
        error("blocked output: please adjust your prompt and try again"),
        "content_blocked",
        "content blocked: blocked output",
    ),
    "400 of a strange shape": Row(
        400, {"message": ["x"]}, "invalid_request", "request rejected: x"
    ),
    "400 text": Row(400, '"bad"', "invalid_request", "request rejected: bad"),
    "401": Row(
        401,
        error("invalid api token"),
        "auth",
        "API key rejected (check COHERE_API_KEY): invalid api token",
    ),
    "402": Row(
        402,
        error("Please add or update your payment method"),
        "quota",
        "quota exceeded: Please add or update your payment method",
    ),
    "403": Row(403, error("forbidden"), "auth", "access denied: forbidden"),
    "404": Row(
        404,
        error("model 'command-x' not found, make sure the correct model ID was used"),
        "model_not_found",
        "(set LLM_COHERE_MODEL, or check LLM_COHERE_BASE_URL): model 'command-x'",
    ),
    "408": Row(408, error("request timeout"), "transient", "timeout: request timeout"),
    "409": Row(409, error("conflict"), "transient", "temporary failure"),
    "413": Row(413, error("too large"), "context_length", "prompt too long"),
    "422": Row(
        422, error("invalid role in message"), "invalid_request", "invalid role"
    ),
    "429": Row(429, LIMITED, "quota", "quota exceeded: You are using a Trial key"),
    "429 of production": Row(
        429,
        error("You are past the per minute request limit, please wait and try again"),
        "quota",
        "quota exceeded: You are past the per minute",
    ),
    "429 with Retry-After": Row(
        429, LIMITED, "quota", "quota exceeded", {"retry-after": "17"}, 17.0
    ),
    "429 with an absurd Retry-After": Row(
        429, LIMITED, "quota", "quota exceeded", {"retry-after": "86400"}, 86400.0
    ),
    "429 of the month": Row(
        429,
        error(TRIAL.format("1000 API calls / month")),
        "quota",
        "limited to 1000 API calls / month",
    ),
    "498": Row(
        498, error("deny-listed token"), "content_blocked", "blocked: deny-listed token"
    ),
    "500": Row(
        500,
        error("internal server error, this has been reported"),
        "transient",
        "server error 500: internal server error",
    ),
    "501": Row(501, error("not implemented"), "transient", "server error 501"),
    "502 text": Row(
        502, "upstream connect error", "transient", "502: upstream connect error"
    ),
    "503": Row(503, error("overloaded"), "transient", "server error 503: overloaded"),
    "503 with Retry-After": Row(
        503, error("overloaded"), "transient", "503", {"retry-after": "60"}, 60.0
    ),
    "503 list": Row(503, [error("overloaded")], "transient", "server error 503"),
    "504": Row(504, error("too slow"), "transient", "server error 504: too slow"),
    "529": Row(529, error("overloaded"), "transient", "server error 529: overloaded"),
}

NO_ANSWERS = {
    "broken JSON": Row(200, '{"id": "c14c80', "transient", "malformed answer"),
    "{}": Row(200, {}, "transient", "malformed answer"),
    "list": Row(200, [chat()], "transient", "malformed answer"),
    "text as JSON": Row(200, '"hi"', "transient", "malformed answer"),
    "message null": Row(200, chat(message=None), "transient", "malformed answer"),
    "message text": Row(200, chat(message="hi"), "transient", "malformed answer"),
    "content text": Row(
        200, chat(message={"content": "hi"}), "transient", "malformed answer"
    ),
    "block text of a number": Row(
        200,
        chat(None, content=[{"type": "text", "text": 5}]),
        "transient",
        "malformed answer",
    ),
    "204": Row(204, "", "transient", "malformed answer"),
    "error": Row(200, chat("So", "ERROR"), "transient", "the generation failed"),
    "timeout": Row(
        200, chat("So", "TIMEOUT"), "transient", "the generation took too long"
    ),
    "toxic": Row(
        200, chat("So", "ERROR_TOXIC"), "content_blocked", "cut by a content filter"
    ),
    "tool call": Row(
        200,
        chat(None, "TOOL_CALL"),
        "bad_answer",
        "incomplete answer (finish reason: TOOL_CALL)",
    ),
    "finish reason null": Row(
        200, chat("So", None), "bad_answer", "incomplete answer (finish reason: None)"
    ),
    "finish reason of tomorrow": Row(
        200,
        chat("So", "DAYDREAM"),
        "bad_answer",
        "incomplete answer (finish reason: DAYDREAM)",
    ),
    "MAX_TOKENS without text": Row(
        200,
        chat(None, "MAX_TOKENS"),
        "bad_answer",
        "max_tokens used up before any text (raise max_tokens)",
    ),
    "MAX_TOKENS used up by thinking": Row(
        200,
        chat(None, "MAX_TOKENS", content=[THINKING]),
        "bad_answer",
        "thinking used up max_tokens before any text"
        " (raise max_tokens or set LLM_COHERE_THINKING=off)",
    ),
    "no content": Row(200, chat(None), "bad_answer", "empty answer"),
    "blank text": Row(200, chat(" \n"), "bad_answer", "empty answer"),
    "block null": Row(200, chat(None, content=[None]), "bad_answer", "empty answer"),
    "unknown block only": Row(
        200,
        chat(None, content=[{"type": "hologram", "text": "not for you"}]),
        "bad_answer",
        "empty answer",
    ),
}

ANSWERS = {
    "stop sequence": (chat("So", "STOP_SEQUENCE"), "So", "stop"),
    "max_tokens": (chat("So it", "MAX_TOKENS"), "So it", "length"),
    "several blocks": (
        chat(None, content=[{"type": "text", "text": each} for each in ("Ra", "y")]),
        "Ray",
        "stop",
    ),
    "thinking first": (
        chat(None, content=[THINKING, {"type": "text", "text": "Scattering"}]),
        "Scattering",
        "stop",
    ),
    "unknown block beside": (
        chat(
            None,
            content=[
                {"type": "hologram", "text": "not for you"},
                {"type": "text", "text": "Scattering"},
            ],
        ),
        "Scattering",
        "stop",
    ),
}

ECHO_OF_KEY = Row(401, error(f"{KEY} is not known"), "auth", "[redacted] is not known")

REFUSALS = [
    (422, "unknown field: parameter 'thinking' is not a valid field"),
    (400, "unknown field: parameter thinking is not a valid field"),
    (400, "invalid request: thinking is not supported by this model"),
]


class TestCohere(WireContract):
    name = "cohere"
    provider_class = CohereProvider
    key = KEY
    key_setting = "COHERE_API_KEY"
    key_header = ("authorization", "Bearer {}")
    path = "/v2/chat"
    known = {  # noqa: RUF012  # never changed
        "model": "command-a-03-2025",
        "usage": {
            "input_tokens": 71,
            "output_tokens": 7,
            "total_tokens": 78,
            "billed_input_tokens": 5,
        },
        "request_id": ID,
        "warnings": [],
    }
    answers = ANSWERS
    no_usage = {  # noqa: RUF012  # never changed
        str(usage): chat(usage=usage)
        for usage in (
            None,
            {},
            "x",
            {"tokens": {"input_tokens": 71.0}},
            {"tokens": {"input_tokens": "many", "output_tokens": 7.0}},
            {"billed_units": {"input_tokens": 5.0, "output_tokens": 7.0}},
        )
    }
    statuses = STATUSES
    exhausted = ("402", "429 of the month")
    no_answers = NO_ANSWERS
    trouble = STATUSES["503"]
    echo_of_key = ECHO_OF_KEY
    leaks = {  # noqa: RUF012  # never changed
        "error": ECHO_OF_KEY.body,
        "strange shape": {"message": {"text": KEY}},
        "text": KEY,
    }

    answer = staticmethod(chat)

    @staticmethod
    def sent_prompt(received):
        return received.json["messages"][0]["content"]

    @staticmethod
    def hang_up(client):
        client._client_wrapper.httpx_client.httpx_client.close()

    def test_request(self, httpserver, ask):
        """The request carries model, prompt, max_tokens, temperature and key only."""
        wire.serve(httpserver, Row(200, chat()))
        ask(httpserver.url_for(""), MODEL="command-r7b-12-2024")
        ((request, _),) = httpserver.log
        assert request.path == "/v2/chat"
        assert request.json == {
            "model": "command-r7b-12-2024",
            "max_tokens": 300,
            "temperature": 0.25,
            "messages": [{"role": "user", "content": wire.PROMPT}],
            "stream": False,
        }
        assert request.headers["Authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("ending", ["", "/", "/v1", "/v2", "/v2/"])
    def test_version_in_base_url(self, ending):
        """A version in the address is not doubled; a path before it stays."""
        with wire.Stub(wire.reply(chat())) as stub:
            provider = CohereProvider(KEY, base_url=f"{stub.url}/gate{ending}")
            assert provider.generate_content("hi").success
        assert stub.received[0].path == "/gate/v2/chat"

    @pytest.mark.parametrize(
        ("model", "setting", "max_tokens", "config"),
        [
            (REASONING, None, 4095, {"type": "disabled"}),
            (REASONING, None, 4096, None),
            (REASONING, "auto", 1, {"type": "disabled"}),
            (REASONING, "Off", 100_000, {"type": "disabled"}),
            (REASONING, "512", 513, {"type": "enabled", "token_budget": 512}),
            (REASONING, 512, 512, {"type": "enabled", "token_budget": 256}),
            (REASONING, 512, 1, {"type": "enabled", "token_budget": 1}),
            ("command-a-03-2025", None, 300, None),
            ("command-a-plus", "off", 300, {"type": "disabled"}),
            ("command-a-plus", 100, 300, {"type": "enabled", "token_budget": 100}),
        ],
    )
    def test_thinking(self, httpserver, ask, model, setting, max_tokens, config):
        """Short calls of reasoning models do not think unless told to."""
        wire.serve(httpserver, Row(200, chat()))
        settings = {} if setting is None else {"THINKING": setting}
        response = ask(httpserver.url_for(""), max_tokens, MODEL=model, **settings)
        ((request, _),) = httpserver.log
        assert request.json.get("thinking") == config
        held = setting == 512 and max_tokens <= 512
        told = ["thinking is held to half of max_tokens"]
        assert response.metadata["warnings"] == (told if held else [])

    @pytest.mark.parametrize("value", ["", "on", "-1", "2k", "8.0", True])
    def test_thinking_is_checked(self, value):
        """What is no mode and no budget is told at the start."""
        with pytest.raises(ValueError, match="must be auto, off or a number of tokens"):
            CohereProvider(KEY, thinking=value)

    def test_thinking_without_tokens(self):
        """A budget of none is no budget, and "off" is another word."""
        with pytest.raises(ValueError, match="must be 1 tokens or more, not 0"):
            CohereProvider(KEY, thinking="0")

    @pytest.mark.parametrize(("status", "text"), REFUSALS)
    def test_refused_thinking(self, ask, clock, status, text):
        """A model that knows no thinking is asked again without, and at once."""
        tell_once.cache_clear()
        bad = wire.reply(error(text), status)
        with wire.Stub(wire.in_turn(bad, wire.reply(chat()))) as stub:
            response = ask(stub.url, THINKING="off")
        assert response.content == wire.ANSWER
        first, second = (each.json for each in stub.received)
        assert first.pop("thinking") == {"type": "disabled"}
        assert first == second
        assert response.metadata["warnings"] == [
            "thinking.disabled is not sent to command-a-03-2025, which refused it"
        ]
        assert clock.waits == []

    def test_advice_that_helps(self, httpserver):
        """Nobody is told to switch off what is off, or cannot be."""
        wire.serve(httpserver, NO_ANSWERS["MAX_TOKENS used up by thinking"])
        url = httpserver.url_for("")
        off = CohereProvider(KEY, base_url=url, thinking="off")
        stubborn = CohereProvider(KEY, base_url=url)
        stubborn._parameters._learned.add("thinking.disabled")
        for provider in (off, stubborn):
            with pytest.raises(BadAnswerError) as caught:
                provider.generate_content(wire.PROMPT)
            assert caught.value.advice == "raise max_tokens"

    def test_headers_are_in_no_error(self, httpserver):
        """The SDK's own text of an error holds every header; ours holds none."""
        headers = {"x-debug-trace-id": "trace-0123456789"}
        wire.serve(httpserver, STATUSES["498"]._replace(headers=headers))
        provider = CohereProvider(KEY, base_url=httpserver.url_for(""))
        with pytest.raises(ContentBlockedError) as caught:
            provider.generate_content(wire.PROMPT)
        assert caught.value.detail == "deny-listed token"
        assert caught.value.status == 498

    def test_a_broken_answer_is_not_quoted(self, httpserver):
        """What a model answered is in no error, even if nobody can read it."""
        wire.serve(httpserver, Row(200, '{"message": {"content": "my diary'))
        provider = CohereProvider(KEY, base_url=httpserver.url_for(""))
        with pytest.raises(Exception, match="malformed answer") as caught:
            provider.generate_content(wire.PROMPT)
        assert "diary" not in f"{caught.value} {caught.value.detail}"

    def test_environment(self, monkeypatch, echo):
        """The SDK's environment variables change neither address nor key."""
        with wire.Stub(wire.reply(chat("elsewhere"))) as other:
            monkeypatch.setenv("CO_API_URL", other.url)
            monkeypatch.setenv("CO_API_KEY", "co-of-the-environment")
            provider = CohereProvider(KEY, base_url=echo.url)
            assert provider.generate_content("hi").content == "echo: hi"
            assert other.received == []
        assert echo.received[0].headers["authorization"] == f"Bearer {KEY}"

    @pytest.mark.slow
    def test_import(self):
        """Warming up imports all that a call needs; CO_API_URL decides nothing then."""
        wire.python(
            f"""if True:
            import os, sys
            os.environ["CO_API_URL"] = "http://elsewhere.invalid"
            from flask_llm.providers.cohere import CohereProvider
            provider = CohereProvider({KEY!r})
            provider.warm_up(full=False)
            assert "cohere.v2.client" in sys.modules
            url = provider._client.get()._client_wrapper.get_base_url()
            assert url == "https://api.cohere.com", url
        """
        )

    def test_second_key_name(self, echo):
        """The key is read under the SDK's own name too."""
        config = {"CO_API_KEY": KEY, "LLM_COHERE_BASE_URL": echo.url}
        factory = LLMFactory("cohere", [], config=config)
        assert factory.generate_content("hi").content == "echo: hi"
        self.assert_sent(KEY, echo.received[0])

    def test_root_logger_is_quiet(self, httpserver, caplog):
        """Nothing is told through the logger of the whole application."""
        caplog.set_level(logging.DEBUG)
        wire.serve(httpserver, Row(200, ANSWERS["unknown block beside"][0]))
        provider = CohereProvider(KEY, base_url=httpserver.url_for(""))
        assert provider.generate_content(wire.PROMPT).success
        assert [each for each in caplog.records if each.name == "root"] == []

    def test_list_models(self, httpserver):
        """The list holds the models that chat, as the API names them."""
        models = {"models": [{"name": REASONING}, {"name": "command-a-03-2025"}]}
        httpserver.expect_request("/v1/models", method="GET").respond_with_json(models)
        provider = CohereProvider(KEY, base_url=httpserver.url_for(""))
        assert provider.list_models() == ["command-a-03-2025", REASONING]
        ((request, _),) = httpserver.log
        assert request.args["endpoint"] == "chat"
        assert request.args["page_size"] == "1000"
