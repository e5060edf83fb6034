"""What a provider has answered, parsed; and answers that were all reasoning."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeVar

from ..config.parsers import Parser, shown, word
from ..errors import (
    BadAnswerError,
    ContentBlockedError,
    ProviderError,
    TransientError,
    encodable,
    let_through,
)
from ..types import LLMResponse
from .classify import NO_END
from .transport import hurry

T = TypeVar("T")


class ParsedResponse(NamedTuple):
    """What a model has answered, and how that ended.

    Attributes:
        text: The text; "" if it has been handed out in pieces.
        is_blank: Whether there was no text at all.
        finish_reason: "stop", or "length" if it is cut by `max_tokens`.
        usage: The tokens, if they were counted.
        has_thought: Whether there was thinking, or the usage counts some.
        request_id: What the provider's support asks for.
        model: The model that answered, by the provider's name for it.
    """

    text: str
    is_blank: bool
    finish_reason: str
    usage: dict[str, int] | None
    has_thought: bool
    request_id: str | None
    model: str | None = None

    def response(
        self, provider: str, model: str, remedy: Callable[[], str]
    ) -> LLMResponse:
        """Return it as an answer.

        Args:
            provider: The provider that was asked.
            model: The model that was asked, if the answer names none.
            remedy: Returns the setting that would keep it from thinking, or "".

        Raises:
            BadAnswerError: It ends before its first word.
        """
        if self.is_blank and self.finish_reason == "length":
            error = used_up(thought=self.has_thought, remedy=remedy())
            error.usage = self.usage
            raise error
        return LLMResponse(
            success=True,
            content=self.text,
            provider_name=provider,
            metadata={
                "model": self.model or model,
                "usage": self.usage,
                "finish_reason": self.finish_reason,
                "request_id": self.request_id,
            },
        )


# How an answer has ended, in the words of the APIs, in lower case. Gateways hand on
# those of the model behind them. From the API references of November 2026.
_ENDED = {
    "stop": "stop",  # OpenAI and most; Google's STOP
    "end_turn": "stop",  # Anthropic
    "stop_sequence": "stop",  # Anthropic, Hugging Face's TGI
    "complete": "stop",  # Cohere
    "eos": "stop",  # Together
    "eos_token": "stop",  # TGI
    "length": "length",
    "max_tokens": "length",  # Anthropic, Google, Cohere
    "max_output_tokens": "length",  # OpenAI's Responses
    "model_length": "length",  # Mistral: the context is full
    "model_context_window_exceeded": "length",  # Anthropic, GLM
    "token_limit": "length",  # watsonx
}
_FILTERED = {
    "content_filter",  # OpenAI, Azure, DeepSeek, Mistral
    "content_filtered",  # Bedrock
    "safety",  # Google, as the five that follow
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "model_armor",
    "sensitive",  # GLM
    "risk",  # Kimi
    "refusal",  # Anthropic
    "guardrail_intervened",  # Bedrock
}
# The server's own trouble.
_FAILED = {
    "error",  # OpenRouter, LM Studio
    "insufficient_system_resource",  # DeepSeek
    "network_error",  # GLM
    "timeout",
    "overloaded",
}


def finish_of(word: object) -> str:
    """Return how an answer has ended: "stop" or "length".

    Args:
        word: The server's word for it, in any case.

    Raises:
        ContentBlockedError: A filter has ended it.
        TransientError: The server itself has.
        BadAnswerError: It ended in another way.
    """
    plain = str(word).lower()
    if plain in _ENDED:
        return _ENDED[plain]
    if plain in _FILTERED:
        raise ContentBlockedError
    reason = f"incomplete answer (finish reason: {word})"
    if plain in _FAILED:
        raise TransientError(reason=reason)
    raise BadAnswerError(reason=reason)


def cut_short(*, blank: bool) -> ProviderError:
    """Return the error for a stream that ended cleanly, but without a finish reason.

    Args:
        blank: Whether it held no text: then it is as transient as one that is cut.
    """
    return (TransientError if blank else BadAnswerError)(reason=NO_END)


AFTER_END_S = 0.5
"""Seconds for which a stream is read on, for its usage, when its answer is whole."""


def until_whole(events: Iterable[T], is_whole: Callable[[], bool]) -> Iterator[T]:
    """Yield the events of a stream; once its answer is whole nothing can break it.

    What comes then is still yielded, but a lost connection, a broken event or silence
    ends the stream without an error.

    Args:
        events: The SDK's stream.
        is_whole: Tells whether the API has said how the answer ended.
    """
    iterator, is_hurried = iter(events), False
    while True:
        if not is_hurried and is_whole():
            is_hurried = True
            hurry(AFTER_END_S)
        try:
            event = next(iterator)
        except StopIteration:
            return
        except Exception as exc:
            let_through(exc)
            if is_whole():
                return
            raise
        yield event


@contextmanager
def billed(usage: dict[str, int] | None) -> Iterator[None]:
    """Put the tokens that an answer has cost into the error that it became.

    Args:
        usage: The tokens, as in `LLMResponse.metadata`.
    """
    try:
        yield
    except ProviderError as error:
        error.usage = usage
        raise


SHORT = 4096
"""The `max_tokens` below which calls think as little as their model allows: below some
pages of text, thinking can leave nothing for the answer."""


def used_up(*, thought: bool, remedy: str = "") -> BadAnswerError:
    """Return the error for an answer that ends before its first word.

    Args:
        thought: Whether the model has thought.
        remedy: The setting that would keep it from that, such as
            "LLM_CLAUDE_THINKING=off"; empty if there is none that helps.
    """
    what = "thinking used up max_tokens" if thought else "max_tokens used up"
    also = f" or set {remedy}" if thought and remedy else ""
    return BadAnswerError(
        reason=f"{what} before any text", advice=f"raise max_tokens{also}"
    )


HELD = "thinking is held to half of max_tokens"
"""The warning of an answer whose `max_tokens` did not leave the configured room."""


def words_or_tokens(*words: str, least: int = 0) -> Parser[str | int]:
    """Return a parser of how a model may think: a word, or the most tokens for it.

    Args:
        words: The words that are known.
        least: The fewest tokens that the API takes.
    """

    def parse(value: Any) -> str | int:
        plain = str(value).strip()
        is_number = re.fullmatch(r"\d+", plain, re.ASCII)
        if not is_number and (found := word(value, words)) in words:
            return found
        if not is_number:
            known = ", ".join(words)
            raise ValueError(
                f"must be {known} or a number of tokens, not {shown(value)}"
            )
        if int(plain) < least:
            raise ValueError(f"must be {least} tokens or more, not {plain}")
        return int(plain)

    return parse


# The texts of an answer ------------------------------------------------------------

_OPENED, _CLOSED = "<think>", "</think>"


def without_thoughts(text: str, finish: object = None) -> str:
    """Return an answer without the thinking that it begins with.

    Servers without a parser for their model's reasoning leave it there, in tags. A tag
    that is never closed may be a part of the answer, unless that is cut: then it is
    thinking that has left no room for one.

    Args:
        text: The whole answer.
        finish: How it has ended: "stop" or "length".

    Raises:
        BadAnswerError: It ends before its first word.
    """
    begun = text.lstrip()
    if not begun.startswith(_OPENED):
        return text
    _, closed, rest = begun.partition(_CLOSED)
    if finish == "length" and not rest.strip():
        raise used_up(thought=True)
    return rest.lstrip() if closed else text


def spoken(pieces: Generator[str, None, T]) -> Generator[str, None, T]:
    """Leave out the thinking that an answer begins with, as `without_thoughts` does.

    Args:
        pieces: The texts, which return the response.

    Raises:
        BadAnswerError: It ends before its first word.
    """
    held: list[str] = []
    begun = last = ""
    with closing(pieces):
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                if text := without_thoughts("".join(held), _finish_of(end.value)):
                    yield text
                return end.value  # type: ignore[no-any-return]  # it is T
            held.append(piece)
            if len(begun) < len(_OPENED):
                begun = (begun + piece).lstrip()
            if not _OPENED.startswith(begun[: len(_OPENED)]):
                yield "".join(held)
                return (yield from pieces)
            if _CLOSED in last + piece:
                return (
                    yield from _without_blanks(without_thoughts("".join(held)), pieces)
                )
            last = (last + piece)[-len(_CLOSED) :]


def _finish_of(response: object) -> object:
    """Return how a response says that it has ended, whatever a third party returns."""
    metadata = getattr(response, "metadata", None)
    return metadata.get("finish_reason") if isinstance(metadata, dict) else None


def _without_blanks(
    text: str, pieces: Generator[str, None, T]
) -> Generator[str, None, T]:
    """Yield a text and those behind it, from the first visible character on."""
    while not text:
        try:
            text = next(pieces).lstrip()
        except StopIteration as end:
            if _finish_of(end.value) == "length":
                raise used_up(thought=True) from None
            return end.value  # type: ignore[no-any-return]  # it is T
    yield text
    return (yield from pieces)


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
    """Return a generator of what a third party streams, if it is text; leave out "".

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
