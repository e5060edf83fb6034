"""Schemas: what counts as an answer, and what is said of one that does not."""

import datetime as dt
import decimal
import enum
import gc
import json
import pickle
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pydantic
import pytest
from generated import STEADY
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel

from flask_llm.errors import SchemaError
from flask_llm.schema import Schema, without_nulls


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cancellation(BaseModel):
    item: str
    count: int = 1
    note: str | None = None


class Tree(BaseModel):
    name: str
    branches: list["Tree"] = []


class Invoice(BaseModel):
    number: str
    lines: list[Cancellation]
    total: decimal.Decimal
    when: dt.datetime
    color: Color = Color.RED
    kind: Literal["a", "b"] = "a"
    counts: dict[str, int] = {}
    either: int | str = 1
    tree: Tree | None = None
    aliased: int = Field(3, alias="theAlias")


class Numbers(RootModel[list[int]]):
    pass


MINIMAL = {
    "number": "7",
    "lines": [{"item": "ink"}],
    "total": "1.50",
    "when": "2026-11-23T00:00:00Z",
}
PAIR = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/b"}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"b": {"enum": ["x", "y"]}},
}


def fault(schema, answer, *, cut=False):
    with pytest.raises(SchemaError) as caught:
        Schema(schema).read(answer, cut=cut)
    return caught.value


def test_an_answer_becomes_an_object_of_the_model():
    """Types that JSON does not have are read as pydantic reads them from JSON."""
    invoice = Schema(Invoice).read(json.dumps(MINIMAL))
    assert invoice == Invoice(**MINIMAL)
    assert invoice.total == decimal.Decimal("1.50")
    assert invoice.when.tzinfo is not None


def test_an_answer_to_a_dict_is_plain_data():
    """A JSON schema says nothing of classes."""
    assert Schema(PAIR).read('{"a": 1, "b": "x"}') == {"a": 1, "b": "x"}


def test_a_root_model_may_be_a_list():
    """The whole answer need not be an object."""
    assert Schema(Numbers).read("Here they are: [1, 2].").root == [1, 2]


WRAPPED = [
    "{}",
    "\ufeff{}",
    "\n\t {} \r\n",
    "```json\n{}\n```",
    "```\n{}\n```",
    "Sure, here it is:\n```json\n{}\n```\nAnything else?",
    "As told in [1], it is {} and so on.",
    "Use {{name}}: {}",
]


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_what_stands_around_the_json_is_overlooked(wrapped):
    """A model that is told in words likes to talk."""
    answer = json.dumps(MINIMAL | {"number": "```json {[ "})
    assert Schema(Invoice).read(wrapped.replace("{}", answer)).number == "```json {[ "


@STEADY
@given(
    value=st.dictionaries(st.text(), st.text() | st.integers()),
    around=st.text("ab .,\n`"),
)
def test_any_object_is_found_amid_prose(value, around):
    """What is inside its strings does not matter."""
    answer = f"{around} {json.dumps(value)} {around}"
    assert Schema({"type": "object"}).read(answer) == value


def test_of_several_objects_none_is_taken():
    """Which one is meant only the model knows."""
    error = fault(PAIR, '{"a": 1} or {"a": 2}')
    assert (error.reason, error.correctable) == ("answer is no JSON", True)
    assert error.detail == "2 JSON values, where one is wanted"


def test_of_duplicate_keys_the_last_wins():
    """For a model and for a dict alike."""
    assert Schema(PAIR).read('{"a": "x", "a": 2}') == {"a": 2}
    assert Schema(Cancellation).read('{"item": "x", "item": "y"}').item == "y"


NO_JSON = ["", "no", "{", "[1, 2", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}']


@pytest.mark.parametrize("answer", NO_JSON)
@pytest.mark.parametrize("schema", [PAIR, Invoice])
def test_what_is_no_json(schema, answer):
    """It is told so, and asked for again."""
    error = fault(schema, answer)
    assert (error.reason, error.correctable) == ("answer is no JSON", True)
    assert error.answer == answer


@STEADY
@given(end=st.integers(1, len(json.dumps(MINIMAL)) - 1))
def test_cut_json_is_told_apart(end):
    """Asking again would cut it again: the developer has to give it more room."""
    error = fault(Invoice, json.dumps(MINIMAL)[:end], cut=True)
    assert error.summary == "JSON cut at max_tokens (raise max_tokens)"
    assert not error.correctable


def test_a_second_object_that_is_cut_counts_as_cut():
    """The first may have been a draft."""
    assert not fault(PAIR, '{"a": 1} better: {"a":', cut=True).correctable


def test_a_number_that_is_cut_is_no_answer():
    """It may have lost digits."""
    assert not fault({"type": "integer"}, "12", cut=True).correctable
    assert Schema({"type": "integer"}).read("12") == 12


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1}',
        ' {"a": 1}\n\n',
        'Sure: {"a": 1}',
        '```json\n{"a": 1}\n```',
        'Sure:\n```json\n{"a": 1}\n``',
    ],
)
def test_whole_json_at_the_cut_is_good(answer):
    """Nothing of it is missing."""
    assert Schema(PAIR).read(answer, cut=True) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        'First draft: {"a": 0} - wait, the invoice says',
        '{"a": 0}\nOr rather',
        '<think>Such as {"a": 0}. But the user wants',
        '```json\n{"a": 0}\n```\nOn second thought',
        '```json\n{"a": 0} or so\n```',
        '{"a": 0} [1',
    ],
)
def test_json_amid_an_answer_that_was_cut_is_none(answer):
    """It may be a draft of what was to come."""
    error = fault(PAIR, answer, cut=True)
    assert error.summary == "JSON cut at max_tokens (raise max_tokens)"
    assert not error.correctable


def test_json_amid_whole_prose_is_the_answer():
    """A model that had its say has no better one in store."""
    assert Schema(PAIR).read('Say {"a": 0}, as you wished.') == {"a": 0}


MULTIPLES = [
    (0.01, ["19.99", "0.07", "1e300", "-4.35", "1.10", "0", "123456789012345.67"]),
    (0.1, ["0.3", "1.1", "-0.7"]),
    (3, ["9", "3.0", "9" * 400]),
    (1e-20, ["0.3"]),
]
NO_MULTIPLES = [(0.01, "19.999"), (0.1, "0.35"), (3, "10"), (2.5, "1"), (3, "3.1")]


@pytest.mark.parametrize(("step", "numbers"), MULTIPLES)
def test_multiples_are_told_by_their_digits(step, numbers):
    """Prices are decimal, though binary floats are not."""
    schema = Schema({"items": {"multipleOf": step}})
    wanted = [json.loads(number) for number in numbers]
    assert schema.read(f"[{', '.join(numbers)}]") == wanted


@pytest.mark.parametrize(("step", "number"), NO_MULTIPLES)
def test_what_is_no_multiple(step, number):
    """It is told what was wanted."""
    error = fault({"type": "number", "multipleOf": step}, number)
    assert error.detail == f"the whole: does not keep multipleOf {step}"


def test_only_numbers_are_multiples():
    """Of others the keyword says nothing."""
    assert Schema({"items": {"multipleOf": 2}}).read('["x", true]') == ["x", True]


MOMENTS = [
    "2026-11-23T05:54:15Z",
    "2026-11-23t05:54:15.123456789+01:00",
    "2016-12-31T23:59:60Z",
]
NO_MOMENTS = [
    *["tomorrow", "", "2026-11-23", "2026-11-23T05:54:15", "2026-11-23 05:54:15Z"],
    *["2026-02-30T00:00:00Z", "2026-11-23T25:00:00Z", "20261123T055415Z"],
]
TIMES = ["05:54:15Z", "05:54:15.1-23:59", "00:00:00z"]
NO_TIMES = ["noon", "05:54", "05:54:15", "24:00:00Z", "05:54:15+1:00", "05:54:15Z\n"]
FORMATS = [
    ("date-time", MOMENTS, NO_MOMENTS),
    ("time", TIMES, NO_TIMES),
    ("date", ["2026-11-23"], ["2026-02-30", "today"]),
    ("email", ["a@b.org"], ["nobody"]),
    ("ipv4", ["192.0.2.1"], ["192.0.2.256"]),
    ("ipv6", ["::1"], ["1"]),
    ("uuid", ["550e8400-e29b-41d4-a716-446655440000"], ["550e"]),
    ("regex", ["a+"], ["("]),
]


@pytest.mark.parametrize(("name", "right", "wrong"), FORMATS)
def test_formats_of_a_dict_are_checked(name, right, wrong):
    """Those that the guide names; what is no text has none."""
    schema = {"items": {"format": name}}
    assert Schema(schema).read(json.dumps([*right, 7])) == [*right, 7]
    for text in wrong:
        detail = fault(schema, json.dumps([text])).detail
        assert detail == f'0: does not keep format "{name}"'


@pytest.mark.parametrize(
    ("schema", "answer", "detail"),
    [
        (PAIR, '{"a": "x"}', 'a: does not keep type "integer"'),
        (PAIR, '{"a": 1, "b": "z"}', 'b: does not keep enum ["x", "y"]'),
        (PAIR, "[]", 'the whole: does not keep type "object"'),
        (PAIR, '{"b": "x"}', "the whole: 'a' is a required property"),
        (
            {"properties": {"c": {"anyOf": [PAIR | {"$defs": {}}, {"type": "null"}]}}}
            | {"$defs": PAIR["$defs"]},
            '{"c": {"a": 1, "b": "z"}}',
            'c.b: does not keep enum ["x", "y"]',
        ),
        (Cancellation, "{}", "item: Field required"),
        (Cancellation, '{"item": 1}', "item: Input should be a valid string"),
        (Cancellation, "[]", "the whole: Input should be an object"),
    ],
)
def test_wrong_json_is_told_with_its_path(schema, answer, detail):
    """The model is told where, and what is wanted there."""
    error = fault(schema, answer)
    assert str(error) == f"answer does not match the schema: {detail}"
    assert error.correctable


@pytest.mark.parametrize(
    "schema", [Invoice, {"additionalProperties": {"type": "integer"}}]
)
def test_the_detail_is_short_and_does_not_quote_the_answer(schema):
    """It goes into logs and into the next prompt."""
    secret = "secret" * 1000
    answer = json.dumps({key: [secret] for key in Invoice.model_fields})
    error = fault(schema, answer)
    assert "secret" not in str(error)
    assert 0 < len(error.detail) <= 300


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"name": "x", "branches": [' * 50_000,
        "{ " * 500_000,
        "```" * 300_000,
        "9" * 10_000,
        '{"number": "' + "x" * 1_000_000,
    ],
)
@pytest.mark.parametrize("schema", [Tree, PAIR])
def test_hostile_answers_are_only_wrong(schema, answer):
    """Neither depth nor length crashes the app, or holds it up."""
    began = time.process_time()
    assert fault(schema, answer).correctable
    assert time.process_time() - began < 1


def test_a_part_of_broken_json_is_no_answer():
    """It would match, but is not what the model meant."""
    error = fault({"type": "object"}, '{"a": {"b": 1}, , "c": {}}')
    assert error.reason == "answer is no JSON"


def test_a_schema_without_end_is_an_error_of_the_answer():
    """It refers to itself, so that no check comes to an end."""
    assert fault({"$ref": "#"}, "[]").reason == "answer is nested too deeply"


class Broken(BaseModel):
    @pydantic.model_validator(mode="before")
    @classmethod
    def look(cls, data):
        raise KeyError(str(data))


def test_a_validator_that_fails_is_an_error_of_the_answer():
    """The model's words must not bring down the app, nor get into its log."""
    error = fault(Broken, '{"a": "secret"}')
    assert str(error) == "check of the answer failed: KeyError"
    assert not error.correctable


def test_the_error_survives_copy_and_pickle():
    """The chain hands out copies, and processes send them."""
    error = fault(PAIR, "[]")
    for twin in (error.copy(provider="p"), pickle.loads(pickle.dumps(error))):
        assert (twin.answer, twin.correctable) == ("[]", True)
        assert (twin.detail, twin.reason) == (error.detail, error.reason)


def test_null_for_what_may_be_left_out_is_left_out():
    """A dialect without optional properties makes models say null."""
    tree = {"name": "x", "branches": [{"name": "y", "branches": None}]}
    line = {"item": "ink", "count": None, "note": None}
    nulls = {"color": None, "kind": None, "counts": None, "theAlias": None}
    answer = MINIMAL | nulls | {"lines": [line], "tree": tree, "either": None}
    invoice = Schema(Invoice).read(json.dumps(answer))
    assert invoice.aliased == 3
    assert invoice.lines == [Cancellation(item="ink")]
    assert invoice.tree.branches == [Tree(name="y")]
    assert Schema(PAIR).read('{"a": 1, "b": null}') == {"a": 1}


def test_null_stays_where_the_schema_knows_it():
    """A null that is allowed means something."""
    schema = {"properties": {"a": {"type": ["string", "null"]}, "b": {}}}
    said = {"a": None, "b": None, "other": None}
    assert Schema(schema).read(json.dumps(said)) == said


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (PAIR, '{"a": null}'),
        (Cancellation, '{"item": null}'),
        (Invoice, '{"counts": {"x": null}}'),
    ],
)
def test_null_for_what_is_required_is_wrong(schema, answer):
    """Only what may be missing can be left out."""
    assert fault(schema, answer).correctable


def test_null_inside_a_union_of_objects():
    """Each form of the object is looked at."""
    one = {"type": "object", "properties": {"a": {"type": "integer"}}}
    other = {"type": "object", "properties": {"b": {"type": "string"}}}
    schema = {"type": "array", "items": {"anyOf": [one, other]}}
    assert Schema(schema).read('[{"a": null}, {"b": null}]') == [{}, {}]


def test_nulls_in_a_union_that_refers_to_itself():
    """The work grows with the depth of the answer, not with the ways to read it."""
    node = {"type": "object", "properties": {"x": {"type": "integer"}, "n": {}}}
    node["properties"]["n"] = {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}
    schema = {"$ref": "#/$defs/a", "$defs": {"a": node, "b": node}}
    began = time.process_time()
    deep = '{"x": null, "n": ' * 30 + "{}" + "}" * 30
    said = without_nulls(json.loads(deep), schema, schema)
    assert "null" not in json.dumps(said)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (3, "must be a pydantic model class"),
        (True, "must be a pydantic model class"),
        (Cancellation(item="x"), "must be a pydantic model class"),
        (pydantic.dataclasses.dataclass(type("D", (), {})), "must be a pydantic model"),
        ({"type": "text"}, "is no valid JSON schema: type: 'text'"),
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
        ({"required": "a"}, "is no valid JSON schema: required"),
        ({"enum": {1, 2}}, "is no JSON: Object of type set"),
        ({"minimum": float("nan")}, "is no JSON"),
        ({"$ref": "#/$defs/a"}, "refers to nothing: #/\\$defs/a"),
        ({"$ref": "https://example.invalid/a.json"}, "refers to another document"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "refers to another document"),
        (BaseModel, "has no JSON schema"),
        (
            pydantic.create_model("Calling", call=Callable[[], int]),
            "has no JSON schema",
        ),
    ],
)
def test_what_is_no_schema(source, text):
    """A programming error is told at once, before any provider is asked."""
    with pytest.raises(TypeError, match=text):
        Schema(source)


def test_the_draft_is_told_by_the_schema():
    """Lists of items are of draft 7; in 2020-12 they are a fault."""
    tuples = {"items": [{"type": "integer"}]}
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    assert fault(draft | tuples, '["x"]').correctable
    with pytest.raises(TypeError, match="no valid JSON schema"):
        Schema(tuples)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (Invoice, "Invoice"),
        (RootModel[int], "RootModel_int_"),
        (PAIR, "answer"),
        ({"title": "Größe " + "x" * 80}, "Gr__e_" + "x" * 58),
    ],
)
def test_the_name_fits_an_api(source, name):
    """They take letters, digits and two signs, 64 in all."""
    assert Schema(source).name == name


def test_the_instruction_holds_the_schema():
    """A model that takes no schema reads it."""
    told = Schema(PAIR).instruction
    assert json.loads(told.partition("\n")[2]) == PAIR


def test_the_schema_of_a_model_is_built_once():
    """A call with a schema costs no more than one without; threads share it."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: id(Schema(Invoice).json), range(64)))
    assert len(set(found)) == 1


def test_a_model_that_nobody_uses_is_forgotten():
    """Models made at run time do not pile up."""
    model = pydantic.create_model("Passing", a=int)
    Schema(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_the_callers_dict_may_change_afterwards():
    """A schema is what it was when it was made."""
    source = {"type": "object", "properties": {"a": {"type": "integer"}}}
    schema = Schema(source)
    source["properties"]["a"]["type"] = "string"
    assert schema.json["properties"]["a"] == {"type": "integer"}
    assert schema.read('{"a": 1}') == {"a": 1}


# (a+)+ takes twice as long for each further letter, where it is not found.
ENDLESS = "^(a+)+$"
LETTERS = "a" * 5_000


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"pattern": ENDLESS}, f'"{LETTERS}"', f'"{LETTERS}!"'),
        (
            {"patternProperties": {ENDLESS: {"type": "integer"}}},
            f'{{"{LETTERS}!": "x"}}',
            f'{{"{LETTERS}": "x"}}',
        ),
        (
            {"patternProperties": {ENDLESS: {}}, "additionalProperties": False},
            f'{{"{LETTERS}": 1}}',
            f'{{"{LETTERS}!": 1}}',
        ),
        (
            {"patternProperties": {"^a": {}}, "additionalProperties": {"minimum": 3}},
            '{"ab": 1, "b": 3}',
            '{"b": 1}',
        ),
        ({"pattern": r"^(?=.*\d)\w+$"}, '"abc1"', '"abc"'),
        ({"pattern": r"^(?=.*\d)\w+$"}, '"1"', f'"{LETTERS}1"'),
    ],
)
def test_a_pattern_of_the_app_s_own_takes_linear_time(schema, right, wrong):
    """An answer that a pattern was not made for holds up no process."""
    check = Schema({"type": ["string", "object"], **schema})
    assert check.read(right) == json.loads(right)
    with pytest.raises(SchemaError):
        check.read(wrong)


def test_a_schema_that_explodes_ends():
    """Thirty levels of two are a billion checks."""
    levels = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)
    }
    levels["d30"] = {"type": "object"}
    with pytest.raises(SchemaError) as caught:
        Schema({"$defs": levels, "$ref": "#/$defs/d0"}).read("{}")
    assert caught.value.reason == "check of the answer would take too long"
    assert not caught.value.correctable


def test_a_long_list_is_no_explosion():
    """Each item may have a reference and a choice."""
    choice = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    schema = Schema(
        {"$defs": {"item": choice}, "type": "array", "items": {"$ref": "#/$defs/item"}}
    )
    items = [*range(5_000)]
    assert schema.read(json.dumps(items)) == items
