"""The JSON in a model's answer, whatever the model says around it."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

_FENCED = re.compile(r"```\w*\s(.*)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_TRIES = 100  # a text so full of braces is something else


class Found(NamedTuple):
    """JSON in an answer: what it says, its own words, and what follows them."""

    value: Any
    text: str
    after: str = ""


def find(answer: str, kinds: tuple[type, ...]) -> Found:
    """Return the JSON that an answer is, or the only one in it.

    Args:
        answer: What the model says: JSON, JSON between fences, or JSON and prose.
        kinds: What may be meant amid prose: `dict`, `list` or both.

    Raises:
        ValueError: There is none, a broken one, or more than one; the text tells which.
        RecursionError: It is nested too deeply.
    """
    text = answer.strip("\ufeff \t\r\n")
    fenced = _FENCED.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        return Found(_DECODER.decode(text), text)
    except ValueError as error:
        fault = str(error)
    meant = [each for each in _within(text) if isinstance(each.value, kinds)]
    if len(meant) != 1:
        several = f"{len(meant)} JSON values, where one is wanted"
        raise ValueError(several if meant else fault)
    return meant[0]


def _within(text: str) -> Iterator[Found]:
    """Yield the objects and arrays in a text."""
    at = 0
    for _ in range(_TRIES):
        opening = _OPENING.search(text, at)
        if opening is None:
            return
        start = opening.start()
        try:
            value, at = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # What is inside broken JSON is only a part of what was meant.
            if text[start + 1 : error.pos].strip():
                raise
            at = start + 1  # a brace of the prose
        else:
            yield Found(value, text[start:at], text[at:])


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refused)
