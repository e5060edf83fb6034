"""The body of a stream of Google's REST API: a JSON list that grows.

The SDK takes an error in it for an empty answer, reads it byte by byte, and trips over
a line break behind it. So the body is read here, and given to the SDK by the element.
"""

import json
from codecs import iterdecode
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import BadAnswerError, TransientError
from ..wording import MALFORMED

_BETWEEN = " \t\r\n,"

_parsed = json.JSONDecoder().raw_decode


class Elements:
    """An urllib3 response whose `stream`, which requests reads, yields whole elements.

    Args:
        raw: The response.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, size: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yield the body, each element as soon as it is there.

        Args:
            size: How much of the body to read at once.
            decode_content: Whether to undo the compression.

        Raises:
            GoogleAPICallError: There is an error in the list, as if it had come alone.
            BadAnswerError: The list does not end.
            TransientError: It is no such list.
        """
        mark = b"["
        for element in _elements(self._raw.stream(size, decode_content=decode_content)):
            yield mark + element.encode()
            mark = b","
        yield b"[]" if mark == b"[" else b"]"


def _elements(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the elements of a list, which are objects, as texts."""
    text, ended = "", False
    listed = _opened(iterdecode(pieces, "utf-8"))
    for piece in listed:
        text += piece
        while not ended and (text := text.lstrip(_BETWEEN)):
            if ended := text[0] == "]":
                break
            end = _end_of_first(text)
            if not end:  # the rest is still to come
                break
            yield text[:end]
            text = text[end:]
    if not ended:
        raise _unended(text)


def _opened(texts: Iterator[str]) -> Iterator[str]:
    """Yield texts without the bracket that the first must begin with."""
    for text in texts:
        if begun := text.lstrip():
            if begun[0] != "[":
                break
            yield begun[1:]
            yield from texts
            return
    raise TransientError(reason=MALFORMED)


def _end_of_first(text: str) -> int:
    """Return where the object ends that a text begins with; 0 if it is not there."""
    if text[0] != "{":
        raise TransientError(reason=MALFORMED)
    try:
        value, end = _parsed(text)
    except ValueError:
        return 0
    if "error" in value:
        raise _failure(value["error"])
    return end


def _failure(error: Any) -> Exception:
    """Return what the SDK raises for an error that is the whole answer."""
    from google.api_core.exceptions import from_http_status

    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int):
        return TransientError(reason=MALFORMED)
    details = error.get("details")
    return from_http_status(  # type: ignore[no-any-return,no-untyped-call]
        code,
        str(error.get("message", "")),
        details=details if isinstance(details, list) else [],
    )


def _unended(rest: str) -> Exception:
    """Return what a body means that ends before its list, by what it ends with."""
    if rest:
        return TransientError(reason=MALFORMED)
    return BadAnswerError(reason="stream without an end")
