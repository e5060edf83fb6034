"""Following the references inside a JSON schema."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

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
