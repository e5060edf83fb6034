"""What an answer of Claude's says, all at once or event by event."""

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from ..errors import BadAnswerError, ContentBlockedError, TransientError
from ..types import counted
from ..wording import MALFORMED
from .answers import Said, billed

# Stop reasons of the Messages API that end an answer; the rest leave it incomplete.
_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}

_TEXTS = {"text", "text_delta"}
_THOUGHTS = {"thinking", "redacted_thinking"}
# Tokens of the prompt that the API's cache takes or holds are counted apart.
_TAKEN = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_GIVEN = "output_tokens"


class Answer:
    """What is known of an answer, of which parts may still come.

    Args:
        message: The SDK's object, whole or as a stream begins.
        request_id: What the API calls the request.
    """

    def __init__(self, message: Any, request_id: str | None) -> None:
        self._model = message.model
        self._request_id = request_id
        self._tokens: dict[str, int] = {}
        self._is_blank, self._has_thought = True, False
        self.stop_reason: str | None = message.stop_reason
        self.count(message.usage)

    def text(self, part: Any) -> str:
        """Return the text of a content block, or of a piece of one.

        Unknown kinds have the classes of known ones: only the type tells.
        """
        self._has_thought |= part.type in _THOUGHTS
        text: str = (part.text or "") if part.type in _TEXTS else ""
        is_blank = not text.strip()  # also fails on what is no text
        self._is_blank = self._is_blank and is_blank
        return text

    def count(self, usage: Any) -> None:
        """Note the tokens that the API has counted until now."""
        # What a stream begins with is no count of its answer.
        names = (*_TAKEN, _GIVEN) if self.stop_reason else _TAKEN
        told = {name: getattr(usage, name, None) for name in names}
        self._tokens |= {name: each for name, each in told.items() if each is not None}
        details = getattr(usage, "output_tokens_details", None)
        self._has_thought |= bool(getattr(details, "thinking_tokens", None))

    def said(self, text: str) -> Said:
        """Return the answer, now that it has come to its end.

        Args:
            text: What of it has not been handed out.

        Raises:
            ProviderError: It is refused or incomplete.
        """
        with billed(self._usage()):
            if self.stop_reason == "refusal":
                raise ContentBlockedError(reason="refused to answer")
            if self.stop_reason not in _FINISHED:
                incomplete = f"incomplete answer (stop reason: {self.stop_reason})"
                raise BadAnswerError(reason=incomplete)
        return Said(
            text=text,
            is_blank=self._is_blank,
            finish_reason=_FINISHED[self.stop_reason],
            usage=self._usage(),
            has_thought=self._has_thought,
            request_id=self._request_id,
            model=self._model,
        )

    def _usage(self) -> dict[str, int] | None:
        if _TAKEN[0] not in self._tokens:
            return None
        taken = sum(self._tokens.get(name, 0) for name in _TAKEN)
        return counted(taken, self._tokens.get(_GIVEN))


def whole(message: Any) -> Said:
    """Return an answer that came at once.

    Raises:
        ProviderError: It is none.
    """
    content = getattr(message, "content", None)
    if not isinstance(content, list):
        # A web page with status 200 comes back as str, other JSON as all None.
        raise TransientError(reason=MALFORMED)
    answer = Answer(message, getattr(message, "_request_id", None))
    return answer.said("".join([answer.text(block) for block in content]))


def follow(events: Any) -> Generator[str, None, Said]:
    """Yield the texts of the SDK's stream, and return what it told of the answer.

    Raises:
        ProviderError: It is no such stream, or has no end or a bad one.
    """
    start: Any = next(iter(events), None)
    if getattr(start, "type", None) != "message_start":
        # JSON or a web page with status 200 comes as a stream without events.
        raise TransientError(reason=MALFORMED)
    answer = Answer(start.message, events.response.headers.get("request-id"))
    for event in events:
        if event.type in {"content_block_start", "content_block_delta"}:
            part = event.delta if "delta" in event.type else event.content_block
            if text := answer.text(part):
                yield text
        elif event.type == "message_delta":
            answer.stop_reason = event.delta.stop_reason or answer.stop_reason
            answer.count(event.usage)
        elif event.type == "message_stop":
            _read_on(events)
            return answer.said("")
    raise BadAnswerError(reason="stream without an end")


def _read_on(events: Any) -> None:
    """Read what follows the end marker, so that the connection can be used again."""
    with suppress(Exception):  # the answer is complete, whatever comes now
        for _ in events:
            pass
