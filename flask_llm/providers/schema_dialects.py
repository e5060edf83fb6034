"""JSON schemas in the form that each API accepts.

Each function returns a new schema, or None where its API has no words for what is
meant: the schema goes into the prompt then. What an API has no keyword for, such as a
bound, goes into the description. `Schema.read` checks the answer against the original,
so that an API may be given less than that.
"""

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar

from ..schema import (
    ANNOTATIONS,
    DEFINITIONS,
    UnresolvableError,
    inlined,
    merged,
    references,
    target,
)

# Keywords that go into the description where an API does not have them.
_BOUNDS = (
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
_MOMENTS = ("date-time", "time", "date", "duration")
_FORMATS = frozenset([*_MOMENTS, "email", "hostname", "ipv4", "ipv6", "uuid"])
# Looking around, back references and classes of Unicode are more than a grammar can do.
_HARD_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9bBkpP]")

# Where schemas are inside a schema: by name, in a list, alone.
_NAMED = frozenset({*DEFINITIONS, "properties"})
_LISTED = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_SINGLE = frozenset({"additionalProperties", "items"})

# What would be lost without them: which values are right at all.
_FREE = ("patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef")
_NULL = {"type": "null"}
_NAMES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_TYPES = {*_NAMES.values(), "object", "array"}


class UnsupportedSchemaError(Exception):
    """A schema holds what an API has no words for."""


class _Transformer:
    """One schema on its way to an API; a subclass is the profile of the API.

    A part is first written with the keywords that the API has (`_normal`); then each
    of its own parts is transformed. Objects are closed.
    """

    keywords: ClassVar[frozenset[str]] = frozenset()  # of the bounds
    formats: ClassVar[frozenset[str]] = _FORMATS
    has_references: ClassVar[bool] = True
    may_recur: ClassVar[bool] = False
    must_be_object: ClassVar[bool] = False

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a schema as the API takes it, or None if it has no words for it."""
        try:
            return cls(schema).whole()
        except (UnsupportedSchemaError, UnresolvableError, RecursionError):
            return None

    def whole(self) -> dict[str, Any]:
        """Return the new schema, with the definitions that it refers to."""
        if not self.may_recur and _is_recursive(self.root):
            raise UnsupportedSchemaError
        for reference in references(self.root):  # none in a circle, or to nothing
            inlined(self.root, {"$ref": reference})
        result = self.node(inlined(self.root, self.root))
        if self.must_be_object and result.get("type") != "object":
            raise UnsupportedSchemaError
        if self.has_references:
            defined = [key for key in DEFINITIONS if key in self.root]
            result |= {key: self._part(key, self.root[key]) for key in defined}
        return result

    def node(self, schema: Any) -> dict[str, Any]:
        """Return a part as the API takes it."""
        part = self._normal(schema)
        lost = [key for key in _BOUNDS if key in part and not self._takes(key, part)]
        return {
            key: self._part(key, value)
            for key, value in (part | _description(part, lost)).items()
            if key not in lost
        }

    def _part(self, keyword: str, value: Any) -> Any:
        if keyword in _NAMED:
            return {name: self.node(each) for name, each in value.items()}
        if keyword in _LISTED and isinstance(value, list):
            return [self.node(each) for each in value]
        if keyword == "additionalProperties" and isinstance(value, bool):
            return value
        return self.node(value) if keyword in _SINGLE else value

    def _takes(self, keyword: str, schema: Mapping[str, Any]) -> bool:
        """Return whether the API has a bound of a schema."""
        if keyword == "format":
            return schema[keyword] in self.formats
        if keyword == "pattern" and _HARD_PATTERN.search(schema[keyword]):
            return False
        return keyword in self.keywords

    def _normal(self, schema: Any) -> dict[str, Any]:
        """Return a part by the keywords that most APIs have.

        Beside a reference they take nothing, not even a description.
        """
        if not isinstance(schema, Mapping) or any(each in schema for each in _FREE):
            raise UnsupportedSchemaError
        if "allOf" in schema:
            return self._normal(_merged_all(schema))
        if "$ref" in schema:
            is_alone = not (schema.keys() - ANNOTATIONS - {"$ref"})
            if self.has_references and is_alone and "description" not in schema:
                return {"$ref": schema["$ref"]}
            return self._normal(inlined(self.root, schema))
        kept = {key: schema[key] for key in ("description", *_BOUNDS) if key in schema}
        return self._shape(schema) | kept

    def _shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return what kind of value it is, and the parts that it is made of."""
        if union := schema.get("anyOf", schema.get("oneOf")):
            if schema.keys() & {"properties", "items"}:
                raise UnsupportedSchemaError
            return {"anyOf": union}
        types = _types(schema)
        shape: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if "object" in types:
            shape |= self._object(schema)
        if "array" in types:
            shape["items"] = schema.get("items")
            if isinstance(shape["items"], list):  # a tuple, in older drafts
                raise UnsupportedSchemaError
        return shape

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of an object, which is closed."""
        properties, required = schema.get("properties"), schema.get("required", [])
        # A schema, even an empty one, or True stands for names that nobody knows.
        is_free = schema.get("additionalProperties", False) is not False
        if properties is None or is_free or not properties.keys() >= set(required):
            raise UnsupportedSchemaError
        return {
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        }


def _is_recursive(root: Mapping[str, Any]) -> bool:
    """Return whether following the references of a schema may have no end."""
    known = {"#", *references(root)}
    graph = {each: {*references(target(root, each))} for each in known}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False


def _merged_all(schema: Mapping[str, Any]) -> dict[str, Any]:
    first, *others = schema["allOf"]
    if others:
        raise UnsupportedSchemaError
    return merged(first, {key: schema[key] for key in schema if key != "allOf"})


def _description(schema: Mapping[str, Any], lost: list[str]) -> dict[str, str]:
    """Return the description of a schema, with the bounds that the API has not."""
    bounds = ", ".join(f"{key}: {schema[key]}" for key in lost)
    parts = [schema.get("description"), bounds and f"{{{bounds}}}"]
    text = "\n\n".join(part for part in parts if part)
    return {"description": text} if text else {}


def _types(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the types that a schema allows, written or guessed."""
    types = schema.get("type") or _types_of_values(schema)
    types = [types] if isinstance(types, str) else types
    if not isinstance(types, list) or not types or not _TYPES.issuperset(types):
        raise UnsupportedSchemaError
    return types


def _types_of_values(schema: Mapping[str, Any]) -> list[str]:
    if "properties" in schema:
        return ["object"]
    if "items" in schema:
        return ["array"]
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return list(dict.fromkeys(_NAMES.get(type(value), "") for value in values))


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


class _Strict(_Transformer):
    keywords = frozenset(_BOUNDS) - {"minLength", "maxLength", "uniqueItems"}
    may_recur = True
    must_be_object = True

    def node(self, schema: Any) -> dict[str, Any]:
        result = super().node(schema)
        if "properties" not in result:
            return result
        properties = {
            name: each if name in result["required"] else _nullable(each)
            for name, each in result["properties"].items()
        }
        return {**result, "properties": properties, "required": list(properties)}


def _nullable(part: dict[str, Any]) -> dict[str, Any]:
    if "null" in part.get("type", ()) or _NULL in part.get("anyOf", ()):
        return part
    if "anyOf" in part:
        return {**part, "anyOf": [*part["anyOf"], _NULL]}
    bare = {key: part[key] for key in part if key != "description"}
    about = {key: part[key] for key in part if key == "description"}
    return {"anyOf": [bare, _NULL], **about}


def closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as Anthropic takes it: with closed objects and few bounds.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for free-form dicts, tuples and recursion.
    """
    return _Closed.of(schema)


class _Closed(_Transformer):
    keywords = frozenset({"enum", "const"})
    formats = _FORMATS | {"uri"}

    def _takes(self, keyword: str, schema: Mapping[str, Any]) -> bool:
        is_lower_bound = keyword == "minItems" and schema[keyword] in (0, 1)
        return is_lower_bound or super()._takes(keyword, schema)

    def _shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        shape = super()._shape(schema)
        if self.keywords & schema.keys():  # the values tell their types
            shape.pop("type", None)
        return shape


def cohere_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as Cohere takes it, by its guide to structured outputs.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for objects that need no property, free-form dicts, tuples,
        recursion, and an answer that is no object.
    """
    return _Cohere.of(schema)


class _Cohere(_Transformer):
    keywords = frozenset({"enum", "const"})
    formats = frozenset({"date-time", "uuid", "date", "time"})
    must_be_object = True

    def _shape(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Write as a union, which the guide names, what may have several types."""
        shape = super()._shape(schema)
        if not isinstance(types := shape.get("type"), list):
            return shape
        return {"anyOf": [self._shape({**schema, "type": each}) for each in types]}

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if not schema.get("required"):
            raise UnsupportedSchemaError
        return super()._object(schema)


def openapi(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema in the subset of OpenAPI that google-generativeai takes.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema; None for unions, free-form dicts, tuples and recursion.
    """
    return _OpenApi.of(schema)


class _OpenApi(_Transformer):
    keywords = frozenset({"enum"})
    formats = frozenset({"date-time"})
    has_references = False

    def _takes(self, keyword: str, schema: Mapping[str, Any]) -> bool:
        values = schema[keyword] if keyword == "enum" else ()
        is_of_texts = all(isinstance(each, str) for each in values)
        return is_of_texts and super()._takes(keyword, schema)

    def _normal(self, schema: Any) -> dict[str, Any]:
        """Return a part with one type, beside which null may be allowed."""
        part = super()._normal(schema)
        if isinstance(part.get("const"), str):
            part["enum"] = [part.pop("const")]
        if union := part.pop("anyOf", None):
            return self._normal(_only(union, _NULL)) | part | {"nullable": True}
        if isinstance(types := part["type"], list):
            return part | {"type": _only(types, "null"), "nullable": True}
        if types == "null":
            raise UnsupportedSchemaError
        return part

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        parts = super()._object(schema)
        if not parts["properties"]:
            raise UnsupportedSchemaError
        return {key: parts[key] for key in ("properties", "required") if parts[key]}


def _only(kinds: list[Any], null: Any) -> Any:
    others = [each for each in kinds if each != null]
    if len(others) != 1:
        raise UnsupportedSchemaError
    return others[0]


def plain(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema as llama.cpp takes it, in this process or in ollama's.

    Args:
        schema: The JSON schema, which is left as it is.

    Returns:
        The schema without what llama.cpp ignores or fails on; None for unknown types
        and references that lead nowhere.
    """
    return _Plain.of(schema)


# What tells llama.cpp the kind of a value, and all that it reads.
_TELLING = {"$ref", "const", "enum", "properties", "type"} | _LISTED | _SINGLE
_TAKEN = _TELLING | _NAMED | {*_BOUNDS, "description", "required"}
# It reads no escapes in references, and takes none to the whole.
_SIMPLE_REFERENCE = re.compile(r"#/[^%~]+")
_LARGEST = 2**53  # of what it counts with


class _Plain(_Transformer):
    may_recur = True

    def whole(self) -> dict[str, Any]:
        if not all(map(_SIMPLE_REFERENCE.fullmatch, references(self.root))):
            raise UnsupportedSchemaError
        return super().whole()

    def node(self, schema: Any) -> dict[str, Any]:
        result = super().node(schema)
        # Without a type llama.cpp knows only what may be anything.
        return result if result.keys() & _TELLING else {}

    def _takes(self, keyword: str, schema: Mapping[str, Any]) -> bool:
        value = schema[keyword]
        if keyword == "pattern":
            is_whole = value.startswith("^") and value.endswith("$")
            return is_whole and _HARD_PATTERN.search(value) is None
        return not isinstance(value, int | float) or abs(value) <= _LARGEST

    def _normal(self, schema: Any) -> dict[str, Any]:
        """Return a part as it is, without what llama.cpp ignores."""
        if schema is True:
            return {}
        if not isinstance(schema, Mapping) or schema.get("enum") == []:
            raise UnsupportedSchemaError
        if "type" in schema:
            _types(schema)
        return {key: schema[key] for key in schema if key in _TAKEN}
