"""What is done to the pieces of a streamed text on their way, whoever streams it."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from .errors import BadAnswerError, encodable

T = TypeVar("T")


def cut_at(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of some stop texts."""
    found = [at for at in map(text.find, stops) if at >= 0]
    return text[: min(found)] if found else text


def whole_characters(pieces: Generator[str, None, T]) -> Generator[str, None, T]:
    """Join characters whose halves have come in two pieces, as from some gateways.

    Args:
        pieces: The texts.
    """
    held = ""
    with closing(pieces):
        while True:
            try:
                text = held + next(pieces)
            except StopIteration as end:
                if held:
                    yield encodable(held)
                return end.value  # type: ignore[no-any-return]  # it is T
            held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
            if text := encodable(text[:-1] if held else text):
                yield text


def texts(pieces: Iterable[object]) -> Generator[str, None, Any]:
    """Return a generator of what a stranger streams, if it is text; leave out "".

    Args:
        pieces: What a provider's `stream` has returned, whatever that is.

    Returns:
        What `pieces` returns, if it is a generator.

    Raises:
        BadAnswerError: There is something else among the texts.
    """
    iterator = iter(pieces)
    try:
        while True:
            try:
                piece = next(iterator)
            except StopIteration as end:
                return end.value
            if not isinstance(piece, str):
                kind = type(piece).__name__
                raise BadAnswerError(reason=f"streamed {kind}, no text")
            if piece:
                yield piece
    finally:
        if close := getattr(iterator, "close", None):
            close()


def visible(pieces: Generator[str, None, T]) -> Generator[str, None, T]:
    """Hold back what no reader could see, until there is something to see.

    A model that begins with line breaks and then fails has not begun yet.

    Args:
        pieces: The texts.
    """
    held = ""
    with closing(pieces):
        while not held.strip():
            try:
                held += next(pieces)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # it is T
        yield held
        result = yield from pieces
    return result


def until(
    pieces: Generator[str, None, T], stops: Sequence[str]
) -> Generator[str, None, T | None]:
    """End a stream before the first of some stop texts.

    Providers that know stop texts end there by themselves. For others each end of a
    piece that may be the beginning of a stop text is held back.

    Args:
        pieces: The texts.
        stops: The stop texts, none of them empty.

    Returns:
        What `pieces` returns, or None if it was left at a stop text.
    """
    held = ""
    with closing(pieces):
        while True:
            try:
                held += next(pieces)
            except StopIteration as end:
                if told := cut_at(held, stops):
                    yield told
                return end.value if told == held else None
            told = cut_at(held, stops)
            safe = len(held) - _beginning(held, stops)
            # Another stop text that begins before this one may still be under way.
            is_over = len(told) < len(held) and len(told) <= safe
            if told := told[:safe]:
                yield told
            if is_over:
                return None
            held = held[len(told) :]


def _beginning(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at a text's end may begin a stop text."""
    longest = min(len(text), max(map(len, stops)) - 1)
    for size in range(longest, 0, -1):
        if any(each.startswith(text[-size:]) for each in stops):
            return size
    return 0
