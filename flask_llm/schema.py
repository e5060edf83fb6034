"""Structured answers: the schema, its check, and finding the JSON in a text.

References of a schema lead to its own parts only: no other document is ever read.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import date
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from .errors import SchemaError, let_through

DEFINITIONS = ("$defs", "definitions")
"""Keywords under which a schema keeps parts of it for references."""

_COMMENTS = ("$comment", "default", "deprecated", "description", "examples", "title")
_OTHERS = ("$schema", "readOnly", "writeOnly")
ANNOTATIONS = frozenset([*DEFINITIONS, *_COMMENTS, *_OTHERS])
"""Keywords that do not change which values are right."""


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
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise UnresolvableError
    found: Any = root
    for step in unquote(reference).removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise UnresolvableError
        found = found[key]
    return found


def inlined(root: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which what its own reference points to has been put.

    A description beside the reference wins over that of its target.

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


_FENCED = re.compile(r"```\w*\s(.*)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_TRIES = 100  # a text so full of braces is something else


class _Found(NamedTuple):
    """JSON in an answer: its value, its own text, and what follows it."""

    value: Any
    text: str
    after: str = ""


def _find(answer: str, kinds: tuple[type, ...]) -> _Found:
    """Return the JSON that an answer is, or the only one in it.

    Args:
        answer: JSON, JSON between fences, or JSON and prose.
        kinds: What may be meant amid prose: `dict`, `list` or both.

    Raises:
        ValueError: There is none, a broken one, or more than one; its text says which.
        RecursionError: It is nested too deeply.
    """
    text = answer.strip("\ufeff \t\r\n")
    fenced = _FENCED.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        return _Found(_DECODER.decode(text), text)
    except ValueError as error:
        fault = str(error)
    meant = [each for each in _within(text) if isinstance(each.value, kinds)]
    different = {json.dumps(each.value, sort_keys=True) for each in meant}
    if len(different) != 1:
        several = f"{len(different)} JSON values, where one is wanted"
        raise ValueError(several if different else fault)
    return meant[-1]


def _within(text: str) -> Iterator[_Found]:
    """Yield the objects and arrays in a text.

    What stands between braces and is no JSON, as ``{"name": ...}`` in a sentence, is
    passed over as a whole: what is inside is only a part of what was meant.
    """
    at = 0
    for _ in range(_TRIES):
        opening = _OPENING.search(text, at)
        if opening is None:
            return
        start = opening.start()
        try:
            value, at = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError:
            end = _end_of(text, start)
            if end is None:
                raise
            at = end
        else:
            yield _Found(value, text[start:at], text[at:])


# A text between quotes, or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def _end_of(text: str, start: int) -> int | None:
    """Return where the bracket closes that a text has at a place; None if nowhere."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if not depth:
            return token.end()
    return None


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refused)

# What may follow the JSON of an answer that was cut.
_FENCE = re.compile(r"[\s`~]*")


def _is_closed(found: _Found) -> bool:
    """Return whether nothing can be missing at the end of an answer.

    A number may have lost its last digits; and JSON that is followed by words may be a
    draft of what was to come.
    """
    is_number = isinstance(found.value, int | float)
    is_whole = isinstance(found.value, bool) or not is_number
    return is_whole and _FENCE.fullmatch(found.after) is not None


def _validator_of(schema: dict[str, Any]) -> Any:
    """Return the validator of a JSON schema, which never fetches anything.

    Args:
        schema: The schema; its "$schema" states the draft, else it is 2020-12.

    Raises:
        jsonschema.SchemaError: It is no valid schema.
    """
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    own = {"multipleOf": _multiple_of, "pattern": _pattern}
    own |= {"patternProperties": _pattern_properties}
    own["additionalProperties"] = _additional(kind.VALIDATORS["additionalProperties"])
    own |= {name: _counted(kind.VALIDATORS[name]) for name in _BRANCHING}
    exact = extend(kind, own)  # type: ignore[no-untyped-call]  # its stubs lack it
    formats: Any = FormatChecker(())
    formats.checkers = {**kind.FORMAT_CHECKER.checkers, **_FORMATS}
    # An empty registry: nothing is ever fetched.
    return exact(schema, registry=Registry(), format_checker=formats)


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


# What an answer may cost: of an app's own schema some of its forms take for ever.
_MOST_BRANCHES = 100_000
_LONGEST_MATCHED = 4_000
_BRANCHING = ("$ref", "allOf", "anyOf", "oneOf")

_branches: ContextVar[Iterator[int]] = ContextVar("branches")

_Keyword = Callable[[Any, Any, Any, Any], Iterable[Exception] | None]


class _TooManyBranchesError(Exception):
    """The check of an answer would take too long."""


def _counted(check: _Keyword) -> _Keyword:
    """Return the check of a keyword whose uses by one answer are limited."""

    def counted(*subject: Any) -> Iterator[Exception]:
        if next(_branches.get(), None) is None:
            raise _TooManyBranchesError
        yield from check(*subject) or ()

    return counted


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a pattern is found in a text, in linear time.

    Python's own search may take for ever. It has to serve where a pattern looks around
    or back, for texts that are not too long.
    """
    from pydantic_core import SchemaError as PatternError
    from pydantic_core import SchemaValidator, core_schema

    form = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    try:
        return SchemaValidator(form).isinstance_python
    except PatternError:
        search = re.compile(pattern).search
        return lambda text: len(text) <= _LONGEST_MATCHED and bool(search(text))


def _pattern(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[Exception]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _matcher(pattern)(value):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, _: Any
) -> Iterator[Exception]:
    if not validator.is_type(value, "object"):
        return
    for pattern, schema in patterns.items():
        for key in filter(_matcher(pattern), value):
            where = {"path": key, "schema_path": pattern}
            yield from validator.descend(value[key], schema, **where)


def _additional(usual: _Keyword) -> _Keyword:
    """Return the check of "additionalProperties", with our way to match."""

    def check(
        validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]
    ) -> Iterator[Exception]:
        patterns = schema.get("patternProperties")
        if patterns and validator.is_type(value, "object"):
            known = [*map(_matcher, patterns)]
            rest = (key for key in value if not any(one(key) for one in known))
            value = {key: value[key] for key in rest}
            schema = {**schema, "patternProperties": {}}
        yield from usual(validator, allowed, value, schema) or ()

    return check


# As RFC 3339 has it, with the leap second.
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DATE_TIME = rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt]{_TIME}"


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(_TIME, value) is not None


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    found = re.fullmatch(_DATE_TIME, value)
    return found is not None and bool(date.fromisoformat(found[1]))


# Those for which the library would need further packages, and what each may raise.
_FORMATS = {"date-time": (_is_date_time, ValueError), "time": (_is_time, ())}


def without_nulls(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return data without the nulls of optional properties that may not be null.

    Some APIs know no optional properties, so that a model must answer null.

    Args:
        value: The data.
        schema: The schema of the value.
        root: The whole schema.
    """
    if not isinstance(value, dict | list):
        return value
    forms = _forms(schema, root)
    if isinstance(value, list):
        parts = [form["items"] for form in forms if "items" in form]
        return [without_nulls(each, {"anyOf": parts}, root) for each in value]
    kept = {}
    for key, each in value.items():
        naming = [form for form in forms if key in form.get("properties", ())]
        parts = [form["properties"][key] for form in naming]
        is_wrong = each is None and not any(_allows_null(part, root) for part in parts)
        if is_wrong and any(key not in form.get("required", ()) for form in naming):
            continue
        parts = parts or [form.get("additionalProperties") for form in forms]
        kept[key] = without_nulls(each, {"anyOf": parts}, root)
    return kept


_UNIONS = {"anyOf": any, "oneOf": any, "allOf": all}


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
            ahead.append(_target(root, each))
            ahead.extend(part for union in _UNIONS for part in each.get(union, ()))
    return list(found.values())


def _target(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """Return what a part refers to; what allows anything if that is not known."""
    try:
        return target(root, schema["$ref"]) if "$ref" in schema else True
    except UnresolvableError:  # an anchor
        return True


def _allows_null(
    schema: Any, root: Mapping[str, Any], seen: frozenset[int] = frozenset()
) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    if id(schema) in seen:
        return False
    seen |= {id(schema)}
    return (
        "null" in schema.get("type", ("null",))
        and None in schema.get("enum", (None,))
        and schema.get("const") is None
        and _allows_null(_target(root, schema), root, seen)
        and all(
            combine(_allows_null(each, root, seen) for each in schema[union])
            for union, combine in _UNIONS.items()
            if union in schema
        )
    )


class _MismatchError(Exception):
    """Data do not match; the text names the first few faults, but not the data."""


class _ModelCheck:
    """A check by a pydantic model; `schema` is the same object at each call."""

    def __init__(self, model: type) -> None:
        self._model: Any = model
        self.schema = _schema_of(model)

    def __call__(self, text: str) -> Any:
        """Return the model's object of a JSON text."""
        from pydantic import ValidationError

        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            faults = error.errors(
                include_url=False, include_context=False, include_input=False
            )
        raise _MismatchError(_summary((each["loc"], each["msg"]) for each in faults))


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


class _SchemaCheck:
    """A check by a JSON schema, given as its text."""

    def __init__(self, text: str) -> None:
        from jsonschema import SchemaError

        self.schema: dict[str, Any] = json.loads(text)
        try:
            self._validator = _validator_of(self.schema)
        except SchemaError as error:
            why = _summary([(error.absolute_path, error.message)])
            raise TypeError(f"schema is no valid JSON schema: {why}") from None
        _require_own_references(self.schema)

    def __call__(self, text: str) -> Any:
        """Return the data of a JSON text."""
        value = json.loads(text)
        _branches.set(iter(range(_MOST_BRANCHES)))
        faults = list(islice(self._validator.iter_errors(value), _MAX_FAULTS))
        if faults:
            raise _MismatchError(_summary(map(_fault, faults)))
        return value


_check_by = lru_cache(maxsize=64)(_SchemaCheck)


def _require_own_references(schema: dict[str, Any]) -> None:
    for reference in references(schema):
        if not reference.startswith("#"):
            raise TypeError(f"schema refers to another document: {reference}")
        try:
            if reference.startswith("#/"):
                target(schema, reference)
        except UnresolvableError:
            raise TypeError(f"schema refers to nothing: {reference}") from None


def _check_of(source: Any) -> _ModelCheck | _SchemaCheck:
    if isinstance(source, type) and hasattr(source, "model_validate_json"):
        return _ModelCheck(source)
    if not isinstance(source, Mapping):
        raise TypeError(
            "schema must be a pydantic model class or a JSON schema (a dict)"
        )
    try:
        text = json.dumps(dict(source), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"schema is no JSON: {error}") from None
    return _check_by(text)


_MAX_FAULTS = 3  # named at once
_MAX_PATH = 90  # characters of each path
_MAX_LENGTH = 500  # of all: it is the only advice that the model gets
_INNER = ("anyOf", "oneOf")  # their own fault says only that nothing fits


def _summary(faults: Iterable[tuple[Iterable[object], str]]) -> str:
    """Return the first faults, each with the path to it."""
    lines = []
    for path, what in islice(faults, _MAX_FAULTS):
        where = ".".join(map(str, path)) or "the whole"
        lines.append(f"{where[:_MAX_PATH]}: {what[:_MAX_LENGTH]}")
    return "; ".join(lines)[:_MAX_LENGTH]


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


_KINDS: dict[object, tuple[type, ...]] = {"object": (dict,), "array": (list,)}


class Schema:
    """A JSON schema, out of a pydantic model or as it is.

    Args:
        source: A pydantic model class; or a JSON schema as a dict, whose "$schema"
            states its draft (else it is 2020-12), and whose references stay inside it.

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
        """What goes into the prompt of a model that takes no schema otherwise."""
        text = json.dumps(self.json, ensure_ascii=False)
        return f"Answer with JSON only, that matches this JSON schema:\n{text}"

    def read(self, text: str, *, cut: bool = False) -> Any:
        """Return the data of an answer, checked.

        Fences and sentences around the JSON are overlooked. Null for an optional
        property that may not be null counts as left out.

        Args:
            text: The answer.
            cut: Whether it was cut at `max_tokens`; then the JSON must be its end.

        Returns:
            An object of the pydantic model, or plain data.

        Raises:
            SchemaError: It is no JSON, or does not match; its text says what is wrong.
        """
        found = self._find(text, cut=cut)
        try:
            return self._check(self._without_nulls(found))
        except _MismatchError as error:
            fault = SchemaError(error, answer=text, correctable=True)
        except RecursionError:
            reason = "answer is nested too deeply"
            fault = SchemaError(reason=reason, answer=text, correctable=True)
        except _TooManyBranchesError:
            reason = "check of the answer would take too long"
            fault = SchemaError(reason=reason, answer=text)
        except Exception as error:  # noqa: BLE001  # of the app's own validator
            let_through(error)
            reason = "check of the answer failed"
            fault = SchemaError(type(error).__name__, reason=reason, answer=text)
        raise fault

    def _find(self, text: str, *, cut: bool) -> _Found:
        try:
            found = _find(text, self._kinds)
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

    def _without_nulls(self, found: _Found) -> str:
        if "null" not in found.text:
            return found.text
        value = without_nulls(found.value, self.json, self.json)
        return found.text if value == found.value else json.dumps(value)
