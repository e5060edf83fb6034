"""Reads chat completions that come in chunks."""

from collections.abc import Iterator
from typing import Any

from ..errors import BadAnswerError, TransientError
from ..wording import MALFORMED, NO_END
from .completion import check_error, finished, first_choice, has_counted_thought, has_thought, text_in, usage_of
from .answers import Said, billed

class Chunks:
    """A chat completion as it comes.

    Args:
        stream: The SDK's stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._model: str | None = None
        self._usage: dict[str, int] | None = None
        self._finish: str | None = None
        self._refusal = ""
        self._has_thought = False
        self._is_blank = True

    def texts(self) -> Iterator[str]:
        """Yield its texts; afterwards it has been `said`.

        Raises:
            AnsweredError: It says that it has failed.
            TransientError: It is no such stream.
        """
        for chunk in self._stream:
            choices = _choices(chunk)
            self._note(chunk)
            for choice in first_choice(choices):
                check_error(choice)
                if text := self._text(choice):
                    yield text
        if self._model is None:
            # A web page, or an answer in one piece: nothing of it is an event.
            raise TransientError(reason=MALFORMED)

    @property
    def said(self) -> Said:
        """What all chunks were together.

        Raises:
            ProviderError: They were not the text of a model, or not the whole of it.
        """
        if self._finish is None and not self._refusal:
            raise BadAnswerError(reason=NO_END)
        with billed(self._usage):
            finish = finished(self._finish, self._refusal)
        return Said(
            text="",
            is_blank=self._is_blank,
            finish_reason=finish,
            usage=self._usage,
            has_thought=self._has_thought,
            request_id=self._stream.response.headers.get("x-request-id"),
            model=self._model,
        )

    def _note(self, chunk: Any) -> None:
        self._model = getattr(chunk, "model", None) or self._model or ""
        self._usage = usage_of(chunk) or self._usage
        self._has_thought = self._has_thought or has_counted_thought(chunk)

    def _text(self, choice: Any) -> str:
        """Return the text of a piece, which thinking and a refusal are not."""
        piece = choice.delta
        self._finish = choice.finish_reason or self._finish
        self._refusal += getattr(piece, "refusal", None) or ""
        self._has_thought = self._has_thought or has_thought(piece)
        text = text_in(piece)
        self._is_blank = self._is_blank and not text.strip()
        return text


def _choices(chunk: Any) -> list[Any]:
    """Return the pieces of a chunk; that of the usage may lack them altogether."""
    choices = getattr(chunk, "choices", None)
    if isinstance(choices, list):
        return choices
    if choices is None and getattr(chunk, "usage", None):
        return []
    raise TransientError(reason=MALFORMED)
