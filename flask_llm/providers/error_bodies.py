"""What an error body says, whatever shape a server gives it.

OpenAI's ``{"error": {...}}`` is the usual one; Google's endpoint for it puts that into
a list, FastAPI has a `detail`, others `errors`, a plain text, or JSON in a message.
What holds words is read. Of a web page nothing is: it is a proxy's.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

# Deeper than any server nests its words.
_DEPTH = 6

# Characters of a text that may be JSON, which is parsed then.
_MOST_JSON = 20_000

_MOST_WORDS = 8  # of a list of faults

_PAGE = re.compile(r"\s*(?:<\?xml[^>]{0,100}>\s*)?<(?:!doctype|html|head|body)\b", re.I)

# Where the words are, the best ones first; `raw` is what OpenRouter has been told.
_HOLD_WORDS = ("message", "detail", "msg", "error", "errors", "error_message", "title")
_HOLD_MORE = ("error", "errors", "detail", "metadata", "raw")
_HOLD_CODES = ("code", "type", "status")


def words_of(body: Any) -> str:
    """Return the words of an error body, "" if it has none, or is a web page.

    Args:
        body: What the SDK has made of it: an object, a list, a text.
    """
    return "" if isinstance(body, str) and is_page(body) else _words(body, _DEPTH)


def codes_of(body: Any) -> Iterator[str]:
    """Yield what of an error body may be a machine-readable cause, outer ones first.

    Args:
        body: As for `words_of`.
    """
    for fields in fields_of(body):
        for name in _HOLD_CODES:
            if isinstance(fields.get(name), str):
                yield fields[name]


def fields_of(body: Any, depth: int = _DEPTH) -> Iterator[dict[str, Any]]:
    """Yield the objects of an error body, the outer ones first.

    Args:
        body: As for `words_of`.
        depth: How deep to look.
    """
    body = _parsed(body)
    if depth and isinstance(body, list):
        for each in body[:_MOST_WORDS]:
            yield from fields_of(each, depth - 1)
    if depth and isinstance(body, dict):
        yield body
        for name in (*_HOLD_MORE, "message"):
            yield from fields_of(body.get(name), depth - 1)


def is_page(text: str) -> bool:
    """Return whether a text is a web page, and no message that begins with "<"."""
    return _PAGE.match(text) is not None


def _words(body: Any, depth: int) -> str:
    body = _parsed(body)
    if isinstance(body, str):
        return "" if is_page(body) else body
    if not depth:
        return ""
    if isinstance(body, list):
        each = (_words(part, depth - 1) for part in body[:_MOST_WORDS])
        return "; ".join(filter(None, each))
    if not isinstance(body, dict):
        return ""
    if "loc" in body:
        return _fault(body)
    words = (_words(body.get(name), depth - 1) for name in _HOLD_WORDS)
    return _with_raw(next(filter(None, words), ""), body, depth)


def _with_raw(words: str, fields: dict[str, Any], depth: int) -> str:
    """Return the words of a gateway with those of the server behind it."""
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        return words
    behind = _words(metadata.get("raw"), depth - 1)
    return f"{words}: {behind}" if behind and behind not in words else words


def _fault(fault: dict[str, Any]) -> str:
    """Return what pydantic says is wrong, without the `input`: the prompt."""
    where = fault["loc"] if isinstance(fault["loc"], list | tuple) else [fault["loc"]]
    return f"{'.'.join(map(str, where))}: {fault.get('msg')}"


def _parsed(body: Any) -> Any:
    """Return what a text holds that is JSON; anything else as it is."""
    if not isinstance(body, str) or len(body) > _MOST_JSON or body[:1] not in "{[":
        return body
    try:
        return json.loads(body) if body else body
    except (ValueError, RecursionError):
        return body
