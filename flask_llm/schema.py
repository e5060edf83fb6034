"""Structured answers: the schema, its check, and finding the JSON in a text."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from .errors import SchemaError

ANNOTATIONS = frozenset(
    {
        "$comment",
        "$defs",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that do not change which values are right."""

_ROOT = "#"


class UnresolvableError(Exception):
    """A reference of a schema leads nowhere, or to what cannot be put in its place."""


def target(root: Mapping[str, Any], reference: object) -> Any:
    """Return what a reference such as "#/$defs/Line" points to.

    Args:
        root: The whole schema.
        reference: Value of "$ref"; no other document is ever read.

    Raises:
        UnresolvableError: It points elsewhere, or to nothing.
    """
    if not isinstance(reference, str) or not reference.startswith(_ROOT):
        raise UnresolvableError
    if reference == _ROOT:
        return root
    found: Any = root
    for step in unquote(reference).removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise UnresolvableError
        found = found[key]
    return found


def inlined(root: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which what its own reference points to has been put.

    A description beside the reference wins over that of the target.

    Args:
        root: The whole schema.
        schema: The part of it.

    Raises:
        UnresolvableError: The reference leads nowhere or in a circle, or both sides
            speak of the same.
    """
    seen = set()
    found = dict(schema)
    while (reference := found.pop("$ref", None)) is not None:
        if reference in seen:
            raise UnresolvableError
        seen.add(reference)
        found = merged(target(root, reference), found)
    return found


def merged(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two schemas as one that means both.

    Args:
        below: The one whose annotations give way.
        above: The other.

    Raises:
        UnresolvableError: Both speak of the same, such as "properties".
    """
    if not isinstance(below, Mapping) or below.keys() & above.keys() - ANNOTATIONS:
        raise UnresolvableError
    return {**below, **above}


def references(schema: Any) -> Iterator[str]:
    """Yield every "$ref" in a schema.

    Args:
        schema: The whole, or a part of it.
    """
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for each in schema.values():
            yield from references(each)
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from references(each)


def is_recursive(root: Mapping[str, Any]) -> bool:
    """Tell whether following the references of a schema may have no end.

    Args:
        root: The whole schema.

    Raises:
        UnresolvableError: One of them leads nowhere.
    """
    done: set[str] = set()

    def loops(schema: Any, under: tuple[str, ...]) -> bool:
        for reference in references(schema):
            if reference in under:
                return True
            if reference not in done:
                if loops(target(root, reference), (*under, reference)):
                    return True
                done.add(reference)
        return False

    return loops(root, (_ROOT,))


_FAULTS = 3  # told at once
_LONGEST = 90  # characters of each
_INNER = ("anyOf", "oneOf")  # their own fault says only that nothing fits


class MismatchError(Exception):
    """Data do not match; the text tells the first few faults, but not the data."""


class ModelCheck:
    """A check by a pydantic model.

    Args:
        model: The class.

    Raises:
        TypeError: It has no JSON schema.

    Attributes:
        schema: Its JSON schema, the same object at each call.
    """

    def __init__(self, model: type) -> None:
        self._model: Any = model
        self.schema = _schema_of(model)

    def __call__(self, text: str) -> Any:
        """Return the model's object that a JSON text says.

        Raises:
            MismatchError: It does not match.
        """
        from pydantic import ValidationError

        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            faults = error.errors(
                include_url=False, include_context=False, include_input=False
            )
        raise MismatchError(_told((each["loc"], each["msg"]) for each in faults))


class SchemaCheck:
    """A check by a JSON schema.

    Args:
        text: The schema, as JSON.

    Raises:
        TypeError: It is no valid schema, or refers to another document.

    Attributes:
        schema: The schema.
    """

    def __init__(self, text: str) -> None:
        from jsonschema import SchemaError

        self.schema: dict[str, Any] = json.loads(text)
        try:
            self._validator = validator_of(self.schema)
        except SchemaError as error:
            why = _told([(error.absolute_path, error.message)])
            raise TypeError(f"schema is no valid JSON schema: {why}") from None
        _require_own_references(self.schema)

    def __call__(self, text: str) -> Any:
        """Return what a JSON text says.

        Raises:
            MismatchError: It does not match.
        """
        value = json.loads(text)
        faults = list(islice(self._validator.iter_errors(value), _FAULTS))
        if faults:
            raise MismatchError(_told(map(_fault, faults)))
        return value


@lru_cache(maxsize=64)
def _schema_check(text: str) -> SchemaCheck:
    return SchemaCheck(text)


def check_by(schema: Mapping[str, Any]) -> SchemaCheck:
    """Return the check by a JSON schema, which is built only once.

    Args:
        schema: The schema.

    Raises:
        TypeError: It is no valid schema, or refers to another document.
    """
    try:
        text = json.dumps(dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"schema is no JSON: {error}") from None
    return _schema_check(text)


def _require_own_references(schema: dict[str, Any]) -> None:
    for reference in references(schema):
        if not reference.startswith("#"):
            raise TypeError(f"schema refers to another document: {reference}")
        try:
            if reference.startswith("#/"):
                target(schema, reference)
        except UnresolvableError:
            raise TypeError(f"schema refers to nothing: {reference}") from None


_schemas: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()
_lock = Lock()


def _schema_of(model: Any) -> dict[str, Any]:
    with _lock:
        known = _schemas.get(model)
    if known is not None:
        return known
    from pydantic import PydanticUserError

    try:
        schema: dict[str, Any] = model.model_json_schema()
    except (PydanticUserError, AttributeError) as error:
        first, *_ = str(error).splitlines()
        raise TypeError(f"{model.__name__} has no JSON schema: {first}") from None
    with _lock:
        return _schemas.setdefault(model, schema)


def _told(faults: Iterable[tuple[Iterable[object], str]]) -> str:
    """Return the first faults, each with the path to it."""
    lines = []
    for path, what in islice(faults, _FAULTS):
        where = ".".join(map(str, path)) or "the whole"
        lines.append(f"{where[:_LONGEST]}: {what}"[:_LONGEST])
    return "; ".join(lines)


def _fault(error: Any) -> tuple[Iterable[object], str]:
    """Return where something is wrong, and what the schema wants there."""
    from jsonschema.exceptions import relevance

    while error.validator in _INNER and error.context:
        error = min(error.context, key=relevance)  # the deepest
    if error.validator in ("required", "additionalProperties"):
        return error.absolute_path, error.message
    # The message would begin with the value.
    wanted = json.dumps(error.validator_value, ensure_ascii=False)
    return error.absolute_path, f"does not keep {error.validator} {wanted}"


_UNIONS = ("anyOf", "oneOf", "allOf")


def without_nulls(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return data without the nulls of optional properties that may not be null.

    Some dialects know no optional properties, so that a model must answer null.

    Args:
        value: What the JSON says.
        schema: The schema of the value.
        root: The whole schema.
    """
    if isinstance(value, dict):
        forms = _forms(schema, root)
        return {
            key: without_nulls(each, {"anyOf": _parts(key, forms)}, root)
            for key, each in value.items()
            if each is not None or not _means_nothing(key, forms, root)
        }
    if isinstance(value, list):
        parts = [each["items"] for each in _forms(schema, root) if "items" in each]
        return [without_nulls(each, {"anyOf": parts}, root) for each in value]
    return value


def _forms(schema: Any, root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas of which one or all hold, and each but once.

    Else the forms of a union that refers to itself would double with every level.
    """
    found: dict[int, Mapping[str, Any]] = {}
    ahead = [schema]
    while ahead:
        each = ahead.pop()
        if isinstance(each, Mapping) and id(each) not in found:
            found[id(each)] = each
            if isinstance(reference := each.get("$ref"), str):
                ahead.append(_target(root, reference))
            ahead.extend(part for union in _UNIONS for part in each.get(union, ()))
    return list(found.values())


def _target(root: Mapping[str, Any], reference: str) -> Any:
    try:
        return target(root, reference)
    except UnresolvableError:  # an anchor
        return {}


def _parts(key: str, forms: list[Mapping[str, Any]]) -> list[Any]:
    named = [each["properties"][key] for each in _naming(key, forms)]
    return named or [each.get("additionalProperties") for each in forms]


def _naming(key: str, forms: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in forms if key in each.get("properties", ())]


def _means_nothing(
    key: str, forms: list[Mapping[str, Any]], root: Mapping[str, Any]
) -> bool:
    naming = _naming(key, forms)
    is_optional = any(key not in each.get("required", ()) for each in naming)
    parts = [each["properties"][key] for each in naming]
    return is_optional and not any(_allows_null(each, root) for each in parts)


def _allows_null(
    schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    checks = []
    if isinstance(reference := schema.get("$ref"), str):
        there = _target(root, reference)
        checks.append(
            reference not in seen and _allows_null(there, root, seen | {reference})
        )
    if "type" in schema:
        checks.append("null" in schema["type"])
    if "enum" in schema:
        checks.append(None in schema["enum"])
    if "const" in schema:
        checks.append(schema["const"] is None)
    for union, combine in (("anyOf", any), ("oneOf", any), ("allOf", all)):
        if union in schema:
            checks.append(
                combine(_allows_null(each, root, seen) for each in schema[union])
            )
    return all(checks)


_FENCED = re.compile(r"```\w*\s(.*)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_TRIES = 100  # a text so full of braces is something else


class Found(NamedTuple):
    """JSON in an answer: what it says, its own words, and what follows them."""

    value: Any
    text: str
    after: str = ""


def find(answer: str, kinds: tuple[type, ...]) -> Found:
    """Return the JSON that an answer is, or the only one in it.

    Args:
        answer: What the model says: JSON, JSON between fences, or JSON and prose.
        kinds: What may be meant amid prose: `dict`, `list` or both.

    Raises:
        ValueError: There is none, a broken one, or more than one; the text tells which.
        RecursionError: It is nested too deeply.
    """
    text = answer.strip("\ufeff \t\r\n")
    fenced = _FENCED.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        return Found(_DECODER.decode(text), text)
    except ValueError as error:
        fault = str(error)
    meant = [each for each in _within(text) if isinstance(each.value, kinds)]
    if len(meant) != 1:
        several = f"{len(meant)} JSON values, where one is wanted"
        raise ValueError(several if meant else fault)
    return meant[0]


def _within(text: str) -> Iterator[Found]:
    """Yield the objects and arrays in a text."""
    at = 0
    for _ in range(_TRIES):
        opening = _OPENING.search(text, at)
        if opening is None:
            return
        start = opening.start()
        try:
            value, at = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # What is inside broken JSON is only a part of what was meant.
            if text[start + 1 : error.pos].strip():
                raise
            at = start + 1  # a brace of the prose
        else:
            yield Found(value, text[start:at], text[at:])


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refused)


_FENCE = re.compile(r"[\s`~]*")
_KINDS: dict[object, tuple[type, ...]] = {"object": (dict,), "array": (list,)}


class Schema:
    """A JSON schema, out of a pydantic model or as it is.

    Args:
        source: A pydantic model class; or a JSON schema as a dict, whose "$schema"
            tells its draft (else it is 2020-12), and whose references stay inside it.

    Raises:
        TypeError: It is neither, or no valid schema.

    Attributes:
        name: What it is called, fit for an API: letters, digits, "_" and "-".
        json: The JSON schema.
    """

    def __init__(self, source: Any) -> None:
        self._check = _check_of(source)
        self.json = self._check.schema
        title = str(self.json.get("title", ""))
        self.name = re.sub(r"\W", "_", title, flags=re.ASCII)[:64] or "answer"

    @property
    def instruction(self) -> str:
        """What a model is told that cannot be given a schema in another way."""
        told = json.dumps(self.json, ensure_ascii=False)
        return f"Answer with JSON only, that matches this JSON schema:\n{told}"

    def read(self, text: str, *, cut: bool = False) -> Any:
        """Return what an answer says, checked.

        Fences and sentences around the JSON are overlooked. Null for an optional
        property that may not be null counts as left out.

        Args:
            text: The answer.
            cut: Whether it was cut at `max_tokens`; then the JSON must be its end.

        Returns:
            An object of the pydantic model, or plain data.

        Raises:
            SchemaError: It is no JSON, or does not match; tells what is wrong.
        """
        found = self._find(text, cut=cut)
        try:
            return self._check(self._without_nulls(found))
        except MismatchError as error:
            fault = SchemaError(error, answer=text, correctable=True)
        except RecursionError:
            reason = "answer is nested too deeply"
            fault = SchemaError(reason=reason, answer=text, correctable=True)
        except Exception as error:  # noqa: BLE001  # of the app's own validator
            reason = "check of the answer failed"
            fault = SchemaError(type(error).__name__, reason=reason, answer=text)
        raise fault

    def _find(self, text: str, *, cut: bool) -> Found:
        try:
            found = find(text, self._kinds)
            if not cut or _is_closed(found):
                return found
            why = "it breaks off"
        except ValueError as error:
            why = str(error)
        except RecursionError:
            why = "it is nested too deeply"
        if cut:
            raise SchemaError(
                reason="JSON cut at max_tokens", advice="raise max_tokens", answer=text
            )
        raise SchemaError(
            why, reason="answer is no JSON", answer=text, correctable=True
        )

    @property
    def _kinds(self) -> tuple[type, ...]:
        """What the whole answer may be, where that is plain to see."""
        try:
            kind = inlined(self.json, self.json).get("type")
        except UnresolvableError:
            kind = None
        return _KINDS.get(kind if isinstance(kind, str) else None, (dict, list))

    def _without_nulls(self, found: Found) -> str:
        if "null" not in found.text:
            return found.text
        value = without_nulls(found.value, self.json, self.json)
        return found.text if value == found.value else json.dumps(value)


def _check_of(source: Any) -> ModelCheck | SchemaCheck:
    if isinstance(source, type) and hasattr(source, "model_validate_json"):
        return ModelCheck(source)
    if isinstance(source, Mapping):
        return check_by(source)
    raise TypeError("schema must be a pydantic model class or a JSON schema (a dict)")


def _is_closed(found: Found) -> bool:
    """Tell whether nothing can be missing at the end of an answer.

    A number may have lost its last digits; and JSON that is followed by words may be a
    draft of what was to come.
    """
    is_number = isinstance(found.value, int | float)
    is_whole = isinstance(found.value, bool) or not is_number
    return is_whole and _FENCE.fullmatch(found.after) is not None


# As RFC 3339 has it, with the leap second.
_TIME = re.compile(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def validator_of(schema: dict[str, Any]) -> Any:
    """Return the validator of a JSON schema, which never fetches anything.

    Args:
        schema: The schema; its "$schema" tells the draft, else it is 2020-12.

    Raises:
        jsonschema.SchemaError: It is no valid schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    exact = extend(kind, {"multipleOf": _multiple_of})  # type: ignore[no-untyped-call]
    # An empty registry: nothing is ever fetched.
    return exact(schema, registry=Registry(), format_checker=_formats(kind))


def _formats(kind: Any) -> Any:
    """Return the formats of a draft; ours where it would need further packages."""
    from jsonschema import FormatChecker

    formats: Any = FormatChecker(())
    formats.checkers = {**kind.FORMAT_CHECKER.checkers, **_OWN}
    return formats


def _multiple_of(
    validator: Any, step: float, value: Any, _schema: Mapping[str, Any]
) -> Iterator[Exception]:
    """Yield what is wrong, by the digits as they are written.

    The library's own check divides binary floats: 19.99 would be no multiple of 0.01.
    """
    from jsonschema import ValidationError

    if not validator.is_type(value, "number"):
        return
    if (Fraction(str(value)) / Fraction(str(step))).denominator != 1:
        yield ValidationError(f"not a multiple of {step}")


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or _TIME.fullmatch(value) is not None


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    day, clock = value[:10], value[11:]
    return value[10:11] in ("T", "t") and _is_date(day) and _is_time(clock)


def _is_date(value: str) -> bool:
    try:
        return _DATE.fullmatch(value) is not None and bool(date.fromisoformat(value))
    except ValueError:
        return False


_OWN: dict[str, tuple[Callable[[object], bool], tuple[()]]] = {
    "date-time": (_is_date_time, ()),
    "time": (_is_time, ()),
}
