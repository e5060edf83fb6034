"""Reads the answers of Cohere's chat, in one piece or as they come."""

import json
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from . import classify, internals
from ..errors import BadAnswerError, ContentBlockedError, ProviderError, TransientError
from ..types import counted
from ..wording import MALFORMED, NO_END
from .answers import Said, billed

# Finish reasons that end an answer; the rest leave it incomplete.
_FINISHED = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length"}

# "An internal error" and "exceeded the allowed time", by the API's reference.
_FAILED = {"ERROR": "the generation failed", "TIMEOUT": "the generation took too long"}

# Of version 1, whose finish reasons some gateways still use.
_TOXIC = "ERROR_TOXIC"

_GARBLED = "broken characters of a stream pass unseen"

_CONTENT = ("content-start", "content-delta")


def answered(answer: Any) -> Said:
    """Return what an answer in one piece holds.

    Args:
        answer: What the SDK returned, of whatever shape.

    Raises:
        ProviderError: It is not the text of a model, or not the whole of it.
    """
    message = getattr(answer, "message", None)
    content = getattr(message, "content", None) or []
    if message is None or not isinstance(content, list):
        # Other JSON comes back as all None.
        raise TransientError(reason=MALFORMED)
    with billed(_usage(answer.usage)):
        finish = _finished(answer.finish_reason)
    text = "".join(part for part in _parts(content, "text") if part)
    return Said(
        text=text,
        is_blank=not text.strip(),
        finish_reason=finish,
        usage=_usage(answer.usage),
        has_thought=bool(_parts(content, "thinking")),
        request_id=answer.id,
    )


def events_of(calling: Any) -> Generator[Any, None, None]:
    """Yield the events of a stream, as objects with the names of their JSON.

    The SDK's own reader skips what it cannot read, and only tells the root logger: a
    word would be missing from the text, and nobody would know.

    Args:
        calling: The context manager of the SDK's raw response.

    Raises:
        JSONDecodeError: An event is broken.
        TransientError: It is no stream.
    """
    from cohere.core.http_sse import EventSource, SSEError

    with calling as answer:
        # Version 7.1 has no other name for it.
        source: Any = EventSource(internals.get(answer, "_response", "no streams"))
        internals.replace(source, "_new_text_decoder", _strict_decoder, _GARBLED)
        try:
            for event in source.iter_sse():
                if event.data and event.data != "[DONE]":
                    yield json.loads(event.data, object_hook=_named)
        # A web page, or an answer in one piece; a broken character.
        except (SSEError, UnicodeDecodeError) as error:
            raise TransientError(type(error).__name__, reason=MALFORMED) from None


def _strict_decoder(*_: Any) -> IncrementalDecoder:
    """Return a decoder of UTF-8, which events are in, whatever the header says.

    Bytes that are none are a fault.
    """
    return getincrementaldecoder("utf-8")()


class Events:
    """An answer as it comes.

    Args:
        events: What `events_of` yields.
    """

    def __init__(self, events: Iterable[Any]) -> None:
        self._events = events
        self._id: str | None = None
        self._end: Any = None
        self._has_thought = False
        self._is_blank = True

    def texts(self) -> Iterator[str]:
        """Yield its texts; afterwards it has been `said`.

        Raises:
            ProviderError: It says that it has failed.
        """
        for event in self._events:
            kind = getattr(event, "type", "error")
            if kind in _CONTENT:
                if text := self._text(event.delta.message.content):
                    yield text
            elif kind == "message-start":
                self._id = event.id
            elif kind == "message-end":
                self._end = event.delta
            elif kind == "error":
                raise _failure(event, _FAILED["ERROR"])

    @property
    def said(self) -> Said:
        """What all events were together.

        Raises:
            ProviderError: They were not the text of a model, or not the whole of it.
        """
        if self._end is None:
            raise BadAnswerError(reason=NO_END)
        usage = _usage(getattr(self._end, "usage", None))
        with billed(usage):
            finish = _finished(self._end.finish_reason, self._end)
        return Said(
            text="",
            is_blank=self._is_blank,
            finish_reason=finish,
            usage=usage,
            has_thought=self._has_thought,
            request_id=self._id,
        )

    def _text(self, content: Any) -> str:
        """Return the text of a piece, which thinking is not."""
        self._has_thought = self._has_thought or bool(getattr(content, "thinking", ""))
        text = getattr(content, "text", None) or ""
        if not isinstance(text, str):
            raise TransientError(reason=MALFORMED)
        self._is_blank = self._is_blank and not text.strip()
        return text


def blocks(words: str) -> bool:
    """Return whether an error's words are those of a filter."""
    # "blocked input: please adjust your prompt", or "blocked output".
    return words.startswith("blocked ")


def _named(fields: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**fields)


def _parts(content: list[Any], kind: str) -> list[Any]:
    """Return what the blocks of one kind hold; those of unknown kinds are dicts."""
    return [getattr(b, kind) for b in content if getattr(b, "type", None) == kind]


def _finished(finish_reason: Any, told: object = None) -> str:
    """Return why an answer ended, if it is complete, or cut by `max_tokens`.

    Args:
        finish_reason: The API's word for it.
        told: What may have an `error`.
    """
    if finish_reason == _TOXIC:
        raise ContentBlockedError(reason="answer cut by a content filter")
    if finish_reason in _FAILED:
        raise _failure(told, _FAILED[finish_reason])
    if finish_reason not in _FINISHED:
        raise BadAnswerError(
            reason=f"incomplete answer (finish reason: {finish_reason})"
        )
    return _FINISHED[finish_reason]


def _failure(told: object, reason: str) -> ProviderError:
    """Return the error that came within an answer, by its words if there are any."""
    found = (getattr(told, name, None) for name in ("error", "message"))
    words = next((each for each in found if isinstance(each, str)), "")
    if blocks(words):
        return ContentBlockedError(words)
    error = classify.from_text(words)
    if type(error) is ProviderError:
        return TransientError(words, reason=reason)
    return error


def _usage(usage: Any) -> dict[str, int] | None:
    """Return the tokens, which come as floats; the billed ones are fewer."""
    tokens = getattr(usage, "tokens", None)
    taken = getattr(tokens, "input_tokens", None)
    made = getattr(tokens, "output_tokens", None)
    if not (isinstance(taken, int | float) and isinstance(made, int | float)):
        return None
    return counted(int(taken), int(made))
