"""What Cohere can be told of a JSON schema."""

from collections.abc import Mapping
from typing import Any

from ..references import is_recursive
from .translation import Translation, UnsayableError, types_of

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
