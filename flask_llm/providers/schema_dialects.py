"""What a provider can be told of a JSON schema: each takes a dialect of its own.

Each function returns a new schema, or None where its provider cannot be told what is
meant: the schema is told in words then. What a dialect has no keyword for, such as a
bound, is told in the description. `Schema.read` checks the answer against the original,
so that a dialect may say less than that.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..references import inlined, is_recursive, references
from .translation import BOUNDS, FORMATS, HARD_PATTERN, UNSAID, Translation, UnsayableError, described, types_of

_NULL = {"type": "null"}


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as OpenAI's strict mode takes it.

    Objects are closed and need all their properties; those that were optional may be
    null instead, which `Schema.read` takes for absence.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for free-form dicts, tuples, and an answer that is no object.
    """
    return _Strict.of(schema)


def closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as Anthropic takes it: with closed objects and few bounds.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for free-form dicts, tuples and recursion.
    """
    return _Closed.of(schema)


def openapi(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema in the subset of OpenAPI that google-generativeai takes.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for unions, free-form dicts, tuples and recursion.
    """
    return _OpenApi.of(schema)


def plain(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as llama.cpp takes it, in this process or in ollama's.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema without what llama.cpp ignores or fails on; None for unknown types
        and references that lead nowhere.
    """
    try:
        for reference in references(schema):
            if not _SIMPLE_REFERENCE.fullmatch(reference):
                return None
            inlined(schema, {"$ref": reference})
        return {**_plain(schema)}
    except UNSAID:
        return None


class _Strict(Translation):
    keywords = frozenset(BOUNDS) - {"minLength", "maxLength", "uniqueItems"}

    def whole(self) -> dict[str, Any]:
        said = super().whole()
        if said.get("type") != "object":
            raise UnsayableError
        return said

    def object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        said = super().object(schema)
        properties = {
            name: each if name in said["required"] else _nullable(each)
            for name, each in said["properties"].items()
        }
        return {**said, "properties": properties, "required": list(properties)}


def _nullable(said: dict[str, Any]) -> dict[str, Any]:
    if "null" in said.get("type", ()) or _NULL in said.get("anyOf", ()):
        return said
    if "anyOf" in said:
        return {**said, "anyOf": [*said["anyOf"], _NULL]}
    about = {key: said[key] for key in said if key == "description"}
    bare = {key: said[key] for key in said if key != "description"}
    return {"anyOf": [bare, _NULL], **about}


class _Closed(Translation):
    keywords = frozenset({"enum", "const"})
    formats = FORMATS | {"uri"}

    def whole(self) -> dict[str, Any]:
        if is_recursive(self.root):
            raise UnsayableError
        return super().whole()

    def takes(self, keyword: str, value: Any) -> bool:
        is_lower_bound = keyword == "minItems" and value in (0, 1)
        return is_lower_bound or super().takes(keyword, value)

    def shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        said = super().shape(schema)
        if self.keywords & schema.keys():  # the values tell their types
            said.pop("type", None)
        return said


class _OpenApi(Translation):
    keywords = frozenset({"enum"})
    formats = frozenset({"date-time"})

    def whole(self) -> dict[str, Any]:
        if is_recursive(self.root):
            raise UnsayableError
        return self.node(self.root)

    def reference(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return self.node(inlined(self.root, schema))

    def takes(self, keyword: str, value: Any) -> bool:
        if keyword == "enum" and not all(isinstance(each, str) for each in value):
            return False
        return super().takes(keyword, value)

    def node(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, Mapping) and isinstance(schema.get("const"), str):
            schema = {**schema, "enum": [schema["const"]]}
            del schema["const"]
        return super().node(schema)

    def shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if union := schema.get("anyOf", schema.get("oneOf")):
            return self._optional(union)
        types = types_of(schema)
        kinds = [each for each in types if each != "null"]
        if len(kinds) != 1:
            raise UnsayableError
        said = super().shape({**schema, "type": kinds[0]})
        return {**said, "nullable": True} if len(types) > 1 else said

    def _optional(self, union: list[Any]) -> dict[str, Any]:
        kinds = [each for each in union if each != _NULL]
        if len(kinds) != 1:
            raise UnsayableError
        return {**self.node(kinds[0]), "nullable": True}

    def object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        said = super().object(schema)
        if not said["properties"]:
            raise UnsayableError
        return {key: said[key] for key in ("properties", "required") if said[key]}


# Where schemas stand inside a schema: by name, in a row, alone.
_NAMED = frozenset({"$defs", "definitions", "properties"})
_LISTED = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_SINGLE = frozenset({"additionalProperties", "items"})
_TELLING = {"$ref", "const", "enum", "properties", "type"} | _LISTED | _SINGLE
_TAKEN = _TELLING | _NAMED | {*BOUNDS, "description", "required"}
# It reads no escapes in references, and takes none to the whole.
_SIMPLE_REFERENCE = re.compile(r"#/[^%~]+")
_LARGEST = 2**53  # of what it counts with


def _plain(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or schema.get("enum") == []:
        raise UnsayableError
    if "type" in schema:
        types_of(schema)
    lost = [key for key in BOUNDS if key in schema and _is_hard(key, schema[key])]
    told = {**schema, **described(schema, lost)}
    said = {
        key: _part(key, each)
        for key, each in told.items()
        if key in _TAKEN and key not in lost
    }
    # Without a type llama.cpp knows only what may be anything.
    return said if said.keys() & _TELLING else {}


def _is_hard(keyword: str, value: Any) -> bool:
    """Tell whether llama.cpp fails on a bound."""
    if keyword == "pattern":
        is_whole = value.startswith("^") and value.endswith("$")
        return not is_whole or HARD_PATTERN.search(value) is not None
    return isinstance(value, int | float) and abs(value) > _LARGEST


def _part(keyword: str, value: Any) -> Any:
    if keyword in _NAMED:
        return {name: _inner(each) for name, each in value.items()}
    if isinstance(value, list) and keyword in _LISTED:
        return [_inner(each) for each in value]
    if keyword == "additionalProperties" and isinstance(value, bool):
        return value
    return _inner(value) if keyword in _SINGLE else value


def _inner(schema: Any) -> dict[str, Any]:
    return {} if schema is True else _plain(schema)
