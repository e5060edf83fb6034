"""Google's Generative Language API, over REST."""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from wire import (
    KEY_INVALID,
    blocked_prompt,
    encoded,
    exhausted,
    generated,
    google_detail,
    google_error,
)

from ..messages import Answer, Attempt, Failure, Reply, Stream
from .base import TEXT, Wire, compact, plain, sse

_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TEXT = TEXT | {
    500: "An internal error has occurred. Please retry.",
    503: "The model is overloaded. Please try again later.",
    504: "The request timed out. Please try again.",
}
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "refused": "SAFETY", None: None}
_ADDRESS = re.compile(r"/models/([^/]+):(generateContent|streamGenerateContent)$")


class Gemini(Wire):
    name = "gemini"
    stream_type = "application/json; charset=UTF-8"

    def matches(self, attempt: Attempt) -> bool:
        return _ADDRESS.search(attempt.address) is not None

    def streams(self, attempt: Attempt) -> bool:
        return ":streamGenerateContent" in attempt.path

    def model(self, attempt: Attempt) -> str:
        found = _ADDRESS.search(attempt.address)
        return found[1] if found else ""

    def prompt(self, attempt: Attempt) -> str:
        contents = attempt.fields.get("contents") or [{}]
        return plain(contents[-1].get("parts", ""))

    def unary(self, answer: Answer) -> dict[str, Any]:
        facts = {"modelVersion": answer.model} | _usage(answer)
        if answer.finish == "blocked":
            return blocked_prompt() | facts
        texts = [str(answer.text)] if answer.text else []
        body = generated(*texts, finish=_FINISH[answer.finish]) | facts
        if answer.usage is None:
            del body["usageMetadata"]
        return body

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        pieces = [
            self.unary(replace(answer, text=each, finish=None))
            for each in answer.pieces
        ]
        last = [self._last(answer)] if answer.finish else []
        framed = _framed([*pieces, *last], attempt)
        bracket = b"" if _by_sse(attempt) else b"]"
        closing = framed[-1] if last else b""
        opening = b"" if _by_sse(attempt) else b"["
        return Stream(opening, tuple(framed[: len(pieces)]), closing + bracket)

    def _last(self, answer: Answer) -> dict[str, Any]:
        body = self.unary(replace(answer, text=""))
        if answer.text:
            # The real one's has a part too; without it `.text` of the SDK raises.
            said = {"role": "model", "parts": [{"text": ""}]}
            body["candidates"][0]["content"] = said
        return body

    def healthy(self, attempt: Attempt, answer: Answer) -> Reply:
        reply = super().healthy(attempt, answer)
        if not (reply.streamed and _by_sse(attempt)):
            return reply
        return replace(
            reply, headers={**reply.headers, "content-type": Wire.stream_type}
        )

    def failure(self, attempt: Attempt, said: Failure) -> Reply:
        if self.streams(attempt) and not _by_sse(attempt):
            # So the real service does, to the sorrow of its own SDK.
            said = said._replace(body=b"[" + encoded(said.body) + b"]")
        return super().failure(attempt, said)

    def broken(self, attempt: Attempt) -> bytes:
        data = b'{"candidates":[{"content":{"parts":[{"te'
        return sse(data) if _by_sse(attempt) else data

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        return sse(said.body) if _by_sse(attempt) else encoded(said.body)

    def end_of_errors(self, attempt: Attempt) -> bytes:
        return b"" if _by_sse(attempt) else b"]"

    def separator(self, attempt: Attempt) -> bytes:
        return b"" if _by_sse(attempt) else b",\r\n"

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        delay = None if retry_after is None else f"{retry_after:g}s"
        if code == 429 and message is None:
            return Failure(429, exhausted(delay))
        text = message or _TEXT.get(code, "Unknown error")
        wait = [google_detail("RetryInfo", retryDelay=delay)] if delay else []
        return Failure(
            code, google_error(code, _NAMES.get(code, "UNKNOWN"), text, *wait)
        )

    def day_quota(self) -> Failure:
        return Failure(429, exhausted(quota="PerDay"))

    def billing(self) -> Failure:
        text = (
            "Your prepayment credits are depleted. Please go to AI Studio to manage"
            " your project and billing."
        )
        return self.status(429, text, None)

    def context_length(self) -> Failure:
        text = (
            "The input token count (1200000) exceeds the maximum number of tokens"
            " allowed (1048576)."
        )
        return self.status(400, text, None)

    def unsupported(self, parameter: str) -> Failure:
        text = (
            f'Invalid JSON payload received. Unknown name "{parameter}" at'
            " 'generation_config': Cannot find field."
        )
        violation = {"field": "generation_config", "description": text}
        detail = google_detail("BadRequest", fieldViolations=[violation])
        return Failure(400, google_error(400, "INVALID_ARGUMENT", text, detail))

    def bad_key(self) -> Failure:
        return Failure(400, KEY_INVALID)

    def unknown_model(self, model: str) -> Failure:
        text = (
            f"models/{model} is not found for API version v1beta, or is not supported"
            " for generateContent. Call ListModels to see the list of available models"
            " and their supported methods."
        )
        return self.status(404, text, None)


def _by_sse(attempt: Attempt) -> bool:
    return "sse" in parse_qs(attempt.path.partition("?")[2]).get("alt", ())


def _framed(bodies: list[dict[str, Any]], attempt: Attempt) -> list[bytes]:
    """Return the chunks of a stream: events, or the elements of a JSON list."""
    if _by_sse(attempt):
        return [sse(each) for each in bodies]
    return [
        (b",\r\n" if number else b"") + compact(each)
        for number, each in enumerate(bodies)
    ]


def _usage(answer: Answer) -> dict[str, Any]:
    if answer.usage is None:
        return {}
    taken, given = answer.usage
    kind = "thoughtsTokenCount" if answer.thought else "candidatesTokenCount"
    counts = {"promptTokenCount": taken, kind: given, "totalTokenCount": taken + given}
    return {"usageMetadata": counts}
