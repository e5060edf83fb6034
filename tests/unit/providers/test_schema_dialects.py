"""The dialects: what each provider can be told of a schema, and what it cannot."""

import copy
import datetime as dt
import decimal
import enum
import json
from functools import cache
from typing import Any, Literal

import pytest
from anthropic import transform_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, RootModel

from flask_llm.providers.schema_dialects import closed, openapi, plain, strict
from flask_llm.schema import Schema

ALL = [strict, closed, plain, openapi]
NULL = {"type": "null"}

# A busy machine makes slow examples, which are as good as others.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    item: str
    count: int = Field(1, ge=1, le=99)
    note: str | None = None


class Order(BaseModel):
    """An order."""

    title: str = Field(max_length=40)
    color: Color = Color.RED
    kind: Literal["new", "old"] = "new"
    fixed: Literal["x"] = "x"
    lines: list[Line] = Field(min_length=1)
    main: Line | None = Field(None, description="The first line")
    extra: Line = Field(description="One more")
    due: dt.date | None = None
    price: float = Field(0, alias="thePrice")


class Tree(BaseModel):
    name: str
    branches: list["Tree"] = []


class Priced(BaseModel):
    amount: decimal.Decimal
    either: int | str


class Counts(BaseModel):
    counts: dict[str, int]


class Pair(BaseModel):
    pair: tuple[int, str]


class Anything(BaseModel):
    value: Any


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Names(RootModel[list[str]]):
    pass


def schema_of(model):
    return model.model_json_schema()


@cache
def properties(model):
    return tuple(schema_of(model)["properties"])


@cache
def validator(dialect, model):
    """Return what checks answers by what a dialect says; None if it can say nothing."""
    said = dialect(schema_of(model))
    if said is None:
        return None
    said = as_json_schema(said)
    Draft202012Validator.check_schema(said)
    return Draft202012Validator(said)


lines = st.builds(
    Line,
    item=st.text(),
    count=st.integers(1, 99),
    note=st.none() | st.text(),
)
orders = st.builds(
    Order,
    title=st.text(max_size=40),
    color=st.sampled_from(Color),
    kind=st.sampled_from(["new", "old"]),
    lines=st.lists(lines, min_size=1, max_size=3),
    main=st.none() | lines,
    extra=lines,
    due=st.none() | st.dates(),
    thePrice=st.floats(allow_nan=False, allow_infinity=False),
)
trees = st.recursive(
    st.builds(Tree, name=st.text(), branches=st.just([])),
    lambda inner: st.builds(Tree, name=st.text(), branches=st.lists(inner, max_size=3)),
    max_leaves=6,
)
priced = st.builds(
    Priced,
    amount=st.decimals(allow_nan=False, allow_infinity=False, places=2),
    either=st.integers() | st.text(),
)


def as_json_schema(said):
    """Return what the OpenAPI subset means in JSON schema."""
    if isinstance(said, list):
        return [as_json_schema(each) for each in said]
    if not isinstance(said, dict):
        return said
    meant = {key: as_json_schema(each) for key, each in said.items()}
    if meant.pop("nullable", False) is True:
        return {"anyOf": [meant, NULL]}
    return meant


def parts(schema):
    """Yield all schemas in one that dialects return."""
    yield schema
    for key in ("properties", "$defs"):
        for each in schema.get(key, {}).values():
            yield from parts(each)
    for each in schema.get("anyOf", []):
        yield from parts(each)
    if "items" in schema:
        yield from parts(schema["items"])


@patiently
@given(answer=orders | trees | priced)
def test_what_the_original_accepts_the_dialects_accept(answer):
    """No dialect keeps a model from a right answer."""
    said = answer.model_dump(mode="json", by_alias=True)
    for dialect in ALL:
        check = validator(dialect, type(answer))
        wrong = [] if check is None else list(check.iter_errors(said))
        assert not wrong, dialect.__name__


@patiently
@given(order=orders)
def test_an_answer_in_the_strict_dialect_reads_as_the_original(order):
    """Null for each property that has its default means the default."""
    said = order.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for line in [*said["lines"], said["extra"], *filter(None, [said.get("main")])]:
        for name in Line.model_fields:
            line.setdefault(name, None)
    for name in properties(Order):
        said.setdefault(name, None)
    validator(strict, Order).validate(said)
    assert Schema(Order).read(json.dumps(said)) == order


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("model", [Order, Tree, Priced, Counts, Names])
def test_a_schema_is_left_as_it_is(dialect, model):
    """The caller's schema is used for the check afterwards."""
    schema = schema_of(model)
    before = copy.deepcopy(schema)
    dialect(schema)
    assert schema == before


# Which dialect can say which model.
SAYABLE = {
    Order: {strict, closed, plain, openapi},
    Tree: {strict, plain},
    Priced: {strict, closed, plain},
    Names: {closed, plain, openapi},
    Counts: {plain},
    Pair: {plain},
    Anything: {plain},
    Open: {plain},
}


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("model", SAYABLE)
def test_what_a_dialect_can_say(dialect, model):
    """What it cannot say is told in words, as None tells."""
    said = dialect(schema_of(model))
    assert (said is not None) == (dialect in SAYABLE[model])


UNSAYABLE = [
    {"type": "text"},
    {"type": "object", "properties": {"a": {"type": 5}}},
    {"$ref": "https://example.invalid/schema.json"},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("schema", UNSAYABLE)
def test_what_no_dialect_can_say(dialect, schema):
    """Unknown types and references that lead nowhere make providers fail."""
    assert dialect(schema) is None


def wrapped(schema):
    return {"allOf": [{"description": "One", "allOf": [schema]}]}


@pytest.mark.parametrize("dialect", [strict, closed, openapi])
def test_all_of_one_is_that_one(dialect):
    """However often it is wrapped, as generators of schemas do."""
    schema = schema_of(Flat)
    inner = {key: schema[key] for key in schema if key != "$defs"}
    said = dialect(wrapped(inner) | {"$defs": schema["$defs"]})
    assert said == dialect(inner | {"description": "One", "$defs": schema["$defs"]})


@pytest.mark.parametrize("dialect", [strict, closed, openapi])
def test_a_tuple_is_found_inside_all_of_one(dialect):
    """Its parts would be lost on the way."""
    pair = {"type": "array", "items": {}, "prefixItems": [{"type": "string"}]}
    schema = {"type": "object", "properties": {"a": wrapped(pair)}, "required": ["a"]}
    assert dialect(schema) is None


def test_strict_closes_every_object_and_needs_all_of_it():
    """OpenAI refuses an object with other or optional properties."""
    objects = [
        each for each in parts(strict(schema_of(Order))) if each.get("type") == "object"
    ]
    assert len(objects) == 3  # the order, its lines, and the one with a description
    for each in objects:
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])


def test_strict_makes_optional_properties_nullable_once():
    """A model that must answer needs a word for nothing; one is enough."""
    said = strict(schema_of(Order))["properties"]
    assert said["title"]["type"] == "string"
    assert said["kind"]["anyOf"].count(NULL) == 1
    assert said["main"]["anyOf"].count(NULL) == 1
    assert said["main"]["description"] == "The first line"
    assert NULL not in said["lines"].get("anyOf", [])


@pytest.mark.parametrize("dialect", [strict, closed])
def test_nothing_stands_beside_a_reference(dialect):
    """OpenAI refuses it, and Anthropic's SDK drops it: the target is put there."""
    said = dialect(schema_of(Order))
    assert said["properties"]["extra"]["description"] == "One more"
    for each in parts(said):
        assert "$ref" not in each or len(each) == 1


def test_a_bound_without_a_keyword_is_told_in_the_description():
    """A model that knows of it is asked less often again."""
    said = closed(schema_of(Order))["$defs"]["Line"]["properties"]["count"]
    assert said == {
        "type": "integer",
        "description": "{minimum: 1, maximum: 99}",
    }


def test_strict_leaves_out_patterns_that_look_ahead():
    """OpenAI answers them, such as that of pydantic's Decimal, with an error."""
    hard, easy = (
        {"type": "string", "pattern": "^(?!0)"},
        {"type": "string", "pattern": "a"},
    )
    schema = {"type": "object", "properties": {"hard": hard, "easy": easy}}
    said = strict({**schema, "required": ["hard", "easy"]})["properties"]
    assert said["hard"] == {"type": "string", "description": "{pattern: ^(?!0)}"}
    assert said["easy"] == easy


@pytest.mark.parametrize("name", ["title", "default", "$defs", "type"])
@pytest.mark.parametrize("dialect", ALL)
def test_a_property_may_be_called_like_a_keyword(dialect, name):
    """Names of properties are no keywords."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"}},
        "required": [name],
    }
    assert dialect(schema)["properties"] == schema["properties"]


class Flat(BaseModel):
    """Without defaults and described references, which the SDK words otherwise."""

    title: str = Field(max_length=40)
    color: Color
    kind: Literal["new", "old"]
    lines: list[Color] = Field(min_length=1)
    when: dt.datetime | None


def test_closed_says_what_the_sdk_would_say():
    """Anthropic's own translation is the measure; only the titles are not there."""
    theirs = transform_schema(Flat)
    for each in parts(theirs):
        each.pop("title", None)
        if "enum" in each:  # older ones leave the type beside it
            each.pop("type", None)
    assert closed(schema_of(Flat)) == theirs


old_sdk = pytest.mark.filterwarnings("ignore::FutureWarning")  # it has ended


@old_sdk
def test_openapi_is_accepted_by_the_sdk():
    """google-generativeai raises ValueError for any keyword that it does not know."""
    from google.ai.generativelanguage import Schema as Proto
    from google.ai.generativelanguage import Type
    from google.generativeai.types.generation_types import to_generation_config_dict

    config = {"response_schema": openapi(schema_of(Order))}
    proto = to_generation_config_dict(config)["response_schema"]
    assert isinstance(proto, Proto)
    assert list(proto.properties["color"].enum) == ["red", "blue"]
    assert list(proto.properties["fixed"].enum) == ["x"]
    assert proto.properties["main"].nullable
    assert proto.properties["lines"].items.properties["count"].type_ == Type.INTEGER
    assert list(proto.required) == ["title", "lines", "extra"]


@old_sdk
def test_the_sdk_refuses_the_schema_as_it_is():
    """Otherwise the test above could not fail."""
    from google.generativeai.types.generation_types import to_generation_config_dict

    with pytest.raises(ValueError, match="Unknown field for Schema"):
        to_generation_config_dict({"response_schema": schema_of(Order)})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"const": 3}, {"type": "integer", "description": "{const: 3}"}),
        ({"enum": [1, 2]}, {"type": "integer", "description": "{enum: [1, 2]}"}),
        ({"type": ["string", "integer"]}, None),
        ({"type": "null"}, None),
        ({"type": "object", "properties": {}}, None),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, None),
    ],
)
def test_openapi_words(schema, said):
    """It knows one type at a time, null beside it, and enums of strings only."""
    assert openapi(schema) == said


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"title": "A", "default": 1, "type": "integer"}, {"type": "integer"}),
        ({"description": "Anything"}, {}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        (
            {"type": "string", "pattern": "a"},
            {"type": "string", "description": "{pattern: a}"},
        ),
        (
            {"type": "integer", "maximum": 10**20},
            {"type": "integer", "description": f"{{maximum: {10**20}}}"},
        ),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}),
        ({"type": "array", "items": False}, None),
        ({"enum": []}, None),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, None),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, None),
    ],
)
def test_plain_words(schema, said):
    """What llama.cpp fails on is told in words."""
    assert plain(schema) == said
