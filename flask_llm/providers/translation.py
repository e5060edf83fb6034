"""A walk through a JSON schema that says each part of it in other words."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ..references import ANNOTATIONS, UnresolvableError, inlined, merged, references, target

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
