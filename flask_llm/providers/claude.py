"""Anthropic's Claude."""

import re
import sys
import warnings
from collections.abc import Collection, Generator, Mapping
from typing import Any

from ..config.parsers import one_of
from ..errors import (
    BadAnswerError,
    ContentBlockedError,
    InvalidRequestError,
    ProviderError,
    TransientError,
)
from ..resilience.clock import PerProcess
from ..schema import Schema
from ..types import Image, LLMResponse, Request, counted
from . import classify, internals
from .answers import (
    HELD,
    SHORT,
    ParsedResponse,
    cut_short,
    until_whole,
    words_or_tokens,
)
from .base import Retirement
from .classify import MALFORMED
from .error_bodies import codes_of, fields_of, words_of
from .sdk import ChatProvider, chat_messages, has_span
from .transport import cancellable, without_user

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
_COUNTS = (*_TAKEN, _GIVEN)
_THOUGHT, _HOUR = "thinking_tokens", "ephemeral_1h_input_tokens"
_DETAILS = (
    ("cache_read_input_tokens", "cached_tokens"),
    ("cache_creation_input_tokens", "cache_write_tokens"),
    (_THOUGHT, "reasoning_tokens"),
    (_HOUR, "cache_write_1h_tokens"),
)
_WRITTEN = _TAKEN[1]


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
        self.is_blank, self._has_thought = True, False
        self.stop_reason: str | None = message.stop_reason
        self.count(message.usage)

    def text(self, part: Any) -> str:
        """Return the text of a content block, or of a piece of one.

        Unknown kinds have the classes of known ones: only the type tells.
        """
        self._has_thought |= part.type in _THOUGHTS
        text: str = (part.text or "") if part.type in _TEXTS else ""
        is_blank = not text.strip()  # also fails on what is no text
        self.is_blank = self.is_blank and is_blank
        return text

    def count(self, usage: Any) -> None:
        """Note the tokens that the API has counted until now."""
        # What a stream begins with is no count of its answer.
        for name in _COUNTS if self.stop_reason else _TAKEN:
            tokens = getattr(usage, name, None)
            if tokens is not None:
                self._tokens[name] = tokens
        if self._tokens.get(_WRITTEN):
            self._count_hour(getattr(usage, "cache_creation", None))
        details = getattr(usage, "output_tokens_details", None)
        if details is not None:
            thought = getattr(details, _THOUGHT, None)
            if thought is not None:
                self._tokens[_THOUGHT] = thought
                self._has_thought |= bool(thought)

    def _count_hour(self, written: Any) -> None:
        tokens = getattr(written, _HOUR, None)
        if tokens is not None:
            self._tokens[_HOUR] = tokens

    def parsed(self, text: str) -> ParsedResponse:
        """Return the answer, now that it has come to its end.

        Args:
            text: What of it has not been handed out.

        Raises:
            ProviderError: It is refused or incomplete.
        """
        usage = self._usage()
        if self.stop_reason not in _FINISHED:
            error = self._unfinished()
            error.usage = usage
            raise error
        return ParsedResponse(
            text=text,
            is_blank=self.is_blank,
            finish_reason=_FINISHED[self.stop_reason],
            usage=usage,
            has_thought=self._has_thought,
            request_id=self._request_id,
            model=self._model,
        )

    def _unfinished(self) -> ProviderError:
        if self.stop_reason == "refusal":
            return ContentBlockedError(reason="refused to answer")
        reason = f"incomplete answer (stop reason: {self.stop_reason})"
        return BadAnswerError(reason=reason)

    def _usage(self) -> dict[str, int] | None:
        tokens = self._tokens
        if _TAKEN[0] not in tokens:
            return None
        given = tokens[_GIVEN] if _GIVEN in tokens else None  # noqa: SIM401  # no call
        taken, told = 0, {}
        for name in _TAKEN:
            if name in tokens:
                taken += tokens[name]
        for key, name in _DETAILS:
            if key in tokens:
                told[name] = tokens[key]
        return counted(taken, given, None, told)


def whole(message: Any) -> ParsedResponse:
    """Return an answer that came at once.

    Raises:
        ProviderError: It is none.
    """
    content = getattr(message, "content", None)
    if type(content) is not list:
        # A web page with status 200 comes back as str, other JSON as all None.
        raise TransientError(reason=MALFORMED)
    answer = Answer(message, getattr(message, "_request_id", None))
    return answer.parsed("".join([answer.text(block) for block in content]))


def follow(events: Any) -> Generator[str, None, ParsedResponse]:
    """Yield the texts of the SDK's stream, and return what it told of the answer.

    Raises:
        ProviderError: It is no such stream, or has no end or a bad one.
    """
    start: Any = next(iter(events), None)
    if getattr(start, "type", None) != "message_start":
        # JSON or a web page with status 200 comes as a stream without events.
        raise TransientError(reason=MALFORMED)
    answer = Answer(start.message, events.response.headers.get("request-id"))
    rest = until_whole(events, lambda: answer.stop_reason is not None)
    is_over = False
    for event in rest:
        if event.type in {"content_block_start", "content_block_delta"}:
            part = event.delta if "delta" in event.type else event.content_block
            if text := answer.text(part):
                yield text
        elif event.type == "message_delta":
            answer.stop_reason = event.delta.stop_reason or answer.stop_reason
            answer.count(event.usage)
        elif event.type == "message_stop":
            is_over = True
            break
    if answer.stop_reason is None and not is_over:
        raise cut_short(blank=answer.is_blank)
    for _ in rest:  # so that the connection can be used again
        pass
    return answer.parsed("")


_STREAMED = 200
# The statuses that the errors have outside of streams, by their types.
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def from_status_error(exc: Any) -> ProviderError:
    """Return the error for an `APIStatusError`, with the API's own words and type.

    Args:
        exc: The SDK's exception.
    """
    body = getattr(exc, "body", None)
    code = _code(body)
    # Without words the body is a proxy's page: its class says enough.
    detail = words_of(body) or type(exc).__name__
    if exc.status_code == _STREAMED:
        kinds = (_STATUSES[each] for each in codes_of(body) if each in _STATUSES)
        status = next(kinds, _STATUSES["api_error"])
        return classify.from_status(status, detail, code=code)
    return classify.from_exception(exc, detail=detail, code=code)


def _code(body: Any) -> str | None:
    """Return the cause: the `error_code` of the details if it is known, or the type."""
    details = (fields.get("details") for fields in fields_of(body))
    exact = (each.get("error_code") for each in details if isinstance(each, dict))
    return next(filter(classify.knows, (*exact, *codes_of(body))), None)


_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp"}

_LEAST_BUDGET = 1024  # the API's own limit

# They take neither "disabled" nor a budget, but "adaptive" and "between_tools", which
# without tools is no thinking at all ("What's new in Claude Sonnet 5.5").
_STRICT = re.compile(r"claude-(?:sonnet|haiku)-5-5(?!\d)")

_SENT_ALONG = "headers of ANTHROPIC_CUSTOM_HEADERS are sent along"


_parse_cache = one_of("off", "5m", "1h")
_parse_thinking = words_or_tokens("off", "auto", "adaptive", least=_LEAST_BUDGET)


class ClaudeProvider(ChatProvider):
    """Claude, by Anthropic's Messages API.

    Version 2 of the SDK has no `temperature`, and API version 2026-10-21, which it
    asks for, refuses it for every model (migration guide of the SDK). So it is dropped:
    `metadata["warnings"]` says so in each answer, and the log once if a temperature
    above 0 was asked for.

    Args:
        api_key: The key.
        model: Model instead of the default one.
        base_url: Address instead of Anthropic's.
        timeout: Seconds that one attempt may take.
        thinking: "off"; "auto", which is off in calls with `max_tokens` below 4096 and
            the model's own habit in others; "adaptive", which lets the model decide; or
            the most tokens to think with, from 1024. Which of them a model takes is
            learned from its refusals. Sonnet 5.5 and Haiku 5.5 take no budget: theirs
            is "adaptive".
        prompt_cache: For how long Anthropic keeps what the system says, which the next
            prompts then read from there: "off", "5m" or "1h".

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` or
            `prompt_cache` is none of these.
    """

    name = "claude"
    module = "anthropic"
    distribution = "anthropic"
    requirement = "anthropic"
    api_key_names = ("ANTHROPIC_API_KEY",)
    default_model = "claude-sonnet-5-5"
    address = "https://api.anthropic.com"
    schema_parameter = "output_config"
    _can_rehearse = True
    options = {  # noqa: RUF012  # never changed
        "thinking": _parse_thinking,
        "prompt_cache": _parse_cache,
    }

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        thinking: str | int = "auto",
        prompt_cache: str = "off",
    ) -> None:
        super().__init__(api_key, model=model, base_url=base_url, timeout=timeout)
        self.thinking = _parse_thinking(thinking)
        self.prompt_cache = _parse_cache(prompt_cache)
        self._is_strict = _STRICT.match(self.model) is not None
        self._off = {"type": "between_tools" if self._is_strict else "disabled"}
        self._thinking_parameter = "thinking", f"thinking.{self._off['type']}"
        self._spanless = PerProcess(self._without_spans)

    def retirement(self) -> Retirement | None:
        """Return when Anthropic ends the model."""
        from .model_lifecycle import anthropic_ends

        end = anthropic_ends().get(self.model)
        return None if end is None else Retirement(end)

    def _import(self) -> Any:
        # The SDK warns at each call, which must not fail it under `-W error`. For good,
        # not within catch_warnings, which threads must not share.
        message = "(The model|Using Claude) .* is deprecated"
        warnings.filterwarnings("ignore", message=message)
        return super()._import()

    def _connect(self) -> Any:
        anthropic = self._import()
        address = self.base_url or self.address
        client = anthropic.Anthropic(
            api_key=self._api_key,
            http_client=cancellable(
                anthropic.DefaultHttpxClient(**self._http("httpx2", address))
            ),
            # Always given: else ANTHROPIC_BASE_URL would decide where the key goes.
            base_url=without_user(address),
            timeout=self.timeout,
            max_retries=0,
        )
        return _without_headers(client)

    def _connected(self) -> Any:
        client = super()._connected()
        if has_span.get() or not _is_traced():
            return self._spanless.get()
        return client

    def _rehearsing(self) -> Any:
        return self._connect().with_options(open_telemetry=False)

    def _without_spans(self) -> Any:
        """Return a client that makes no spans, on the connections of the usual one."""
        return _without_headers(self._client.get().with_options(open_telemetry=False))

    def _refused(self) -> Collection[str]:
        return ("temperature",)

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if config := self._thinking_config(request.max_tokens):
            optional["thinking"] = config
        # The API refuses blank ones; the chain cuts the answer there.
        stop = request.stop and [each for each in request.stop if each.strip()]
        if stop:
            optional["stop_sequences"] = stop
        if request.schema is not None and (format_ := _format(request.schema)):
            optional["output_config"] = {"format": format_}
        return optional

    def _thinking_config(self, max_tokens: int) -> Mapping[str, Any] | None:
        """Return the `thinking` of a request, or None for the model's own habit."""
        thinking = self.thinking
        if type(thinking) is int:
            budget = thinking if thinking < max_tokens else max_tokens // 2
            if budget < _LEAST_BUDGET:
                return self._off
            if self._is_strict:
                return {"type": "adaptive"}
            return {"type": "enabled", "budget_tokens": budget}
        if thinking == "adaptive":
            return {"type": "adaptive"}
        return self._off if thinking == "off" or max_tokens < SHORT else None

    def _adapted(self, request: Request) -> list[str]:
        budget, most = self.thinking, request.max_tokens
        if type(budget) is not int or (budget < most and not self._is_strict):
            return []
        if most < 2 * _LEAST_BUDGET:
            return [f"thinking is off below {2 * _LEAST_BUDGET} max_tokens"]
        if self._is_strict:
            return [f"{self.model} takes no budget for thinking: it is adaptive"]
        return [HELD]

    def _send(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return client.messages.create(
            **self._asked(request), timeout=self._seconds(request), **optional
        )

    def _open(self, client: Any, request: Request, optional: dict[str, Any]) -> Any:
        return client.messages.create(
            **self._asked(request),
            timeout=self._silence(request),
            stream=True,
            **optional,
        )

    def _asked(self, request: Request) -> dict[str, Any]:
        # What the system says stands apart; of blanks the API will not hear.
        asked = {
            "model": self.model,
            "max_tokens": request.max_tokens,
            "messages": chat_messages(request, _picture, with_system=False),
        }
        if request.system and request.system.strip():
            asked["system"] = request.system
            if self.prompt_cache != "off":
                kept = {"type": "ephemeral", "ttl": self.prompt_cache}
                said = {"type": "text", "text": request.system, "cache_control": kept}
                asked["system"] = [said]
        return asked

    def _read(self, answer: Any) -> LLMResponse:
        return whole(answer).response(self.name, self.model, self._thinking_off)

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        parsed = yield from follow(events)
        return parsed.response(self.name, self.model, self._thinking_off)

    def _list(self, client: Any) -> list[str]:
        found = client.models.list(timeout=self.timeout)
        return [each.id for each in self._in_time(found)]

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the API's own message and error type."""
        if getattr(exc, "status_code", None) is None:
            return super().explain(exc)
        return from_status_error(exc)


def _is_traced() -> bool:
    """Return whether the app has set up OpenTelemetry.

    Else the SDK's spans reach nobody, and are a twentieth of the work of a call.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    try:
        provider = trace.get_tracer_provider()
    except Exception:  # noqa: BLE001  # OTEL_PYTHON_TRACER_PROVIDER names none that is there
        return False
    return not isinstance(provider, trace.ProxyTracerProvider)


def _without_headers(client: Any) -> Any:
    """Return a client that sends no headers of ANTHROPIC_CUSTOM_HEADERS."""
    # No argument keeps them out.
    internals.replace(client, "_custom_headers", {}, _SENT_ALONG)
    return client


def _picture(image: Image) -> dict[str, Any]:
    """Return the content block of a picture."""
    source = {"type": "url", "url": image.url}
    if not image.url:
        if image.media_type not in _PICTURES:
            raise InvalidRequestError(reason="takes JPEG, PNG, GIF and WebP only")
        source = {
            "type": "base64",
            "media_type": image.media_type,
            "data": image.base64,
        }
    return {"type": "image", "source": source}


def _format(schema: Schema) -> dict[str, Any] | None:
    """Return the format of an answer, or None if the API cannot be told of it."""
    from .schema_dialects import closed

    known = closed(schema.json)
    return known and {"type": "json_schema", "schema": known}
