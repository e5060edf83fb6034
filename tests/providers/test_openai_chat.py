import pytest
import wire
from chat_contract import INVOICE, ChatContract, events, followed
from faultserver import FaultServer, faults

from flask_llm import LLMFactory
from flask_llm.errors import (
    BadAnswerError,
    ContentBlockedError,
    InvalidRequestError,
    QuotaError,
    TransientError,
)
from flask_llm.providers.openai import OpenAIProvider
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

KEY = "sk-proj-a-made-up-key"


def chunk(finish=None, choices=None, **delta):
    """Return a chunk of a stream with one piece."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-B9MHDb",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "gpt-6.1-terra-2026-09-30",
        "choices": [choice] if choices is None else choices,
    }


def told(*data):
    """Return what a provider makes of a stream of such events."""
    with wire.Stub(events(*data)) as stub:
        provider = OpenAIProvider(KEY, base_url=stub.url)
        return followed(provider.stream(Request(wire.PROMPT)))


class TestOpenAIChat(ChatContract):
    provider_class = OpenAIProvider
    api = "openai"
    suffix = "/v1"
    key = KEY
    known = {"model": "gpt-6.1-terra", "request_id": "req_1"}  # noqa: RUF012  # never changed
    counted_too = {"reasoning_tokens": 0}  # noqa: RUF012  # never changed
    remedy = "LLM_OPENAI_REASONING"
    stop = "stop"
    most_stops = 4

    def blocked(self):
        return events(chunk(content="Rayleigh"), chunk("content_filter"), "[DONE]")

    def test_schema(self, server, provider):
        """The schema goes with its name in OpenAI's strict dialect, and in no words."""
        provider.answer(Request("Read it.", schema=Schema(INVOICE)))
        (body,) = self.sent(server)
        told = body["response_format"]
        assert told["type"] == "json_schema"
        assert told["json_schema"]["name"] == "Invoice"
        assert told["json_schema"]["strict"] is True
        schema = told["json_schema"]["schema"]
        assert schema["additionalProperties"] is False
        assert schema["required"] == ["number", "paid", "note"]
        assert [each["role"] for each in body["messages"]] == ["user"]

    def test_usage_is_asked_for(self, server, provider):
        """Only a stream must ask for the usage, and only a stream may."""
        provider.answer(Request("hi"))
        followed(provider.stream(Request("hi")))
        unary, streamed = self.sent(server)
        assert "stream_options" not in unary
        assert streamed["stream_options"] == {"include_usage": True}

    def test_usage_is_learned(self, server, provider):
        """A server that knows no stream_options is asked without from then on."""
        server.script(self.api, faults.rejects("stream_options"))
        _, error = followed(provider.stream(Request("hi")))
        assert error.reason == "stream_options refused, left out from now on"
        texts, response = followed(provider.stream(Request("hi")))
        assert "".join(texts) == wire.ANSWER
        assert response.metadata["usage"] is None
        assert response.metadata["warnings"] == [
            "stream_options is not sent to gpt-6.1-terra, which refused it"
        ]
        assert provider.answer(Request("hi")).metadata["warnings"] == []


def forbidden(*where):
    """Return what pydantic says of a field that it does not know."""
    return {
        "type": "extra_forbidden",
        "loc": ["body", *where],
        "msg": "Extra inputs are not permitted",
        "input": "a secret prompt",
    }


def error(text, **more):
    return {"error": {"message": text, "type": "invalid_request_error"} | more}


# What servers have said, each in its own words.
NO_STREAM_OPTIONS = {
    "old vLLM": {
        "object": "error",
        "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'),"
        " 'msg': 'Extra inputs are not permitted', 'input': {}}]",
        "code": 400,
    },
    "Fireworks": error("Extra inputs are not permitted, field: 'stream_options'"),
    "Azure": error(
        "Validation error at #/stream_options: Extra inputs are not permitted"
    ),
    "Mistral": {
        "object": "error",
        "message": {"detail": [forbidden("stream_options", "include_usage")]},
    },
    "FastAPI": {"detail": [forbidden("stream_options")]},
    "OpenAI": error(
        "Unknown parameter: 'stream_options'.",
        param="stream_options",
        code="unknown_parameter",
    ),
}
NO_SCHEMA = {
    "OpenAI": error(
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported"
        " with this model. Learn more about supported models at the guide."
    ),
    "Groq": error("This model does not support response format `json_schema`."),
    "DeepSeek": error("This response_format type is unavailable now"),
    "older DeepSeek": error(
        "Failed to deserialize the JSON body into the target type: response_format:"
        " response_format.type `json_schema` is unavailable now at line 1 column 124"
    ),
}


class TestRefusals:
    """What servers refuse is left out from then on, however they say it."""

    def learned(self, body, request):
        """Return the error of a server that answers so, and what is sent after it."""
        refuse = wire.reply(body, 422 if "detail" in str(body) else 400)
        good = events(chunk("stop", content="So."))
        with wire.Stub(wire.in_turn(refuse, good)) as stub:
            provider = OpenAIProvider(KEY, base_url=stub.url)
            _, error = followed(provider.stream(request))
            texts, _ = followed(provider.stream(request))
        assert texts == ["So."]
        return error, stub.received[1].json

    @pytest.mark.parametrize("server", NO_STREAM_OPTIONS)
    def test_stream_options(self, server):
        """A stream without its usage is better than none."""
        error, sent = self.learned(NO_STREAM_OPTIONS[server], Request("hi"))
        assert error.reason == "stream_options refused, left out from now on"
        assert "secret" not in str(error)
        assert "stream_options" not in sent

    @pytest.mark.parametrize("server", NO_SCHEMA)
    def test_schema(self, server):
        """A schema in words is better than none."""
        schema = Schema(INVOICE)
        asked = Request("Read it.", schema=schema)
        error, sent = self.learned(NO_SCHEMA[server], asked)
        assert "response_format.json_schema refused" in error.reason
        assert "response_format" not in sent
        assert sent["messages"][0]["content"] == schema.instruction


class TestReasoningModels:
    """At OpenAI's own address the models are known."""

    @pytest.mark.parametrize(
        ("model", "takes_stop"),
        [("gpt-6.1-terra", False), ("o4-mini", False), ("gpt-4.1-mini", True)],
    )
    def test_stop(self, model, takes_stop):
        """Reasoning models are not sent where to stop: they would refuse."""
        with FaultServer() as server:

            class Own(OpenAIProvider):
                address = f"{server.url}/v1"

            Own(KEY, model=model).answer(Request("hi", stop=("END",)))
            (attempt,) = server.attempts()
        assert ("stop" in attempt.json) is takes_stop


class TestChunks:
    """What compatible servers send in a stream."""

    def test_refusal(self):
        """A refusal that comes in pieces is blocked, with the whole of its words."""
        texts, error = told(
            chunk(refusal="I'm sorry,"), chunk(refusal=" I can't."), chunk("stop")
        )
        assert texts == []
        assert type(error) is ContentBlockedError
        assert str(error) == "refused to answer: I'm sorry, I can't."

    def test_refusal_without_end(self):
        """A refusal is one even if its end is missing."""
        _, error = told(chunk(refusal="I'm sorry"))
        assert type(error) is ContentBlockedError

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_thinking(self, name):
        """Thinking is no text, and counts where it leaves no room for one."""
        texts, response = told(
            chunk(**{name: "Hm."}), chunk(content="So."), chunk("stop")
        )
        assert texts == ["So."]
        assert response.success
        _, error = told(chunk(**{name: "Hm."}), chunk("length"))
        assert error.reason == "thinking used up max_tokens before any text"

    def test_used_up_without_thinking(self):
        """A blank answer that max_tokens has cut is none."""
        _, error = told(chunk(content=" "), chunk("length"))
        assert error.reason == "max_tokens used up before any text"

    @pytest.mark.parametrize(
        ("error", "cls", "status"),
        [
            ({"message": "Slow down", "code": 429}, QuotaError, 429),
            ({"message": "Slow down", "code": "429"}, QuotaError, 429),
            ({"message": "Oh", "code": "rate_limit_exceeded"}, QuotaError, None),
            ({"message": "Oh", "type": "server_error"}, TransientError, None),
            ({"message": "Provider fell", "code": 502}, TransientError, 502),
            ("server overloaded", TransientError, None),
            ({"message": "Oh"}, BadAnswerError, None),
            ({"code": "content_filter"}, ContentBlockedError, None),
        ],
    )
    @pytest.mark.parametrize("where", ["event", "choice"])
    def test_error(self, error, cls, status, where):
        """An error in a stream means what it would mean as an answer."""
        within = {"index": 0, "delta": {}, "finish_reason": "error", "error": error}
        event = {"error": error} if where == "event" else chunk(choices=[within])
        texts, found = told(chunk(content="Ray"), event, chunk("stop"))
        assert texts == ["Ray"]
        assert (type(found), found.status) == (cls, status)

    @pytest.mark.parametrize(
        "event",
        [
            "[1]",
            '"hi"',
            chunk() | {"choices": "hi"},
            chunk(content=5),
            chunk(content=["a"]),
            chunk(content=[{"type": "text", "text": 5}]),
            {"message": "boom", "object": "error"},
            chunk(refusal=5),
        ],
    )
    def test_strange_shape(self, event):
        """An event that is no chunk is a malformed answer, never left out."""
        texts, error = told(chunk(content="Ray"), event, chunk("stop"))
        assert texts == ["Ray"]
        assert type(error) is TransientError
        assert error.reason == "malformed answer"

    @pytest.mark.parametrize(
        "event",
        [
            "null",
            "{}",
            {"type": "ping"},
            chunk() | {"choices": None},
            chunk(choices=[None]),
            chunk(choices=[{"index": 0, "delta": None, "finish_reason": None}]),
        ],
    )
    def test_sign_of_life(self, event):
        """A gateway's event that holds nothing ends nothing."""
        texts, response = told(chunk(content="Ray"), event, chunk("stop"))
        assert texts == ["Ray"]
        assert response.success

    def test_nothing_but_signs_of_life(self):
        """Then there was no answer, and no stream of one."""
        texts, error = told({"type": "ping"}, "null")
        assert texts == []
        assert (type(error), error.reason) == (TransientError, "malformed answer")

    @pytest.mark.parametrize("broken", ["{broken", None], ids=["event", "connection"])
    def test_what_breaks_behind_the_finish_reason(self, broken):
        """The answer is whole: the text is there, and its count is not."""
        texts, response = told(chunk(content="Ray"), chunk("stop"), broken)
        assert texts == ["Ray"]
        assert (response.success, response.usage) == (True, None)

    def test_text_behind_the_finish_reason(self):
        """It belongs to the answer."""
        texts, response = told(chunk("stop", content="Ray"), chunk(content="!"))
        assert texts == ["Ray", "!"]
        assert response.success

    def test_a_clean_end_without_a_text(self):
        """It is as transient as a stream that is cut there."""
        _, error = told(chunk())
        assert (type(error), error.reason) == (TransientError, "stream without an end")

    def test_pieces_that_are_numbered(self):
        """As by TGI; but of two answers only the first one counts."""
        pieces = [
            {"index": at, "delta": {"content": text}, "finish_reason": None}
            for at, text in ((1, "I"), (2, " am"), (3, " here"))
        ]
        texts, _ = told(*[chunk(choices=[each]) for each in pieces], chunk("stop"))
        assert texts == ["I", " am", " here"]
        two = [{**pieces[0], "index": at} for at in (0, 1, 0, 1)]
        texts, _ = told(*[chunk(choices=[each]) for each in two], chunk("stop"))
        assert texts == ["I", "I"]

    def test_error_event_without_an_error(self):
        """An event that has nothing of a chunk is told in no words of Python's."""
        _, error = told(chunk(content="Ray"), {"message": "boom", "object": "error"})
        assert str(error) == "malformed answer"

    def test_gaps_that_are_harmless(self):
        """Chunks without a choice, a piece or a text, as Azure sends them, are fine."""
        bare = {"index": 0, "finish_reason": None}
        texts, response = told(
            chunk(choices=[]),
            chunk(role="assistant", content=""),
            chunk(choices=[bare]),
            chunk(choices=[bare | {"delta": None}]),
            chunk(content="So."),
            chunk(content=None),
            chunk("stop"),
            chunk(choices=[]) | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}},
            chunk(choices=[bare]),
        )
        assert texts == ["So."]
        assert response.metadata["finish_reason"] == "stop"
        assert response.metadata["model"] == "gpt-6.1-terra-2026-09-30"
        assert response.metadata["usage"]["total_tokens"] == 4

    def test_one_answer(self):
        """Of several answers at once the first is the answer."""
        choices = [{"index": at, "delta": {"content": "ab"[at]}} for at in (0, 1)]
        texts, _ = told(chunk(choices=choices), chunk("stop"))
        assert texts == ["a"]

    def test_end_of_another_answer(self):
        """What another answer says, in a chunk of its own, is neither text nor end."""
        other = {"index": 1, "delta": {"content": "X"}, "finish_reason": "stop"}
        texts, error = told(chunk(content="It is 1"), chunk(choices=[other]), "[DONE]")
        assert texts == ["It is 1"]
        assert error.reason == "stream without an end"

    @pytest.mark.parametrize("lacking", [{}, {"choices": None}])
    def test_usage_alone(self, lacking):
        """A chunk that holds the usage and nothing else breaks no stream."""
        counts = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        texts, response = told(chunk(content="So."), chunk("stop"), counts | lacking)
        assert texts == ["So."]
        assert response.metadata["usage"]["total_tokens"] == 4

    def test_parts(self):
        """Mistral's models that think send parts, of which only the text is text."""
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
        text = {"type": "text", "text": "So."}
        texts, _ = told(chunk(content=[thought]), chunk(content=[text]), chunk("stop"))
        assert texts == ["So."]
        _, error = told(chunk(content=[thought]), chunk("length"))
        assert error.reason == "thinking used up max_tokens before any text"

    def test_counted_thinking(self):
        """Thinking that only the usage tells of is thinking."""
        details = {"completion_tokens_details": {"reasoning_tokens": 300}}
        _, error = told(chunk("length"), chunk(choices=[]) | {"usage": details})
        assert error.reason == "thinking used up max_tokens before any text"

    @pytest.mark.parametrize("finish", ["tool_calls", "abort"])
    def test_other_ends(self, finish):
        """What ends in another way is incomplete."""
        _, error = told(chunk(content="So"), chunk(finish), "[DONE]")
        assert error.reason == f"incomplete answer (finish reason: {finish})"

    @pytest.mark.parametrize(
        ("finish", "means"), [("eos", "stop"), ("model_length", "length")]
    )
    def test_words_of_others(self, finish, means):
        """The words of other servers for a good end are known."""
        _, response = told(chunk(finish, content="So"))
        assert response.metadata["finish_reason"] == means

    @pytest.mark.parametrize("data", [(), ("[DONE]",)])
    def test_nothing_at_all(self, data):
        """A stream without a single chunk is a malformed answer."""
        texts, error = told(*data)
        assert texts == []
        assert error.reason == "malformed answer"


def answered(*choices):
    """Return what a provider makes of an answer in one piece."""
    body = {"model": "m", "choices": list(choices)}
    with wire.Stub(wire.reply(body)) as stub:
        return OpenAIProvider(KEY, base_url=stub.url).answer(Request(wire.PROMPT))


def choice(content, index=0, finish="stop"):
    message = {"role": "assistant", "content": content}
    return {"index": index, "message": message, "finish_reason": finish}


class TestAnswers:
    """What compatible servers answer in one piece."""

    def test_one_answer(self):
        """Of several answers the one that is numbered as the first is the answer."""
        response = answered(choice("one", 1), choice("zero", 0, "length"))
        assert response.content == "zero"
        assert response.metadata["finish_reason"] == "length"

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("text", "finish", "content", "kind"),
        [
            ("<think>Hm.</think>Lisbon", "stop", "Lisbon", None),
            ("<think>Hm.</think>Lis", "length", "Lis", None),
            ("<think>Hm, the capi", "length", "", "bad_answer"),
            ("<think>Hm.</think>", "length", "", "bad_answer"),
            ("<think>Hm.</think>", "stop", "", "bad_answer"),
            ("<think> is a tag", "stop", "<think> is a tag", None),
        ],
    )
    def test_thinking_in_tags(self, streamed, text, finish, content, kind):
        """It is no answer; and if it is all there is, it has used up max_tokens."""
        whole = wire.reply({"model": "m", "choices": [choice(text, finish=finish)]})
        parts = events(chunk(content=text[:9]), chunk(finish, content=text[9:]))
        with wire.Stub(parts if streamed else whole) as stub:
            config = {"LLM_OPENAI_BASE_URL": stub.url, "LLM_MAX_RETRIES": 1}
            factory = LLMFactory("openai", [], config=config)
            if streamed:
                with factory.stream_content("Capital?") as stream:
                    found = "".join(stream)
                response = stream.response
            else:
                response = factory.generate_content("Capital?")
                found = response.content
        assert (found, response.metadata["error_kind"]) == (content, kind)
        if kind and finish == "length":
            assert "thinking used up max_tokens before any text" in response.error

    def test_only_answer_by_another_number(self):
        """Some servers begin to count at 1."""
        assert answered(choice("one", 1)).content == "one"

    @pytest.mark.parametrize(
        ("word", "finish"),
        [
            ("STOP", "stop"),
            ("end_turn", "stop"),
            ("COMPLETE", "stop"),
            ("MAX_TOKENS", "length"),
            ("model_context_window_exceeded", "length"),
        ],
    )
    def test_finish_reason_of_the_model_behind(self, word, finish):
        """Gateways hand on the words of other wires, in any case."""
        response = answered(choice("one", finish=word))
        assert response.metadata["finish_reason"] == finish

    @pytest.mark.parametrize(
        ("word", "cls"),
        [
            ("SAFETY", ContentBlockedError),
            ("sensitive", ContentBlockedError),
            ("insufficient_system_resource", TransientError),
            ("tool_calls", BadAnswerError),
        ],
    )
    def test_finish_reason_of_no_answer(self, word, cls):
        """A filter, the server's own trouble, or what nobody asked for."""
        with pytest.raises(cls) as caught:
            answered(choice("one", finish=word))
        assert type(caught.value) is cls

    def test_parts(self):
        """Models of Mistral that think answer in parts, and the text is the text."""
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
        texts = [{"type": "text", "text": each} for each in ("Hel", "lo")]
        assert answered(choice([thought, *texts])).content == "Hello"

    def test_untyped_picture(self):
        """A picture of no known type is refused before anybody is asked."""
        content = [Image(b"BM and so on")]
        with wire.Stub(wire.reply({})) as stub:
            provider = OpenAIProvider(KEY, base_url=stub.url)
            with pytest.raises(InvalidRequestError, match="of a known media_type only"):
                provider.answer(Request([{"role": "user", "content": content}]))
        assert stub.received == []
