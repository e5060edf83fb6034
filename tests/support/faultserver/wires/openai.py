"""OpenAI's Chat Completions, and all who copied them."""

from typing import Any

from ..messages import Answer, Attempt, Failure, Stream
from .base import TEXT, Wire, sse, waiting

_ID = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
_FINISH = {
    "stop": "stop",
    "length": "length",
    "refused": "content_filter",
    "blocked": "content_filter",
    None: None,
}
_KINDS = {429: ("requests", "rate_limit_exceeded"), 401: ("", "invalid_api_key")}
_LIMITED = (
    "Rate limit reached for gpt-6.1-terra in organization org-test on requests per"
    " min (RPM): Limit 500, Used 500, Requested 1."
)


class OpenAI(Wire):
    name = "openai"
    ending = "/chat/completions"
    request_id = "x-request-id"

    def unary(self, answer: Answer) -> dict[str, Any]:
        said = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": said,
            "logprobs": None,
            "finish_reason": _FINISH[answer.finish],
        }
        return _object("chat.completion", answer, choice) | _usage(answer)

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        opening = _chunk(answer, {"role": "assistant", "content": ""})
        if answer.thought:
            opening += _chunk(answer, {"reasoning_content": answer.thought})
        pieces = tuple(_chunk(answer, {"content": each}) for each in answer.pieces)
        if answer.finish is None:
            return Stream(opening, pieces, b"")
        closing = _chunk(answer, {}, _FINISH[answer.finish])
        options = attempt.fields.get("stream_options") or {}
        if options.get("include_usage"):
            closing += sse(_object("chat.completion.chunk", answer) | _usage(answer))
        return Stream(opening, pieces, closing + sse("[DONE]"))

    def broken(self, attempt: Attempt) -> bytes:
        return sse('{"id":"chatcmpl-B9MHDb","object":"chat.completion.chu')

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        return sse(said.body)

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        kind, reason = _KINDS.get(code, ("", None))
        kind = kind or ("invalid_request_error" if code < 500 else "server_error")
        text = message or (_LIMITED if code == 429 else TEXT.get(code, "Unknown error"))
        return _error(code, text, kind, reason, headers=waiting(retry_after))

    def day_quota(self) -> Failure:
        text = _LIMITED.replace("min (RPM)", "day (RPD)")
        return _error(429, text, "requests", "rate_limit_exceeded")

    def billing(self) -> Failure:
        text = (
            "You exceeded your current quota, please check your plan and billing"
            " details."
        )
        return _error(429, text, "insufficient_quota", "insufficient_quota")

    def context_length(self) -> Failure:
        text = (
            "This model's maximum context length is 128000 tokens. However, your"
            " messages resulted in 215001 tokens. Please reduce the length of the"
            " messages."
        )
        return _refused(text, "context_length_exceeded", "messages")

    def unsupported(self, parameter: str) -> Failure:
        if parameter == "temperature":
            text = (
                "Unsupported value: 'temperature' does not support 0.5 with this model."
                " Only the default (1) value is supported."
            )
            return _refused(text, "unsupported_value", parameter)
        text = f"Unsupported parameter: '{parameter}' is not supported with this model."
        if parameter == "max_tokens":
            text += " Use 'max_completion_tokens' instead."
        return _refused(text, "unsupported_parameter", parameter)

    def bad_key(self) -> Failure:
        return self.status(401, "Incorrect API key provided: sk-****test.", None)

    def unknown_model(self, model: str) -> Failure:
        text = f"The model `{model}` does not exist or you do not have access to it."
        return _error(404, text, "invalid_request_error", "model_not_found")


def _error(
    code: int,
    text: str,
    kind: str,
    reason: str | None,
    parameter: str | None = None,
    headers: dict[str, str] | None = None,
) -> Failure:
    error = {"message": text, "type": kind, "param": parameter, "code": reason}
    return Failure(code, {"error": error}, headers or {})


def _refused(text: str, reason: str, parameter: str) -> Failure:
    return _error(400, text, "invalid_request_error", reason, parameter)


def _object(kind: str, answer: Answer, *choices: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _ID,
        "object": kind,
        "created": 1795000000,
        "model": answer.model,
        "choices": list(choices),
    }


def _chunk(answer: Answer, delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse(_object("chat.completion.chunk", answer, choice))


def _usage(answer: Answer) -> dict[str, Any]:
    if answer.usage is None:
        return {}
    taken, given = answer.usage
    return {
        "usage": {
            "prompt_tokens": taken,
            "completion_tokens": given,
            "total_tokens": taken + given,
            "completion_tokens_details": {
                "reasoning_tokens": given if answer.thought else 0
            },
        }
    }
