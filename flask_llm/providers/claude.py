"""Claude, through the `anthropic` SDK."""

from typing import Any

from .. import classify
from ..errors import BadAnswerError, ContentBlockedError, ProviderError, TransientError
from ..types import LLMResponse, Request
from ..wording import MALFORMED
from .sdk import SdkProvider, log_temperature_not_sent, temperature_not_sent

# Stop reasons of the Messages API that end an answer; the rest leave it incomplete.
_FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class ClaudeProvider(SdkProvider):
    """Claude, by Anthropic's Messages API.

    Version 2 of the SDK has no `temperature`, and API version 2026-10-21, which it
    asks for, refuses it for every model. So it is dropped: `metadata["warnings"]` says
    so in each answer, and the log once if a temperature above 0 was asked for.
    """

    name = "claude"
    module = "anthropic"
    requirement = "anthropic"
    api_key_names = ("ANTHROPIC_API_KEY",)
    default_model = "claude-sonnet-5-5"

    def _connect(self) -> Any:
        from anthropic import Anthropic, DefaultHttpxClient

        return Anthropic(
            api_key=self._api_key,
            # A redirect would take the prompt to another host.
            http_client=DefaultHttpxClient(follow_redirects=False),
            # Always given: else ANTHROPIC_BASE_URL would decide where the key goes.
            base_url=self.base_url or "https://api.anthropic.com",
            timeout=self.timeout,
            max_retries=0,
        )

    def _send(self, client: Any, request: Request) -> Any:
        if request.temperature:
            log_temperature_not_sent(self.model)
        return client.messages.create(
            model=self.model,
            max_tokens=request.max_tokens,
            messages=[{"role": "user", "content": request.prompt}],
        )

    def _read(self, answer: Any) -> LLMResponse:
        content = getattr(answer, "content", None)
        if not isinstance(content, list):
            # A web page with status 200 comes back as str, other JSON as all None.
            raise TransientError(reason=MALFORMED)
        # Unknown kinds of block arrive as TextBlock too: only the type tells.
        parts = [block.text for block in content if block.type == "text"]
        text = "".join(part for part in parts if part)
        _check(answer.stop_reason, text)
        return LLMResponse(
            success=True,
            content=text,
            provider_name=self.name,
            metadata={
                "model": answer.model,
                "usage": _usage(answer.usage),
                "finish_reason": _FINISHED[answer.stop_reason],
                "request_id": getattr(answer, "_request_id", None),
                "warnings": [temperature_not_sent(self.model)],
            },
        )

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
            code=told.get("type"),
        )


def _told(exc: Exception) -> dict[str, Any]:
    """Return the `error` object of the body; the SDK's own attributes came later."""
    body = getattr(exc, "body", None)
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _check(stop_reason: str | None, text: str) -> None:
    """Raise unless the answer is complete, or cut by `max_tokens` with some text."""
    if stop_reason == "refusal":
        raise ContentBlockedError(reason="refused to answer")
    if stop_reason not in _FINISHED:
        raise BadAnswerError(reason=f"incomplete answer (stop reason: {stop_reason})")
    if not text and _FINISHED[stop_reason] == "length":
        raise BadAnswerError(
            reason="max_tokens used up before any text", advice="raise max_tokens"
        )


def _usage(usage: Any) -> dict[str, int] | None:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
