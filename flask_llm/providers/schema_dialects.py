"""JSON schemas in the dialects that the APIs accept.

Each function returns a new schema, or None where its provider cannot be told what is
meant: the schema is told in words then. What a dialect has no keyword for, such as a
bound, is told in the description. `Schema.read` checks the answer against the original,
so that a dialect may say less than that.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ..schema import (
    ANNOTATIONS,
    UnresolvableError,
    inlined,
    is_recursive,
    merged,
    references,
    target,
)

BOUNDS = (
    "enum",
    "const",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
)
"""Keywords that go into the description where a dialect does not have them."""

FORMATS = frozenset(
    [
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uuid",
    ]
)
"""Formats of strings that more than one provider knows."""

# Looking around, back references and classes of Unicode are more than a grammar can do.
HARD_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9bBkpP]")
"""Tells which regular expressions are too much for the providers."""

_DEFINITIONS = ("$defs", "definitions")
# What would be lost without them: which values are right at all.
_FREE = ("patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef")
_NAMES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_KNOWN = {*_NAMES.values(), "object", "array"}


class UnsayableError(Exception):
    """A schema holds what a provider cannot be told."""


UNSAID = (UnsayableError, UnresolvableError, RecursionError)
"""What is raised in the midst of a schema that cannot be said."""


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the types that a schema allows, told or to be guessed.

    Args:
        schema: A schema without a reference.

    Raises:
        UnsayableError: A type is unknown, or there is none.
    """
    types = schema.get("type") or _types_of_values(schema)
    types = [types] if isinstance(types, str) else types
    if not isinstance(types, list) or not types or not _KNOWN.issuperset(types):
        raise UnsayableError
    return types


def _types_of_values(schema: Mapping[str, Any]) -> list[str]:
    if "properties" in schema:
        return ["object"]
    if "items" in schema:
        return ["array"]
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return list(dict.fromkeys(_NAMES.get(type(value), "") for value in values))


def described(schema: Mapping[str, Any], lost: list[str]) -> dict[str, str]:
    """Return the description of a schema with what else it says, as an API takes it.

    Args:
        schema: The schema.
        lost: Its keywords that cannot be told in another way.
    """
    bounds = ", ".join(f"{key}: {schema[key]}" for key in lost)
    parts = [schema.get("description"), bounds and f"{{{bounds}}}"]
    told = "\n\n".join(part for part in parts if part)
    return {"description": told} if told else {}


class Translation:
    """One schema on its way into a dialect.

    Subclasses say what the dialect has.

    Args:
        root: The whole schema.

    Attributes:
        keywords: Keywords of `BOUNDS` that the dialect has.
        formats: Values of "format" that it has.
    """

    keywords: ClassVar[frozenset[str]] = frozenset()
    formats: ClassVar[frozenset[str]] = FORMATS

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a schema in the dialect, or None if it cannot be said in it."""
        try:
            return cls(schema).whole()
        except UNSAID:
            return None

    def whole(self) -> dict[str, Any]:
        """Return the translation, with the definitions that it refers to."""
        for reference in references(self.root):
            inlined(self.root, {"$ref": reference})
        said = self.node(inlined(self.root, self.root))
        for key in _DEFINITIONS:
            if key in self.root:
                defined = self.root[key].items()
                said[key] = {name: self.node(each) for name, each in defined}
        return said

    def node(self, schema: Any) -> dict[str, Any]:
        """Return the translation of a part."""
        if not isinstance(schema, Mapping) or any(each in schema for each in _FREE):
            raise UnsayableError
        if "allOf" in schema:
            schema = _both(schema)
        if "$ref" in schema:
            return self.reference(schema)
        bounds = [key for key in BOUNDS if key in schema]
        kept = {key: schema[key] for key in bounds if self.takes(key, schema[key])}
        lost = [key for key in bounds if key not in kept]
        return {**self.shape(schema), **kept, **described(schema, lost)}

    def reference(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the translation of a part that refers to another.

        Beside a reference the dialects take nothing, not even a description.
        """
        if schema.keys() - ANNOTATIONS - {"$ref"} or "description" in schema:
            return self.node(inlined(self.root, schema))
        target(self.root, schema["$ref"])
        return {"$ref": schema["$ref"]}

    def takes(self, keyword: str, value: Any) -> bool:
        """Tell whether the dialect has a keyword with a value."""
        if keyword == "format":
            return value in self.formats
        if keyword == "pattern" and HARD_PATTERN.search(value):
            return False
        return keyword in self.keywords

    def shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return what kind of value it is, and the parts that it is made of."""
        if union := schema.get("anyOf", schema.get("oneOf")):
            if schema.keys() & {"properties", "items"}:
                raise UnsayableError
            return {"anyOf": [self.node(each) for each in union]}
        types = types_of(schema)
        said: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if "object" in types:
            said |= self.object(schema)
        if "array" in types:
            said["items"] = self.node(schema.get("items"))
        return said

    def object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of an object, which is closed."""
        properties, required = schema.get("properties"), schema.get("required", [])
        # A schema, even an empty one, or True stands for names that nobody knows.
        is_free = schema.get("additionalProperties", False) is not False
        if properties is None or is_free or not properties.keys() >= set(required):
            raise UnsayableError
        return {
            "properties": {name: self.node(each) for name, each in properties.items()},
            "required": list(required),
            "additionalProperties": False,
        }


def _both(schema: Mapping[str, Any]) -> dict[str, Any]:
    first, *others = schema["allOf"]
    if others:
        raise UnsayableError
    rest = {key: each for key, each in schema.items() if key != "allOf"}
    return merged(first, rest)


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


def cohere_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as Cohere takes it, by its guide to structured outputs.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for objects that need no property, free-form dicts, tuples,
        recursion, and an answer that is no object.
    """
    return _Cohere.of(schema)


class _Cohere(Translation):
    keywords = frozenset({"enum", "const"})
    formats = frozenset({"date-time", "uuid", "date", "time"})

    def whole(self) -> dict[str, Any]:
        if is_recursive(self.root):
            raise UnsayableError
        said = super().whole()
        if said.get("type") != "object":
            raise UnsayableError
        return said

    def shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Say as a union, which the guide names, what may have several types."""
        is_union = "anyOf" in schema or "oneOf" in schema
        if is_union or len(types := types_of(schema)) == 1:
            return super().shape(schema)
        return {"anyOf": [self.shape({**schema, "type": each}) for each in types]}

    def object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        said = super().object(schema)
        if not said["required"]:
            raise UnsayableError
        return said
