"""What an answer must be: a JSON schema, and the check that it was kept."""

import json
import re
from collections.abc import Mapping
from typing import Any

from .schema import MismatchError, ModelCheck, SchemaCheck, check_by
from .errors import SchemaError
from .json_text import Found, find
from .nulls import without_nulls
from .references import UnresolvableError, inlined

_FENCE = re.compile(r"[\s`~]*")
_KINDS: dict[object, tuple[type, ...]] = {"object": (dict,), "array": (list,)}


class Schema:
    """A JSON schema, out of a pydantic model or as it is.

    Args:
        source: A pydantic model class; or a JSON schema as a dict, whose "$schema"
            tells its draft (else it is 2020-12), and whose references stay inside it.

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
        """What a model is told that cannot be given a schema in another way."""
        told = json.dumps(self.json, ensure_ascii=False)
        return f"Answer with JSON only, that matches this JSON schema:\n{told}"

    def read(self, text: str, *, cut: bool = False) -> Any:
        """Return what an answer says, checked.

        Fences and sentences around the JSON are overlooked. Null for an optional
        property that may not be null counts as left out.

        Args:
            text: The answer.
            cut: Whether it was cut at `max_tokens`; then the JSON must be its end.

        Returns:
            An object of the pydantic model, or plain data.

        Raises:
            SchemaError: It is no JSON, or does not match; tells what is wrong.
        """
        found = self._find(text, cut=cut)
        try:
            return self._check(self._without_nulls(found))
        except MismatchError as error:
            fault = SchemaError(error, answer=text, correctable=True)
        except RecursionError:
            reason = "answer is nested too deeply"
            fault = SchemaError(reason=reason, answer=text, correctable=True)
        except Exception as error:  # noqa: BLE001  # of the app's own validator
            reason = "check of the answer failed"
            fault = SchemaError(type(error).__name__, reason=reason, answer=text)
        raise fault

    def _find(self, text: str, *, cut: bool) -> Found:
        try:
            found = find(text, self._kinds)
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

    def _without_nulls(self, found: Found) -> str:
        if "null" not in found.text:
            return found.text
        value = without_nulls(found.value, self.json, self.json)
        return found.text if value == found.value else json.dumps(value)


def _check_of(source: Any) -> ModelCheck | SchemaCheck:
    if isinstance(source, type) and hasattr(source, "model_validate_json"):
        return ModelCheck(source)
    if isinstance(source, Mapping):
        return check_by(source)
    raise TypeError("schema must be a pydantic model class or a JSON schema (a dict)")


def _is_closed(found: Found) -> bool:
    """Tell whether nothing can be missing at the end of an answer.

    A number may have lost its last digits; and JSON that is followed by words may be a
    draft of what was to come.
    """
    is_number = isinstance(found.value, int | float)
    is_whole = isinstance(found.value, bool) or not is_number
    return is_whole and _FENCE.fullmatch(found.after) is not None
