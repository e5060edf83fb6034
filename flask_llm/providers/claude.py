"""Claude, through the `anthropic` SDK."""

import warnings
from collections.abc import Collection, Generator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidRequestError, ProviderError
from ..messages import Image
from ..process import PerProcess
from ..schemas import Schema
from ..spans import has_span
from ..types import LLMResponse, Request
from . import internals
from .base import Retirement
from .chat import ChatProvider
from .claude_answers import follow, whole
from .claude_errors import from_status_error
from .messages import chat_messages
from .transport import client_options, cuttable, without_user
from .thinking import HELD, SHORT, words_or_tokens

_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp"}

_LEAST_BUDGET = 1024  # the API's own limit

_SENT_ALONG = "headers of ANTHROPIC_CUSTOM_HEADERS are sent along"


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
            learned from its refusals.

    Raises:
        ValueError: The key holds what no HTTP header can carry, or `thinking` is none
            of these.
    """

    name = "claude"
    module = "anthropic"
    distribution = "anthropic"
    requirement = "anthropic"
    api_key_names = ("ANTHROPIC_API_KEY",)
    default_model = "claude-sonnet-5-5"
    address = "https://api.anthropic.com"
    schema_parameter = "output_config"
    options = {"thinking": _parse_thinking}  # noqa: RUF012  # never changed

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
            http_client=cuttable(
                anthropic.DefaultHttpxClient(**client_options("httpx2", address))
            ),
            # Always given: else ANTHROPIC_BASE_URL would decide where the key goes.
            base_url=without_user(address),
            timeout=self.timeout,
            max_retries=0,
        )
        return _without_headers(client)

    def _connected(self) -> Any:
        client = super()._connected()
        return self._spanless.get() if has_span.get() else client

    def _without_spans(self) -> Any:
        """Return a client that makes no spans, on the connections of the usual one."""
        return _without_headers(self._client.get().with_options(open_telemetry=False))

    def _refused(self) -> Collection[str]:
        return ("temperature",)

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if config := _thinking_config(self.thinking, request.max_tokens):
            optional["thinking"] = config
        # The API refuses blank ones; the chain cuts the answer there.
        if stop := [each for each in request.stop if each.strip()]:
            optional["stop_sequences"] = stop
        if format_ := _format(request.schema):
            optional["output_config"] = {"format": format_}
        return optional

    def _adapted(self, request: Request) -> list[str]:
        budget, most = self.thinking, request.max_tokens
        if isinstance(budget, str) or budget < most:
            return []
        if most < 2 * _LEAST_BUDGET:
            return [f"thinking is off below {2 * _LEAST_BUDGET} max_tokens"]
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
        told = {"system": request.system} if request.system.strip() else {}
        return told | {
            "model": self.model,
            "max_tokens": request.max_tokens,
            "messages": chat_messages(replace(request, system=""), _picture),
        }

    def _read(self, answer: Any) -> LLMResponse:
        return whole(answer).response(self.name, self.model, self._remedy())

    def _follow(self, events: Any) -> Generator[str, None, LLMResponse]:
        said = yield from follow(events)
        return said.response(self.name, self.model, self._remedy())

    def _list(self, client: Any) -> list[str]:
        found = client.models.list(timeout=self.timeout)
        return [each.id for each in self._in_time(found)]

    def _remedy(self) -> str:
        """Return the setting that would keep the model from thinking, if one would."""
        if self.thinking == "off" or self._parameters.refuses("thinking.disabled"):
            return ""
        return f"{self.setting('thinking')}=off"

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error, with the API's own message and error type."""
        if getattr(exc, "status_code", None) is None:
            return super().explain(exc)
        return from_status_error(exc)


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


def _format(schema: Schema | None) -> dict[str, Any] | None:
    """Return the format of an answer, or None if the API cannot be told of it."""
    if schema is None:
        return None
    from .schema_dialects import closed

    said = closed(schema.json)
    return said and {"type": "json_schema", "schema": said}


def _thinking_config(thinking: str | int, max_tokens: int) -> Mapping[str, Any] | None:
    """Return the `thinking` of a request, or None for the model's own habit."""
    if isinstance(thinking, int):
        budget = thinking if thinking < max_tokens else max_tokens // 2
        if budget >= _LEAST_BUDGET:
            return {"type": "enabled", "budget_tokens": budget}
        return {"type": "disabled"}
    if thinking == "adaptive":
        return {"type": "adaptive"}
    if thinking == "off" or max_tokens < SHORT:
        return {"type": "disabled"}
    return None
