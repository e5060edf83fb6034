"""The validator of JSON schemas, with what the library leaves out."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from fractions import Fraction
from typing import Any

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
