import logging

import pytest
import wire
from chat_contract import INVOICE, ChatContract, events, followed

from flask_llm.errors import (
    BadAnswerError,
    ContentBlockedError,
    QuotaError,
    TransientError,
)
from flask_llm.providers.cohere import CohereProvider
from flask_llm.providers.schema_dialects import cohere_schema
from flask_llm.schema import Schema
from flask_llm.types import Request

KEY = "co-a-made-up-key-0123456789"
ID = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"

START = {"type": "message-start", "id": ID, "delta": {"message": {"role": "assistant"}}}


def piece(text, kind="text", event="content-delta"):
    """Return an event with a piece of content."""
    return {"type": event, "index": 0, "delta": {"message": {"content": {kind: text}}}}


def end(finish="COMPLETE", **delta):
    """Return the event that ends a stream."""
    return {"type": "message-end", "id": ID, "delta": {"finish_reason": finish} | delta}


def told(*data, kind=None):
    """Return what a provider makes of a stream of such events."""
    with wire.Stub(events(*data, kind=kind)) as stub:
        provider = CohereProvider(KEY, base_url=stub.url)
        return followed(provider.stream(Request(wire.PROMPT)))


class TestCohereChat(ChatContract):
    provider_class = CohereProvider
    api = "cohere"
    key = KEY
    known = {"model": "command-a-03-2025", "request_id": ID}  # noqa: RUF012  # never changed
    remedy = "LLM_COHERE_THINKING"
    stop = "stop_sequences"
    most_stops = 5

    def blocked(self):
        return events(START, piece("Rayleigh"), end("ERROR_TOXIC"))

    def test_schema(self, server, provider):
        """The schema goes in Cohere's dialect, and in words, as Cohere asks for."""
        schema = Schema(INVOICE)
        provider.answer(Request("Read it.", schema=schema))
        (body,) = self.sent(server)
        assert body["response_format"] == {
            "type": "json_object",
            "schema": cohere_schema(INVOICE),
        }
        assert body["messages"] == [
            {"role": "system", "content": schema.instruction},
            {"role": "user", "content": "Read it."},
        ]


class TestEvents:
    """What may come in a stream."""

    def test_text_of_the_start(self):
        """Text that comes with the start of a block is not lost."""
        begun = piece("Ray", event="content-start")
        texts, _ = told(START, begun, piece("leigh"), end())
        assert texts == ["Ray", "leigh"]

    @pytest.mark.parametrize(
        ("words", "cls"),
        [
            ("Too many requests", QuotaError),
            ("You are past the per minute rate limit", QuotaError),
            ("overloaded", TransientError),
            ("something went wrong", TransientError),
            ("blocked output: please adjust your prompt", ContentBlockedError),
            (None, TransientError),
        ],
    )
    def test_error_at_the_end(self, words, cls):
        """An end with an error is none; its words tell which error it is."""
        texts, error = told(START, piece("Ray"), end("ERROR", error=words))
        assert texts == ["Ray"]
        assert type(error) is cls
        assert error.detail == (words or "")

    def test_reason_without_words(self):
        """Without words the finish reason says what it was."""
        _, error = told(START, end("TIMEOUT"))
        assert error.reason == "the generation took too long"

    @pytest.mark.parametrize(
        "data",
        [
            {"message": "Too many requests"},
            {"type": "error", "message": "Too many requests"},
            {"error": "Too many requests", "id": ID},
        ],
    )
    def test_error_event(self, data):
        """An event that is none of the API's is an error, no start of a message."""
        texts, error = told(START, piece("Ray"), data, end(), kind="error")
        assert texts == ["Ray"]
        assert type(error) is QuotaError

    @pytest.mark.parametrize(
        "data",
        [
            "{",
            "null",
            "[1]",
            '"hi"',
            {"type": "content-delta", "index": 0},
            {"type": "content-delta", "index": 0, "delta": None},
            {"type": "content-delta", "delta": {"message": "hi"}},
            piece(5),
            piece(["a"]),
        ],
    )
    def test_unreadable(self, caplog, data):
        """An event that cannot be read ends the stream, though the SDK would go on."""
        caplog.set_level(logging.DEBUG)
        texts, error = told(START, piece("Ray"), data, piece("leigh"), end())
        assert texts == ["Ray"]
        assert isinstance(error, TransientError)
        assert [each for each in caplog.records if each.name == "root"] == []

    def test_charset(self):
        """Events are UTF-8, whatever the header says of them."""
        assert self.raw("Größe", "; charset=iso-8859-1")[0] == ["Größe"]

    def test_broken_character(self):
        """Bytes that are no UTF-8 are no text, and no part of one."""
        texts, error = self.raw(b"Gr\xf6\xdfe")
        assert texts == []
        assert (type(error), error.reason) == (TransientError, "malformed answer")

    @staticmethod
    def raw(text, charset=""):
        """Return what a provider makes of a stream with this very text."""
        told = text.encode() if isinstance(text, str) else text
        datas = [wire.encoded(each) for each in (START, piece("TEXT"), end())]
        body = b"".join(b"data: " + each + b"\n\n" for each in datas)
        headers = {"Content-Type": f"text/event-stream{charset}"}
        answer = wire.reply(body.replace(b"TEXT", told), headers=headers)
        with wire.Stub(answer) as stub:
            provider = CohereProvider(KEY, base_url=stub.url)
            return followed(provider.stream(Request(wire.PROMPT)))

    def test_unknown_events(self, caplog):
        """Events of other kinds, or of tomorrow, are no trouble and no noise."""
        caplog.set_level(logging.DEBUG)
        others = [
            {"type": "hologram", "delta": 5},
            {"type": "debug", "prompt": "<BOS>"},
            {"type": "citation-start", "index": 0},
            {"type": "content-end", "index": 0},
        ]
        texts, response = told(START, "", piece("So."), *others, end(), "[DONE]")
        assert texts == ["So."]
        assert response.success
        assert [each for each in caplog.records if each.name == "root"] == []

    @pytest.mark.parametrize("finish", ["TOOL_CALL", "DAYDREAM", None])
    def test_other_ends(self, finish):
        """What ends in another way is incomplete."""
        _, error = told(START, piece("So"), end(finish))
        assert type(error) is BadAnswerError
        assert error.reason == f"incomplete answer (finish reason: {finish})"

    def test_used_up_without_thinking(self):
        """A blank answer that max_tokens has cut is none."""
        _, error = told(START, piece(" "), end("MAX_TOKENS"))
        assert error.reason == "max_tokens used up before any text"

    def test_nothing_at_all(self):
        """A stream without an event has no end."""
        _, error = told()
        assert error.reason == "stream without an end"


LINE = {
    "type": "object",
    "properties": {"price": {"type": "number", "minimum": 0}},
    "required": ["price"],
}


class TestSchema:
    """The dialect of Cohere's guide to structured outputs."""

    def test_bounds(self):
        """What the guide does not support is told in the description."""
        said = cohere_schema(INVOICE)
        number = said["properties"]["number"]
        assert number == {"type": "string", "description": "{maxLength: 12}"}
        assert said["required"] == ["number", "paid"]
        assert "title" not in said

    def test_formats(self):
        """Only the formats of the guide are sent."""
        texts = {each: {"type": "string", "format": each} for each in ("date", "email")}
        said = cohere_schema(
            {"type": "object", "properties": texts, "required": ["date"]}
        )
        assert said["properties"]["date"] == texts["date"]
        assert "format" not in said["properties"]["email"]

    def test_nested(self):
        """Definitions and references stay, each translated."""
        said = cohere_schema(
            {
                "type": "object",
                "properties": {
                    "lines": {"type": "array", "items": {"$ref": "#/$defs/L"}}
                },
                "required": ["lines"],
                "$defs": {"L": LINE},
            }
        )
        assert said["properties"]["lines"]["items"] == {"$ref": "#/$defs/L"}
        price = said["$defs"]["L"]["properties"]["price"]
        assert price == {"type": "number", "description": "{minimum: 0}"}

    def test_several_types(self):
        """A list of types is told as the union that the guide knows."""
        several = {"type": ["string", "null"]}
        said = cohere_schema(
            {"type": "object", "properties": {"a": several}, "required": ["a"]}
        )
        kinds = [{"type": "string"}, {"type": "null"}]
        assert said["properties"]["a"] == {"anyOf": kinds}

    def test_union(self):
        """What pydantic makes of an optional field is sent as it is."""
        union = {"anyOf": [{"type": "string"}, {"type": "null"}]}
        said = cohere_schema(
            {"type": "object", "properties": {"a": union}, "required": ["a"]}
        )
        assert said["properties"]["a"] == union

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "array", "items": LINE},
            {"type": "object", "properties": {"a": {"type": "string"}}},
            {"type": "object", "properties": {}, "required": []},
            {"type": "object"},
            {"$ref": "#/$defs/T", "$defs": {"T": {"$ref": "#/$defs/T"}}},
            {
                "type": "object",
                "properties": {"child": {"$ref": "#"}, "a": {"type": "string"}},
                "required": ["a"],
            },
        ],
    )
    def test_unsayable(self, schema):
        """What breaks a rule of the guide is not sent at all."""
        assert cohere_schema(schema) is None
