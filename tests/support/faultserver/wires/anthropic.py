"""Anthropic's Messages API."""

from typing import Any

from wire import anthropic_error, message

from ..messages import Answer, Attempt, Failure, Stream
from .base import TEXT, Wire, sse, waiting

_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "refused": "refusal",
    "blocked": "refusal",
    None: None,
}
_LIMITED = (
    "This request would exceed your organization's rate limit of 50 requests per minute"
)


class Anthropic(Wire):
    name = "anthropic"
    ending = "/v1/messages"
    request_id = "request-id"

    def unary(self, answer: Answer) -> dict[str, Any]:
        content = [_block(kind, text) for kind, text in _blocks(answer)]
        changes = {"model": answer.model, "content": content}
        body = message(**changes, stop_reason=_FINISH[answer.finish])
        return body | _usage(answer) if answer.usage else _without(body, "usage")

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        opening = _start(self.unary(answer)) + _event("ping")
        pieces: tuple[bytes, ...] = ()
        closing = b""
        for index, (kind, _) in enumerate(_blocks(answer)):
            begin = _begin(index, kind)
            end = _event("content_block_stop", index=index)
            if kind == "text":
                opening += begin
                pieces = tuple(_delta(index, kind, each) for each in answer.pieces)
                closing += end
            else:
                opening += begin + _delta(index, kind, answer.thought) + end
        return Stream(opening, pieces, closing + _end(answer) if answer.finish else b"")

    def broken(self, attempt: Attempt) -> bytes:
        data = '{"type":"content_block_delta","index":0,"del'
        return sse(data, "content_block_delta")

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        body = said.body
        return sse(
            _without(body, "request_id") if isinstance(body, dict) else body, "error"
        )

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        default = "invalid_request_error" if code < 500 else "api_error"
        text = message or (_LIMITED if code == 429 else TEXT.get(code, "Unknown error"))
        body = anthropic_error(_KINDS.get(code, default), text)
        return Failure(code, body, waiting(retry_after))

    def day_quota(self) -> Failure:
        return self._refused(
            "You have reached your specified API usage limits. You will regain access"
            " on 2026-12-01 at 00:00 UTC."
        )

    def billing(self) -> Failure:
        return self._refused(
            "Your credit balance is too low to access the Anthropic API. Please go to"
            " Plans & Billing to upgrade or purchase credits."
        )

    def context_length(self) -> Failure:
        return self._refused("prompt is too long: 215001 tokens > 200000 maximum")

    def unsupported(self, parameter: str) -> Failure:
        return self._refused(f"{parameter}: Extra inputs are not permitted")

    def bad_key(self) -> Failure:
        return self.status(401, "invalid x-api-key", None)

    def unknown_model(self, model: str) -> Failure:
        return self.status(404, f"model: {model}", None)

    def _refused(self, text: str) -> Failure:
        return self.status(400, text, None)


def _blocks(answer: Answer) -> list[tuple[str, str]]:
    blocks = (("thinking", answer.thought), ("text", str(answer.text)))
    return [(kind, text) for kind, text in blocks if text]


def _block(kind: str, text: str) -> dict[str, str]:
    signature = {"signature": "EqQBCgIYAhIM1gbcDa9GJwZA"} if kind == "thinking" else {}
    return {"type": kind, kind: text} | signature


def _start(body: dict[str, Any]) -> bytes:
    """Return the beginning of a stream, which counts one token of the answer."""
    start = body | {"content": [], "stop_reason": None}
    if "usage" in body:
        start["usage"] = body["usage"] | {"output_tokens": 1}
    return _event("message_start", message=start)


def _begin(index: int, kind: str) -> bytes:
    block = _block(kind, "") | ({"signature": ""} if kind == "thinking" else {})
    return _event("content_block_start", index=index, content_block=block)


def _delta(index: int, kind: str, text: str) -> bytes:
    delta = {"type": f"{kind}_delta", kind: text}
    return _event("content_block_delta", index=index, delta=delta)


def _end(answer: Answer) -> bytes:
    delta = {"stop_reason": _FINISH[answer.finish], "stop_sequence": None}
    return _event("message_delta", delta=delta, **_usage(answer)) + _event(
        "message_stop"
    )


def _event(kind: str, **fields: object) -> bytes:
    return sse({"type": kind, **fields}, kind)


def _usage(answer: Answer) -> dict[str, Any]:
    if answer.usage is None:
        return {}
    taken, given = answer.usage
    return {"usage": {"input_tokens": taken, "output_tokens": given}}


def _without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}
