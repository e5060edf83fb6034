"""What Google's SDKs share: contents, candidates and errors."""

import mimetypes
import re
from abc import abstractmethod
from collections.abc import (
    Callable,
    Collection,
    Container,
    Generator,
    Iterator,
    Mapping,
)
from datetime import date
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from ...errors import (
    BadAnswerError,
    ContentBlockedError,
    InvalidRequestError,
    ProviderError,
)
from ...types import Image, LLMResponse, Request, counted
from .. import classify
from ..answers import (
    SHORT,
    billed,
    cut_short,
    until_whole,
    used_up,
    words_or_tokens,
)
from ..base import Retirement
from ..classify import PER_DAY
from ..error_bodies import words_of
from ..sdk import ChatProvider

API_KEY_NAMES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")

HOME = "https://generativelanguage.googleapis.com"
"""Where Google takes API keys."""

DEFAULT_MODEL = "gemini-3.8-flash"

_LEVELS = ("minimal", "low", "medium", "high")

# Gemini 3 is told how hard to think; 2.5 how many tokens that may take.
_WITH_BUDGET, _WITH_LEVELS = (2, 5), (3, 0)
_LEAST_OF_2_5_PRO = 128  # which cannot leave it

Refuses = Callable[[str], bool]

# Of aliases such as gemini-flash-latest.
_NEWEST = (99, 0)

# Since this version only "-lite" models take "minimal"; no "-pro" ever did.
# https://ai.google.dev/gemini-api/docs/generate-content/thinking, as of November 2026.
_NO_MINIMAL = (3, 7)

# Since this version `temperature` is deprecated: low values can make a model loop.
_NO_TEMPERATURE = (3, 6)

# Neither SDK knows of them. https://ai.google.dev/gemini-api/docs/deprecations, as of
# November 2026; Google Cloud has dates of its own.
_END_OF_2_0 = date(2026, 6, 1)
_END_OF_2_5 = date(2026, 12, 1)
_RETIRED = {
    "gemini-2.0-flash": Retirement(_END_OF_2_0, "gemini-3.5-flash"),
    "gemini-2.0-flash-001": Retirement(_END_OF_2_0, "gemini-3.5-flash"),
    "gemini-2.0-flash-lite": Retirement(_END_OF_2_0, "gemini-3.1-flash-lite"),
    "gemini-2.0-flash-lite-001": Retirement(_END_OF_2_0, "gemini-3.1-flash-lite"),
    "gemini-2.5-flash": Retirement(_END_OF_2_5, "gemini-3.5-flash-lite"),
    "gemini-2.5-pro": Retirement(_END_OF_2_5, "gemini-3.8-flash"),
}


def retirement(model: str) -> Retirement | None:
    """Return when a model of the Gemini API ends, if Google has said so."""
    return _RETIRED.get(model.removeprefix("models/"))


def version(model: str) -> tuple[int, int] | None:
    """Return a Gemini model's version, an alias's as the newest; None for others."""
    name = model.rpartition("/")[2]
    if not name.startswith("gemini-"):
        return None
    found = re.match(r"gemini-(\d+)(?:\.(\d+))?", name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def refused(model: str) -> tuple[str, ...]:
    """Return the optional parameters that a model is known not to take."""
    known = version(model)
    if known is None:
        return ()
    is_late = known >= _NO_MINIMAL and "-lite" not in model
    takes = {
        "temperature": known < _NO_TEMPERATURE,
        "thinking_level.minimal": not (is_late or "-pro" in model),
    }
    return tuple(name for name, is_taken in takes.items() if not is_taken)


parse_thinking = words_or_tokens("off", "auto", *_LEVELS)
"""Parses how a Gemini model may think: a word, or the most tokens to think with."""


def thinking(
    asked: str | int, model: str, max_tokens: int, refuses: Refuses
) -> dict[str, Any]:
    """Return what a request says of thinking; nothing for the model's own habit.

    Args:
        asked: What `parse_thinking` returned.
        model: The model.
        max_tokens: The most tokens of the answer, thinking included.
        refuses: Whether the model is known not to take a parameter.
    """
    known = version(model)
    if known is None or known < _WITH_BUDGET:
        return {}
    if isinstance(asked, int):
        return {"thinking_budget": min(asked, max_tokens // 2)}
    if asked in _LEVELS and not refuses(f"thinking_level.{asked}"):
        return {"thinking_level": asked}
    if asked in ("off", "minimal") or max_tokens < SHORT:
        return least_thinking(model, refuses)
    return {}


def least_thinking(model: str, refuses: Refuses) -> dict[str, Any]:
    """Return what makes a model think as little as it can, as far as is known."""
    known = version(model)
    if known is None or known < _WITH_BUDGET or refuses("thinking_budget"):
        return {}
    if known < _WITH_LEVELS:
        return {"thinking_budget": _LEAST_OF_2_5_PRO if "-pro" in model else 0}
    for level in _LEVELS[:2]:
        if not refuses(f"thinking_level.{level}"):
            return {"thinking_level": level}
    return {}


def candidate(answer: Any) -> Any:
    """Return the first candidate of an answer; a chunk of a stream may lack it.

    Raises:
        ContentBlockedError: There is none, since the prompt is blocked.
    """
    if answer.candidates:
        # Where there is only one, its number may be left out.
        return next((each for each in answer.candidates if not each.index), None)
    feedback = answer.prompt_feedback
    if feedback and feedback.block_reason:
        why = f"prompt blocked ({feedback.block_reason.name})"
        raise ContentBlockedError(reason=why)
    return None


def check(
    finish: str | int | None, finished: Container[object], blocked: Container[object]
) -> None:
    """Raise unless a candidate is complete, or cut by `max_tokens`.

    Args:
        finish: Its finish reason.
        finished: The finish reasons of complete ones and of those that are cut.
        blocked: The finish reasons of safety filters.

    Raises:
        ContentBlockedError: A safety filter stopped it.
        BadAnswerError: It is incomplete for another reason.
    """
    if finish in blocked:
        raise ContentBlockedError(reason="answer blocked by a safety filter")
    if finish not in finished:
        raise BadAnswerError(reason=f"incomplete answer (finish reason: {finish})")


def usage(told: Any) -> dict[str, int] | None:
    """Return the tokens of an answer's usage metadata, if it tells them."""
    total = getattr(told, "total_token_count", None)
    asked = getattr(told, "prompt_token_count", None)
    if not total or asked is None:
        return None
    # Google leaves out what is 0, and the older SDK makes 0 of what is left out.
    details = {
        "cached_tokens": getattr(told, "cached_content_token_count", 0) or None,
        "reasoning_tokens": getattr(told, "thoughts_token_count", 0) or None,
    }
    # Hidden thinking is in the total, and it is paid for as output.
    return counted(asked, total - asked, None, details)


def explain(exc: Exception, details: object, message: object) -> ProviderError:
    """Return the error of an exception that carries a status.

    Args:
        exc: The SDK's exception.
        details: The `details` of Google's error body, should be a list of objects.
        message: Google's message, or whatever the server sent in its place.
    """
    return classify.from_exception(
        exc,
        detail=_words(message),
        code=PER_DAY if _is_per_day(details) else detail(details, "reason"),
        # RetryInfo mostly comes without a Retry-After header, and is more exact.
        retry_after=_seconds(detail(details, "retryDelay")),
    )


def detail(details: object, name: str) -> str | None:
    """Return a text out of the list of details that Google puts into its errors."""
    for each in dicts(details):
        if isinstance(each.get(name), str):
            return str(each[name])
    return None


def _words(message: object) -> str:
    """Return a message; nothing of a proxy's page."""
    return words_of(message) if isinstance(message, str) else ""


def dicts(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of what should be a list of them."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each


def _is_per_day(details: object) -> bool:
    """Return whether a day's quota is used up, which Google's text does not tell."""
    return any(
        "PerDay" in str(violation.get("quotaId"))
        for each in dicts(details)
        for violation in dicts(each.get("violations"))
    )


def _seconds(duration: str | None) -> float | None:
    """Return the seconds of a protobuf duration in JSON, such as "37.5s"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", duration or "")
    return float(found[1]) if found else None


_MOST_STOPS = 5  # that the API takes; the chain heeds them all

_ROLES = {"user": "user", "assistant": "model"}

# The schema needs it; alone it makes an answer be some JSON.
_JSON = {"response_mime_type": "application/json"}
_JSON_KEY = "response_mime_type.application/json"


class ParsedPart(NamedTuple):
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

    def after(self, earlier: "ParsedPart") -> "ParsedPart":
        """Return what both say of the answer, but for the text.

        Args:
            earlier: What the chunks before have said.
        """
        return ParsedPart(
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
        thinking: What `parse_thinking` knows.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.

    Attributes:
        finished: What the finish reasons of complete answers, and of those that are
            cut, mean.
        blocked: The finish reasons of safety filters.
    """

    api_key_names: ClassVar[tuple[str, ...]] = API_KEY_NAMES
    default_model = DEFAULT_MODEL
    address = HOME
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
        self.thinking = parse_thinking(thinking)

    def retirement(self) -> Retirement | None:
        """Return when its model ends, if Google has said so."""
        return retirement(self.model)

    def _refused(self) -> Collection[str]:
        return refused(self.model)

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
    def _facts(self, answer: Any) -> ParsedPart:
        """Return what an answer, or a chunk of one, says.

        Raises:
            ProviderError: It is none, or the prompt is blocked.
        """

    def _read(self, answer: Any) -> LLMResponse:
        facts = self._facts(answer)
        if not answer.candidates:
            raise BadAnswerError(reason="answer without a candidate")
        with billed(facts.usage):
            check(facts.finish, self.finished, self.blocked)
        return self._response(facts, facts.text, spoke=bool(facts.text.strip()))

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        known, spoke = [ParsedPart()], False
        for event in until_whole(events, lambda: bool(known[-1].finish)):
            facts = self._facts(event)
            if facts.finish:
                with billed(facts.after(known[-1]).usage):
                    check(facts.finish, self.finished, self.blocked)
            if facts.text:
                spoke = spoke or bool(facts.text.strip())
                yield facts.text
            known[:] = [facts.after(known[-1])]
        if not known[-1].finish:
            raise cut_short(blank=not spoke)
        return self._response(known[-1], spoke=spoke)

    def _response(
        self, facts: ParsedPart, text: str = "", *, spoke: bool
    ) -> LLMResponse:
        """Return a complete answer.

        Args:
            facts: What is known of it.
            text: The text that has not been handed out.
            spoke: Whether there was any.
        """
        finish = self.finished[facts.finish]
        if not spoke and finish == "length":
            with billed(facts.usage):
                raise used_up(thought=self._thought(facts), remedy=self._remedy(facts))
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": facts.model or self.model,
                "usage": facts.usage,
                "finish_reason": finish,
                "request_id": facts.request_id,
            },
        )

    def _thought(self, facts: ParsedPart) -> bool:
        """Return whether the model has thought."""
        return bool(facts.thoughts)

    def _remedy(self, facts: ParsedPart) -> str:  # noqa: ARG002  # a subclass's
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
