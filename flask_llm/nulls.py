"""Nulls that a model says for "nothing", where a schema wants the property left out."""

from collections.abc import Mapping
from typing import Any

from .references import UnresolvableError, target

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
