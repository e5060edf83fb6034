"""The chat of Ollama's API: what it is sent, and how its answers end."""

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any

from ..errors import BadAnswerError, InvalidRequestError
from ..messages import Message
from ..types import Request, counted
from ..wording import NO_END
from .answers import billed
from .thinking import used_up

_FINISHED = {"stop": "stop", "length": "length"}


def asked_for(request: Request, optional: dict[str, Any]) -> dict[str, Any]:
    """Return a request as arguments of the SDK's `chat`.

    Args:
        request: What is asked for.
        optional: What of it the model takes.

    Raises:
        InvalidRequestError: A picture is an address, which Ollama would not fetch.
    """
    options = {"num_predict": request.max_tokens, **optional}
    told = [{"role": "system", "content": request.system}] if request.system else []
    return {
        "messages": [*told, *map(_turn, request.messages)],
        # Called so here too, since refusals speak of thinking.
        "think": options.pop("thinking", None),
        "format": options.pop("format", None),
        "options": options,
    }


def split_at_line_feeds(response: Any) -> None:
    """Have the lines of a response end where the server ends them; a hook of httpx.

    By itself httpx ends them at U+0085, U+2028 and U+2029 too, which may stand in the
    middle of a text in JSON.

    Args:
        response: What httpx has received.
    """
    response.iter_lines = partial(_lines, response)


def _lines(response: Any) -> Iterator[str]:
    rest = b""
    for data in response.iter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        yield from (each.decode() for each in lines)
    if rest:
        yield rest.decode()


def _turn(message: Message) -> dict[str, Any]:
    if any(image.url for image in message.images):
        raise InvalidRequestError(reason="takes images as data only")
    images = [image.data for image in message.images]
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    return {**turn, "images": images} if images else turn


class Reading:
    """Reads an answer that comes as one chunk or as many.

    Args:
        remedy: The setting that would keep the model from thinking, if one helps.
    """

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy
        self._has_text = False
        self._has_thought = False

    def texts(self, chunks: Iterable[Any]) -> Generator[str, None, dict[str, Any]]:
        """Yield the texts; thinking is none.

        Args:
            chunks: What the SDK returned.

        Returns:
            What the last chunk tells, for the metadata.

        Raises:
            BadAnswerError: It is incomplete, or was used up before any text.
        """
        for chunk in chunks:
            if text := self._text(chunk.message):
                yield text
            if chunk.done:
                return self._told(chunk)
        raise BadAnswerError(reason=NO_END)

    def whole(self, answer: Any) -> tuple[str, dict[str, Any]]:
        """Return the text of an answer in one piece, and what it tells.

        Raises:
            BadAnswerError: It is incomplete, or was used up before any text.
        """
        return self._text(answer.message), self._told(answer)

    def _text(self, message: Any) -> str:
        text: str = message.content or ""
        self._has_text = self._has_text or bool(text.strip())
        self._has_thought = self._has_thought or bool(message.thinking)
        return text

    def _told(self, last: Any) -> dict[str, Any]:
        finish = last.done_reason if last.done else None
        usage = counted(last.prompt_eval_count, last.eval_count)
        with billed(usage):
            if finish not in _FINISHED:
                incomplete = f"incomplete answer (done reason: {finish})"
                raise BadAnswerError(reason=incomplete)
            if finish == "length" and not self._has_text:
                raise used_up(thought=self._has_thought, remedy=self._remedy)
        return {
            "model": last.model,
            "usage": usage,
            "finish_reason": _FINISHED[finish],
        }
