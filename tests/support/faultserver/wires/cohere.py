"""Cohere's chat, version 2."""

from typing import Any

from ..messages import Answer, Attempt, Failure, Stream
from .base import TEXT, Wire, sse, waiting

_ID = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"
_FINISH = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "refused": "ERROR",
    "blocked": "ERROR",
    None: None,
}


class Cohere(Wire):
    name = "cohere"
    ending = "/v2/chat"

    def unary(self, answer: Answer) -> dict[str, Any]:
        blocks = (("thinking", answer.thought), ("text", answer.text))
        content = [{"type": kind, kind: text} for kind, text in blocks if text]
        said = {"role": "assistant", "content": content}
        return {"id": _ID, "message": said} | _end(answer)

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        opening = _event("message-start", id=_ID, delta=_said(role="assistant"))
        if answer.thought:
            opening += _begin("thinking") + _delta("thinking", answer.thought) + _END
        opening += _begin("text")
        pieces = tuple(_delta("text", each) for each in answer.pieces)
        if answer.finish is None:
            return Stream(opening, pieces, b"")
        closing = _END + _event("message-end", id=_ID, delta=_end(answer))
        return Stream(opening, pieces, closing)

    def broken(self, attempt: Attempt) -> bytes:
        return sse('{"type":"content-delta","index":0,"del', "content-delta")

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        text = said.body["message"] if isinstance(said.body, dict) else str(said.body)
        delta = {"finish_reason": "ERROR", "error": text}
        return _event("message-end", id=_ID, delta=delta)

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        text = message or TEXT.get(code, "unknown error")
        return Failure(code, {"id": _ID, "message": text}, waiting(retry_after))

    def rate_limited(self, retry_after: float | None) -> Failure:
        text = (
            "You are past the per minute request limit, please wait and try again"
            " later."
        )
        return self.status(429, text, retry_after)

    def day_quota(self) -> Failure:
        text = (
            "You are using a Trial key, which is limited to 1000 API calls / month. You"
            " can continue to use the Trial key for free or upgrade to a Production key"
            " with higher rate limits at 'https://dashboard.cohere.com/api-keys'."
        )
        return self.status(429, text, None)

    def billing(self) -> Failure:
        text = (
            "Please add or update your payment method at"
            " https://dashboard.cohere.com/billing?tab=payment to continue"
        )
        return self.status(402, text, None)

    def context_length(self) -> Failure:
        text = "too many tokens: size limit exceeded by 87001 tokens."
        return self.status(400, text, None)

    def unsupported(self, parameter: str) -> Failure:
        text = f"unknown field: parameter '{parameter}' is not a valid field"
        return self.status(422, text, None)

    def bad_key(self) -> Failure:
        return self.status(401, "invalid api token", None)

    def unknown_model(self, model: str) -> Failure:
        text = f"model '{model}' not found, make sure the correct model ID was used"
        return self.status(404, text, None)


def _end(answer: Answer) -> dict[str, Any]:
    end: dict[str, Any] = {"finish_reason": _FINISH[answer.finish]}
    if answer.usage is None:
        return end
    taken, given = answer.usage
    counts = {"input_tokens": taken, "output_tokens": given}
    return end | {"usage": {"billed_units": counts, "tokens": counts}}


def _said(**message: object) -> dict[str, Any]:
    return {"message": message}


def _event(kind: str, **fields: object) -> bytes:
    return sse({"type": kind, **fields}, kind)


def _begin(kind: str) -> bytes:
    content = {"type": kind, kind: ""}
    return _event("content-start", index=0, delta=_said(content=content))


def _delta(kind: str, text: str) -> bytes:
    return _event("content-delta", index=0, delta=_said(content={kind: text}))


_END = _event("content-end", index=0)
