"""What every API has in common."""

import json
from dataclasses import replace
from typing import Any

from wire import encoded

from ..messages import Answer, Attempt, Failure, Reply, Stream

TEXT = {
    400: "The request is not valid.",
    401: "The API key is not valid.",
    402: "There is an issue with your payment.",
    403: "Your API key does not have permission to use the specified resource.",
    404: "The requested resource was not found.",
    408: "Request timed out",
    409: "The resource was changed meanwhile",
    413: "Request exceeds the maximum allowed number of bytes.",
    429: "Too many requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Request timed out",
    529: "Overloaded",
}


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sse(value: object, event: str = "") -> bytes:
    """Return a server-sent event; bytes and text go out as they are."""
    data = compact(value) if isinstance(value, dict) else encoded(value)
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + data + b"\n\n"


def waiting(retry_after: float | None) -> dict[str, str]:
    """Return the Retry-After header."""
    return {} if retry_after is None else {"retry-after": f"{retry_after:g}"}


class Wire:
    """An API: its addresses, answers, streams and errors.

    Attributes:
        name: What scripts and attempts call it.
        ending: What an address ends with.
        request_id: The response header that names a request, if there is one.
        stream_type: The content type of a stream.
    """

    name: str
    ending: str
    request_id = ""
    stream_type = "text/event-stream; charset=utf-8"

    def matches(self, attempt: Attempt) -> bool:
        return attempt.method == "POST" and attempt.address.endswith(self.ending)

    def streams(self, attempt: Attempt) -> bool:
        return attempt.fields.get("stream") is True

    def model(self, attempt: Attempt) -> str:
        return str(attempt.fields.get("model", ""))

    def prompt(self, attempt: Attempt) -> str:
        """Return the last message's text."""
        messages = attempt.fields.get("messages") or [{}]
        return plain(messages[-1].get("content", ""))

    def healthy(self, attempt: Attempt, answer: Answer) -> Reply:
        """Return a good answer, in a stream if the request wants one."""
        answer = self.complete(attempt, answer)
        if not self.streams(attempt):
            return self.unstreamed(attempt, answer)
        opening, pieces, closing = self.stream(answer, attempt)
        headers = {"content-type": self.stream_type} | self.ids(attempt)
        return Reply(200, headers, closing, opening, pieces, streamed=True)

    def unstreamed(self, attempt: Attempt, answer: Answer) -> Reply:
        """Return a good answer in one piece, whatever the request wants."""
        body = self.unary(self.complete(attempt, answer))
        return self.reply(attempt, Failure(200, body))

    def complete(self, attempt: Attempt, answer: Answer) -> Answer:
        """Fill in what the request decides: the model, or a text out of the prompt."""
        text = answer.text
        return replace(
            answer,
            text=text(self.prompt(attempt)) if callable(text) else text,
            model=answer.model or self.model(attempt),
        )

    def reply(self, attempt: Attempt, said: Failure) -> Reply:
        """Return a response in one piece."""
        headers = {"content-type": "application/json"} | self.ids(attempt)
        headers |= {name.lower(): value for name, value in said.headers.items()}
        return Reply(said.status, headers, encoded(said.body))

    def failure(self, attempt: Attempt, said: Failure) -> Reply:
        """Return an error as a response."""
        return self.reply(attempt, said)

    def ids(self, attempt: Attempt) -> dict[str, str]:
        return {self.request_id: f"req_{attempt.number}"} if self.request_id else {}

    # What an API says, and how.

    def unary(self, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError

    def stream(self, answer: Answer, attempt: Attempt) -> Stream:
        """Return the stream of an answer; without its end if `finish` is None."""
        raise NotImplementedError

    def broken(self, attempt: Attempt) -> bytes:
        """Return a chunk of a stream with broken JSON in it."""
        raise NotImplementedError

    def error_event(self, attempt: Attempt, said: Failure) -> bytes:
        """Return an error as it comes within a stream that began well."""
        raise NotImplementedError

    def end_of_errors(self, attempt: Attempt) -> bytes:
        """Return what closes a stream after an error event."""
        return b""

    def separator(self, attempt: Attempt) -> bytes:
        """Return what stands between two chunks of a stream."""
        return b""

    def status(
        self, code: int, message: str | None, retry_after: float | None
    ) -> Failure:
        raise NotImplementedError

    def rate_limited(self, retry_after: float | None) -> Failure:
        return self.status(429, None, retry_after)

    def day_quota(self) -> Failure:
        raise NotImplementedError

    def billing(self) -> Failure:
        raise NotImplementedError

    def context_length(self) -> Failure:
        raise NotImplementedError

    def unsupported(self, parameter: str) -> Failure:
        raise NotImplementedError

    def bad_key(self) -> Failure:
        raise NotImplementedError

    def unknown_model(self, model: str) -> Failure:
        raise NotImplementedError


def plain(content: Any) -> str:
    """Return the text of a message: a text itself, or blocks that have some."""
    if isinstance(content, str):
        return content
    return "".join(each.get("text", "") for each in content)
