"""Claude, through the `anthropic` SDK."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from .. import classify
from ..errors import BadAnswerError, ContentBlockedError, ProviderError, TransientError
from ..types import LLMResponse, Request
from ..wording import MALFORMED
from .base import Retirement
from .http import client_options, without_user
from .retired import anthropic_ends
from .sdk import SdkProvider
from .thinking import HELD, SHORT, used_up, words_or_tokens

# Stop reasons of the Messages API that end an answer; the rest leave it incomplete.
_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}

_LEAST_BUDGET = 1024  # the API's own limit


_parse_thinking = words_or_tokens("off", "auto", "adaptive", least=_LEAST_BUDGET)


class ClaudeProvider(SdkProvider):
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

    def retirement(self) -> Retirement | None:
        """Return when Anthropic ends the model."""
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
        address = self.base_url or "https://api.anthropic.com"
        client = anthropic.Anthropic(
            api_key=self._api_key,
            http_client=anthropic.DefaultHttpxClient(
                **client_options("httpx2", address)
            ),
            # Always given: else ANTHROPIC_BASE_URL would decide where the key goes.
            base_url=without_user(address),
            timeout=self.timeout,
            max_retries=0,
        )
        # No argument keeps out the headers of ANTHROPIC_CUSTOM_HEADERS.
        client._custom_headers = {}  # noqa: SLF001  # there is no other door
        return client

    def _refused(self) -> Collection[str]:
        return ("temperature",)

    def _optional(self, request: Request) -> dict[str, Any]:
        optional = super()._optional(request)
        if config := _thinking_config(self.thinking, request.max_tokens):
            optional["thinking"] = config
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
            model=self.model,
            max_tokens=request.max_tokens,
            messages=[{"role": "user", "content": request.prompt}],
            timeout=self._seconds(request),
            **optional,
        )

    def _read(self, answer: Any) -> LLMResponse:
        content = getattr(answer, "content", None)
        if not isinstance(content, list):
            # A web page with status 200 comes back as str, other JSON as all None.
            raise TransientError(reason=MALFORMED)
        # Unknown kinds of block arrive as TextBlock too: only the type tells.
        parts = [block.text for block in content if block.type == "text"]
        text = "".join(part for part in parts if part)
        _check(answer.stop_reason)
        if not text.strip() and _FINISHED[answer.stop_reason] == "length":
            raise used_up(thought=_has_thought(answer), remedy=self._remedy())
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": answer.model,
                "usage": _usage(answer.usage),
                "finish_reason": _FINISHED[answer.stop_reason],
                "request_id": getattr(answer, "_request_id", None),
            },
        )

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
        told = _told(exc)
        message = told.get("message")
        return classify.from_exception(
            exc,
            # Without one the body is a proxy's page: its class says enough.
            detail=message if isinstance(message, str) else type(exc).__name__,
            code=_code(told),
        )


def _told(exc: Exception) -> dict[str, Any]:
    """Return the `error` object of the body; the SDK's own attributes came later."""
    body = getattr(exc, "body", None)
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _code(told: dict[str, Any]) -> Any:
    """Return the cause: the `error_code` of the details if it is known, or the type."""
    details = told.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return code if classify.knows(code) else told.get("type")


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


def _has_thought(answer: Any) -> bool:
    """Return whether an answer holds thinking, or its usage counts some."""
    if any(block.type in {"thinking", "redacted_thinking"} for block in answer.content):
        return True
    details = getattr(answer.usage, "output_tokens_details", None)
    return bool(getattr(details, "thinking_tokens", None))


def _check(stop_reason: str | None) -> None:
    """Raise unless the answer is complete, or cut by `max_tokens`."""
    if stop_reason == "refusal":
        raise ContentBlockedError(reason="refused to answer")
    if stop_reason not in _FINISHED:
        raise BadAnswerError(reason=f"incomplete answer (stop reason: {stop_reason})")


def _usage(usage: Any) -> dict[str, int] | None:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    # Tokens of the prompt that the API's cache takes or holds are counted apart.
    cached = (usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    taken, made = usage.input_tokens + sum(filter(None, cached)), usage.output_tokens
    return {"input_tokens": taken, "output_tokens": made, "total_tokens": taken + made}
