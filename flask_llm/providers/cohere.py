"""Cohere."""

import json
import math
import re
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from ..errors import ContentBlockedError, ProviderError, TransientError
from ..types import LLMResponse, Request, counted
from . import classify, internals
from .answers import (
    HELD,
    SHORT,
    ParsedResponse,
    billed,
    cut_short,
    finish_of,
    until_whole,
    words_or_tokens,
)
from .classify import MALFORMED
from .error_bodies import words_of
from .schema_dialects import cohere_schema
from .sdk import ChatProvider, chat_messages, image_url
from .transport import cancellable, without_user

# "An internal error" and "exceeded the allowed time", by the API's reference.
_FAILED = {"ERROR": "the generation failed", "TIMEOUT": "the generation took too long"}

# Of version 1, whose finish reasons some gateways still use.
_TOXIC = "ERROR_TOXIC"

_GARBLED = "broken characters of a stream pass unseen"

_CONTENT = ("content-start", "content-delta")


def answered(answer: Any) -> ParsedResponse:
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
    return ParsedResponse(
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
        """Yield its texts; afterwards it has been `parsed`.

        Raises:
            ProviderError: It says that it has failed.
        """
        for event in until_whole(self._events, lambda: self._end is not None):
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
    def parsed(self) -> ParsedResponse:
        """What all events were together.

        Raises:
            ProviderError: They were not the text of a model, or not the whole of it.
        """
        if self._end is None:
            raise cut_short(blank=self._is_blank)
        usage = _usage(getattr(self._end, "usage", None))
        with billed(usage):
            finish = _finished(self._end.finish_reason, self._end)
        return ParsedResponse(
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


def _finished(finish_reason: Any, event: object = None) -> str:
    """Return why an answer ended, if it is complete, or cut by `max_tokens`.

    Args:
        finish_reason: The API's word for it.
        event: What may have an `error`.
    """
    if finish_reason == _TOXIC:
        raise ContentBlockedError(reason="answer cut by a content filter")
    if finish_reason in _FAILED:
        raise _failure(event, _FAILED[finish_reason])
    return finish_of(finish_reason)


def _failure(event: object, reason: str) -> ProviderError:
    """Return the error that came within an answer, by its words if there are any."""
    found = (getattr(event, name, None) for name in ("error", "message"))
    words = next((each for each in found if isinstance(each, str)), "")
    if blocks(words):
        return ContentBlockedError(words)
    error = classify.from_text(words)
    if type(error) is ProviderError:
        return TransientError(words, reason=reason)
    return error


def _usage(usage: Any) -> dict[str, int] | None:
    """Return the tokens, which come as floats; the billed ones are fewer."""
    taken, given = _sides(getattr(usage, "tokens", None))
    billed_input, billed_output = _sides(getattr(usage, "billed_units", None))
    details = {
        "cached_tokens": _whole(getattr(usage, "cached_tokens", None)),
        "billed_input_tokens": None if billed_input == taken else billed_input,
        "billed_output_tokens": None if billed_output == given else billed_output,
    }
    return counted(taken, given, None, details)


def _sides(tokens: Any) -> tuple[int | None, int | None]:
    """Return the tokens of the prompt and of the answer, where they are told."""
    taken, given = (getattr(tokens, f"{each}_tokens", None) for each in _SIDES)
    return _whole(taken), _whole(given)


def _whole(tokens: object) -> int | None:
    is_number = isinstance(tokens, int | float) and math.isfinite(tokens)
    return int(tokens) if is_number else None  # type: ignore[call-overload]  # checked


_SIDES = ("input", "output")


# "A request or response contains a deny-listed token", by the API's own description;
# its class in the SDK is called InvalidTokenError.
_DENY_LISTED = 498

_REDIRECT = 300

_MOST_STOPS = 5  # the chain ends the answer at the others

_parse_thinking = words_or_tokens("auto", "off", least=1)


class CohereProvider(ChatProvider):
    """Cohere's models, by its Chat API, version 2.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Cohere's; a "/v1" or "/v2" at its end is dropped,
            since the SDK adds its own.
        timeout: Seconds that one attempt may take.
        thinking: "off"; "auto", which is off in calls of reasoning models with
            `max_tokens` below 4096 and the model's own habit in others; or the most
            tokens to think with. All but "auto" is sent to models too whose name does
            not say "reasoning".

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.
    """

    name = "cohere"
    module = "cohere"
    distribution = "cohere"
    requirement = '"Flask-LLM[cohere]"'
    api_key_names = ("COHERE_API_KEY", "CO_API_KEY")
    default_model = "command-a-03-2025"
    address = "https://api.cohere.com"
    options = {"thinking": _parse_thinking}  # noqa: RUF012  # never changed
    schema_parameter = "response_format"
    _can_rehearse = True

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
        self.thinking = _parse_thinking(thinking)

    def _import(self) -> Any:
        # The package itself imports nothing until it is asked for a name.
        from cohere import client_v2

        return client_v2

    def _connect(self) -> Any:
        import httpx
        from cohere import ClientV2

        address = self.base_url or self.address
        return ClientV2(
            self._api_key,
            # Always given: else CO_API_URL would decide where the key goes.
            base_url=re.sub(r"/v[12]/*$", "", without_user(address)),
            timeout=self.timeout,
            httpx_client=cancellable(httpx.Client(**self._http("httpx", address))),
            log_warning_experimental_features=False,
        )

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if config := self._thinking_config(request.max_tokens):
            optional["thinking"] = config
        if request.stop:
            optional["stop_sequences"] = list(request.stop[:_MOST_STOPS])
        if request.schema and (schema := cohere_schema(request.schema.json)):
            optional["response_format"] = {"type": "json_object", "schema": schema}
        return optional

    def _thinking_config(self, max_tokens: int) -> dict[str, Any] | None:
        """Return the `thinking` of a request, or None for the model's own habit."""
        if isinstance(self.thinking, int):
            budget = self.thinking if self.thinking < max_tokens else max_tokens // 2
            return {"type": "enabled", "token_budget": max(1, budget)}
        is_short = "reasoning" in self.model and max_tokens < SHORT
        if self.thinking == "off" or is_short:
            return {"type": "disabled"}
        return None

    def _adapted(self, request: Request) -> list[str]:
        if isinstance(self.thinking, str) or self.thinking < request.max_tokens:
            return []
        return [HELD]

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return client.chat(**self._asked(request, self._seconds(request)), **optional)

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        asked = self._asked(request, self._silence(request))
        return events_of(client.with_raw_response.chat_stream(**asked, **optional))

    def _asked(self, request: Request, seconds: float) -> dict[str, Any]:
        """Return the arguments of a call that every model takes."""
        return {
            "model": self.model,
            "max_tokens": request.max_tokens,
            # With a schema too the model must be told, by the API's documentation.
            "messages": chat_messages(request.instructed(), image_url),
            "request_options": _within(seconds),
        }

    def _read(self, answer: Any) -> LLMResponse:
        return answered(answer).response(self.name, self.model, self._thinking_off)

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        answer = Events(events)
        yield from answer.texts()
        return answer.parsed.response(self.name, self.model, self._thinking_off)

    def _list(self, client: Any) -> list[str]:
        found = client.models.list(
            endpoint="chat", page_size=1000, request_options=_within(self.timeout)
        )
        return [each.name for each in found.models]

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the API's own message: `str(exc)` is all headers."""
        status = getattr(exc, "status_code", None)
        if status is None:
            return super().explain(exc)
        if status < _REDIRECT:  # an answer, though a broken one
            return TransientError(type(exc).__name__, reason=MALFORMED)
        detail = words_of(getattr(exc, "body", None)) or type(exc).__name__
        if status == _DENY_LISTED or blocks(detail):
            return ContentBlockedError(detail, status=status)
        return classify.from_exception(exc, detail=detail)


def _within(seconds: float) -> dict[str, float]:
    """Return the options of a request that may take so long, and is sent once."""
    # Version 7.0 knows only the longer name, and takes no `max_retries` for a client.
    return {"timeout": seconds, "timeout_in_seconds": seconds, "max_retries": 0}
