"""Ollama's chat, on its own server and in its cloud."""

from typing import Any

from ..messages import Answer, Attempt, Failure, Stream
from .base import TEXT, Wire, compact, waiting

# It has no refusal of its own: what a filter would stop ends like anything else.
_FINISH = {"stop": "stop", "length": "length", "refused": "stop", "blocked": "stop"}


class Ollama(Wire):
    name = "ollama"
    ending = "/api/chat"
    stream_type = "application/x-ndjson"

    def streams(self, attempt: Attempt) -> bool:
        return attempt.fields.get("stream", True) is not False

    def unary(self, answer: Answer) -> dict[str, Any]:
        thought = {"thinking": answer.thought} if answer.thought else {}
        return _object(answer, str(answer.text), **thought) | _end(answer)

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        thought = answer.thought
        opening = _line(_object(answer, "", thinking=thought)) if thought else b""
        pieces = tuple(_line(_object(answer, each)) for each in answer.pieces)
        last = _line(_object(answer, "") | _end(answer)) if answer.finish else b""
        return Stream(opening, pieces, last)

    def broken(self, attempt: Attempt) -> bytes:
        return b'{"model":"llama3.2","message":{"role":"assis\n'

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        return _line(said.body)

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        text = message or TEXT.get(code, "unknown error")
        return Failure(code, {"error": text}, waiting(retry_after))

    def day_quota(self) -> Failure:
        text = (
            "you (somebody) have reached your weekly usage limit, upgrade for higher"
            " limits: https://ollama.com/upgrade"
        )
        return self.status(429, text, None)

    def billing(self) -> Failure:
        text = (
            "this model requires a subscription, upgrade for access:"
            " https://ollama.com/upgrade"
        )
        return self.status(403, text, None)

    def context_length(self) -> Failure:
        return self.status(400, "the input length exceeds the context length", None)

    def unsupported(self, parameter: str) -> Failure:
        return self.status(400, f'"llama3.2" does not support {parameter}', None)

    def bad_key(self) -> Failure:
        return self.status(401, "unauthorized", None)

    def unknown_model(self, model: str) -> Failure:
        return self.status(404, f"model '{model}' not found", None)


def _object(answer: Answer, text: str, **more: str) -> dict[str, Any]:
    return {
        "model": answer.model,
        "created_at": "2026-11-22T12:00:00.000000Z",
        "message": {"role": "assistant", "content": text, **more},
        "done": False,
    }


def _end(answer: Answer) -> dict[str, Any]:
    if answer.finish is None:
        return {}
    taken, given = answer.usage or (None, None)
    counts = {"prompt_eval_count": taken, "eval_count": given}
    end = {"done": True, "done_reason": _FINISH[answer.finish], "total_duration": 1000}
    return end | (counts if answer.usage else {})


def _line(value: object) -> bytes:
    return compact(value) + b"\n"
