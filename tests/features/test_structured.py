"""Structured answers through the whole factory, on every provider's real SDK."""

import json
from enum import Enum

import pytest
from faultserver import FaultServer, faults
from pydantic import BaseModel, Field
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory
from flask_llm.testing import FakeProvider

EACH = pytest.mark.parametrize("name", WIRES)


class Mood(Enum):
    """How somebody feels."""

    CALM = "calm"
    ANGRY = "angry"


class Line(BaseModel):
    """A line of an invoice."""

    text: str
    price: float = Field(ge=0, le=100_000)


class Invoice(BaseModel):
    """With an enum, nested objects, a list and optional fields."""

    number: str = Field(title="Number", min_length=2)
    mood: Mood
    lines: list[Line]
    seller: Line
    note: str | None = None
    discount: float = 0.0


GOOD = {
    "number": "INV-1",
    "mood": "angry",
    "lines": [{"text": "chair", "price": 49.5}, {"text": "desk", "price": 120}],
    "seller": {"text": "shop", "price": 0},
}
# Fits every dialect: no provider can be told of these bounds by a grammar.
TOO_DEAR = GOOD | {"seller": {"text": "shop", "price": -1}}
TEXT = json.dumps(GOOD)
PLAIN_SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["spam", "ham"]}},
    "required": ["label"],
}

# Where each API is told of the schema.
PLACES = {
    "claude": lambda body: body["output_config"]["format"]["schema"],
    "openai": lambda body: body["response_format"]["json_schema"]["schema"],
    "cohere": lambda body: body["response_format"]["schema"],
    "ollama": lambda body: body["format"],
    "gemini": lambda body: body["generationConfig"]["responseSchema"],
    "genai": lambda body: body["generationConfig"]["responseJsonSchema"],
    "vertex": lambda body: body["generationConfig"]["responseJsonSchema"],
}

# What its parameter is called, for a model that refuses it.
PARAMETERS = {
    "claude": "output_config",
    "openai": "response_format",
    "cohere": "response_format",
    "ollama": "format",
    "gemini": "response_schema",
    "genai": "response_json_schema",
    "vertex": "response_json_schema",
}


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def factory(server, name, *fallbacks):
    return LLMFactory(name, fallbacks, config=settings(name, server.url))


def bodies(server, name):
    return [each.fields for each in server.attempts(WIRES[name])]


@EACH
def test_an_answer_is_an_object_of_the_model(server, name):
    """Each API is told of the schema in its own way, and the answer is checked."""
    server.script(WIRES[name], faults.OK(text=TEXT))
    response = factory(server, name).generate_content("Read this", schema=Invoice)
    assert response.success, response.error
    assert response.parsed == Invoice.model_validate(GOOD)
    assert response.content == TEXT
    (body,) = bodies(server, name)
    properties = PLACES[name](body)["properties"]
    assert set(properties) == set(Invoice.model_fields)


@EACH
def test_a_plain_schema_gives_plain_data(server, name):
    """A JSON schema as a dict needs no class."""
    server.script(WIRES[name], faults.OK(text='{"label": "spam"}'))
    llm = factory(server, name)
    assert llm.generate_content("?", schema=PLAIN_SCHEMA).parsed == {"label": "spam"}


@EACH
def test_a_wrong_answer_is_told_once_what_is_wrong(server, name):
    """The model sees its answer and the fault; both answers are paid for."""
    wrong = json.dumps(TOO_DEAR)
    server.script(WIRES[name], faults.OK(text=wrong), faults.OK(text=TEXT))
    response = factory(server, name).generate_content("Read this", schema=Invoice)
    assert response.parsed == Invoice.model_validate(GOOD)
    assert [each.outcome for each in response.attempts] == ["bad_answer", "success"]
    assert [each.usage["total_tokens"] for each in response.attempts] == [19, 19]
    assert response.usage.total_tokens == 38
    _, again = bodies(server, name)
    told = json.dumps(again)
    assert "seller.price" in told
    assert "-1" in told
    # The last word is the user's: newer models take no beginning of an answer.
    turns = again.get("messages") or again["contents"]
    assert [turn["role"] for turn in turns][-3:] in (
        ["user", "assistant", "user"],
        ["user", "model", "user"],
    )


@EACH
def test_a_model_that_does_not_learn_is_left_for_the_next(server, name):
    """It is asked twice in all, never a third time."""
    server.script(WIRES[name], faults.OK(text="I would rather not."))
    spare = FakeProvider(TEXT, name="spare")
    response = factory(server, name, spare).generate_content("?", schema=Invoice)
    assert (response.provider_name, response.parsed.number) == ("spare", "INV-1")
    outcomes = [(each.outcome, each.error) for each in response.attempts]
    assert outcomes[:2] == [("bad_answer", "answer is no JSON")] * 2
    assert len(bodies(server, name)) == 2


@EACH
def test_a_cut_answer_is_told_apart_and_not_asked_again(server, name):
    """It would be cut again: the caller learns what to change."""
    server.script(WIRES[name], faults.OK(text=TEXT[:40], finish="length"))
    response = factory(server, name).generate_content("?", schema=Invoice)
    assert response.metadata["error_kind"] == "bad_answer"
    assert "JSON cut at max_tokens (raise max_tokens)" in response.error
    assert response.parsed is None
    assert response.metadata["usage"]["total_tokens"] == 19
    assert len(bodies(server, name)) == 1


@EACH
def test_a_model_without_schemas_is_told_in_words(server, name):
    """What it refuses is learned; the answer is checked all the same."""
    server.script(
        WIRES[name],
        faults.unsupported(PARAMETERS[name]),
        faults.OK(text=f"```json\n{TEXT}\n```"),
    )
    response = factory(server, name).generate_content("Read this", schema=Invoice)
    assert response.parsed == Invoice.model_validate(GOOD)
    told = json.dumps(bodies(server, name)[-1])
    assert "matches this JSON schema" in told


class Person(BaseModel):
    """Who writes a mail."""

    name: str = Field(max_length=20)
    mood: Mood


class Mail(BaseModel):
    """Small enough for a tiny model to get to its end."""

    sender: Person
    topics: list[Mood] = Field(max_length=2)
    order: int | None = None
    urgent: bool = False


@pytest.mark.local
@pytest.mark.parametrize("text", ["I am angry!", "Thank you, Ada", "", "?"])
def test_the_local_model_keeps_to_a_schema(text):
    """A tiny model, and still every answer is an object: the grammar sees to it."""
    llm = LLMFactory("local", [], config={"LLM_LOCAL_CONTEXT": 2048})
    prompt = f"Describe the mail: {text}"
    response = llm.generate_content(prompt, schema=Mail, max_tokens=200)
    assert response.success, response.error
    assert isinstance(response.parsed, Mail)
    assert len(response.attempts) == 1
