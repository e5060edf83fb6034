"""How Gemini is asked and read, whichever of Google's SDKs does it."""

import mimetypes
from abc import abstractmethod
from collections.abc import Collection, Generator, Mapping
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from ...errors import BadAnswerError, InvalidRequestError
from ...messages import Image
from ...types import LLMResponse, Request
from .. import google_rest as google
from ..base import Retirement
from ..chat import ChatProvider
from ..answers import billed
from ..thinking import used_up

_MOST_STOPS = 5  # that the API takes; the chain heeds them all

_ROLES = {"user": "user", "assistant": "model"}

# The schema needs it; alone it makes an answer be some JSON.
_JSON = {"response_mime_type": "application/json"}
_JSON_KEY = "response_mime_type.application/json"


class Said(NamedTuple):
    """What an answer says, or a chunk of one.

    Attributes:
        text: What can be handed out, thoughts left out.
        finish: The finish reason; falsy in all chunks but the last.
        model: The model that answered.
        usage: The tokens, as in `LLMResponse.metadata`.
        request_id: What Google calls the answer.
        thoughts: Tokens of thinking, as far as they are told.
    """

    text: str = ""
    finish: str | int | None = None
    model: str | None = None
    usage: dict[str, int] | None = None
    request_id: str | None = None
    thoughts: int = 0

    def after(self, earlier: "Said") -> "Said":
        """Return what both say of the answer, but for the text.

        Args:
            earlier: What the chunks before have said.
        """
        return Said(
            finish=self.finish or earlier.finish,
            model=self.model or earlier.model,
            usage=self.usage or earlier.usage,
            request_id=self.request_id or earlier.request_id,
            thoughts=self.thoughts or earlier.thoughts,
        )


class GoogleProvider(ChatProvider):
    """Gemini: its facts, and what its answers mean.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Google's.
        timeout: Seconds that one attempt may take.
        thinking: What `google.parse_thinking` knows.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.

    Attributes:
        finished: What the finish reasons of complete answers, and of those that are
            cut, mean.
        blocked: The finish reasons of safety filters.
    """

    api_key_names: ClassVar[tuple[str, ...]] = google.API_KEY_NAMES
    default_model = google.DEFAULT_MODEL
    address = google.HOME
    finished: ClassVar[Mapping[Any, str]]
    blocked: ClassVar[Collection[Any]]

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        thinking: str | int = "auto",
    ) -> None:
        super().__init__(api_key, model=model, base_url=base_url, timeout=timeout)
        self.thinking = google.parse_thinking(thinking)

    def retirement(self) -> Retirement | None:
        """Return when its model ends, if Google has said so."""
        return google.retirement(self.model)

    def _refused(self) -> Collection[str]:
        return google.refused(self.model)

    def _optional(self, request: Request) -> dict[str, Any]:
        stops = list(request.stop[:_MOST_STOPS])
        stop = {"stop_sequences": stops} if stops else {}
        return super()._optional(request) | stop | self._json(request)

    def _json(self, request: Request) -> dict[str, Any]:
        """Return what makes the answer JSON: a type, and with it perhaps the schema."""
        if request.schema is None:
            return {}
        schema = self._dialect(request.schema.json)
        if schema is None or self._parameters.refuses(_JSON_KEY):
            return _JSON
        return _JSON | {self.schema_parameter: schema}

    @abstractmethod
    def _dialect(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """Return a JSON schema as the API takes it; None if that cannot be."""

    @abstractmethod
    def _said(self, answer: Any) -> Said:
        """Return what an answer, or a chunk of one, says.

        Raises:
            ProviderError: It is none, or the prompt is blocked.
        """

    def _read(self, answer: Any) -> LLMResponse:
        said = self._said(answer)
        if not answer.candidates:
            raise BadAnswerError(reason="answer without a candidate")
        with billed(said.usage):
            google.check(said.finish, self.finished, self.blocked)
        return self._response(said, said.text, spoke=bool(said.text.strip()))

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        known, spoke = Said(), False
        for event in events:
            said = self._said(event)
            if said.finish:
                with billed(said.after(known).usage):
                    google.check(said.finish, self.finished, self.blocked)
            if said.text:
                spoke = spoke or bool(said.text.strip())
                yield said.text
            known = said.after(known)
        if not known.finish:
            raise BadAnswerError(reason="stream without an end")
        return self._response(known, spoke=spoke)

    def _response(self, said: Said, text: str = "", *, spoke: bool) -> LLMResponse:
        """Return a complete answer.

        Args:
            said: What is known of it.
            text: The text that has not been handed out.
            spoke: Whether there was any.
        """
        finish = self.finished[said.finish]
        if not spoke and finish == "length":
            with billed(said.usage):
                raise used_up(thought=self._thought(said), remedy=self._remedy(said))
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": said.model or self.model,
                "usage": said.usage,
                "finish_reason": finish,
                "request_id": said.request_id,
            },
        )

    def _thought(self, said: Said) -> bool:
        """Return whether the model has thought."""
        return bool(said.thoughts)

    def _remedy(self, said: Said) -> str:  # noqa: ARG002  # a subclass's
        """Return the setting that would lessen thinking, if one would."""
        return ""


def contents(request: Request) -> list[dict[str, Any]]:
    """Return the `contents` of a request.

    Raises:
        InvalidRequestError: There is a picture whose type nobody tells.
    """
    return [
        {
            "role": _ROLES[message.role],
            "parts": [_part(part) for part in message.parts if part],
        }
        for message in request.messages
    ]


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    kind = part.media_type or mimetypes.guess_type(urlsplit(part.url).path)[0]
    if kind is None:
        raise InvalidRequestError(reason="takes images of a known media_type only")
    if part.url:
        return {"file_data": {"mime_type": kind, "file_uri": part.url}}
    return {"inline_data": {"mime_type": kind, "data": part.data}}
