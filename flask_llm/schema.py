"""The checks of data: by a pydantic model, or by a JSON schema."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from .references import UnresolvableError, references, target

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

        from .validators import validator_of

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
