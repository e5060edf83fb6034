"""A streamed answer as a response of server-sent events."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from flask import Response, current_app, request, stream_with_context

from ..errors import StreamInterrupted
from ..factory import LLMFactory, Prompt
from ..fallback.logs import log, within
from ..stream import LLMStream, OnInterrupt, Restart
from . import sse
from .client import Client
from .surroundings import surroundings

_TYPE = "text/event-stream; charset=utf-8"
_HEADERS = {
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx hands on each event at once
}

# An EventSource connects again by itself, and then sends the last id that it has seen.
_BEGUN = "begun"

# By kind, where asking again would not help, or nobody is there; else 503.
_STATUS = {
    "invalid_request": 422,
    "context_length": 422,
    "content_blocked": 422,
    "closed": 499,  # as nginx logs a client that went away
}

# Seconds between two looks at whether the client is still there.
_LOOK_S = 0.25


class AppFactory(LLMFactory):
    """The factory of a Flask app, which also answers its requests."""

    def stream_response(  # noqa: PLR0913  # what a call may ask for
        self,
        prompt: Prompt,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        deadline: float | None = None,
        *,
        system: str = "",
        stop: str | Sequence[str] = (),
        on_interrupt: OnInterrupt = "raise",
        purpose: str | None = None,
    ) -> Response:
        """Answer a prompt by a response of server-sent events, for a view to return.

        The first text is there when this returns. If there will be none, the response
        has the status 503 (422 where the prompt is to blame) and one event, `error`.
        Asks no model for a HEAD request, nor when a browser's `EventSource` connects
        again by itself: that gets the status 204, which ends it. A client that leaves
        is noticed, also before the first text, and the provider's answer is stopped.

        Args:
            prompt: As for `stream_content`, like the other arguments.
            temperature: As for `stream_content`.
            max_tokens: As for `stream_content`.
            max_retries: As for `stream_content`.
            retry_delay: As for `stream_content`.
            deadline: As for `stream_content`.
            system: As for `stream_content`.
            stop: As for `stream_content`.
            on_interrupt: As for `stream_content`: what broke off ends with `error` if
                it is "raise", or goes on with `restart` if it is "restart".
            purpose: As for `generate_content`.

        Returns:
            A response of the events `start`, `delta`, `restart`, `done` and `error`.
        """
        if request.headers.get("Last-Event-ID") == _BEGUN:
            return Response(status=204, headers=_HEADERS)
        if request.method == "HEAD":
            return _response(iter(()))
        stream = self.stream_content(
            prompt,
            temperature,
            max_tokens,
            max_retries,
            retry_delay,
            deadline,
            system=system,
            stop=stop,
            on_interrupt=on_interrupt,
            is_gone=Client(request.environ).is_gone,
            purpose=purpose,
        )
        return event_stream(stream)

    def _surroundings(self) -> tuple[str, str | None]:
        return surroundings()


def event_stream(stream: LLMStream) -> Response:
    """Return a stream as the response that `stream_response` makes of it.

    For a stream that code without any request has opened, such as a service's. Needs
    the request context of an app with a `FlaskLLM`.

    Args:
        stream: What `stream_content` has returned, not yet read from. It is closed with
            the response, or as soon as the client has gone.
    """
    if stream.response is not None:
        kind = str(stream.response.metadata.get("error_kind"))
        told = sse.error(kind, stream.response.attempts)
        return _response(told, _STATUS.get(kind, 503))
    heartbeat: float = current_app.extensions["llm"].config.heartbeat
    events = _told(stream, heartbeat, Client(request.environ).is_gone)
    response = _response(stream_with_context(events))
    # For a server that never begins to read.
    response.call_on_close(stream.close)
    return response


def _response(body: str | Iterator[str], status: int = 200) -> Response:
    return Response(body, status, _HEADERS, content_type=_TYPE)


def _told(
    stream: LLMStream, heartbeat: float, is_gone: Callable[[], bool]
) -> Iterator[str]:
    """Yield the events of a stream, the last of them `done` or `error`."""
    # Closed here, where the signals' receivers still have the request's context.
    with closing(stream):
        try:
            yield _start(stream)
            yield from _texts(stream, heartbeat, is_gone)
        except StreamInterrupted as broken:
            yield sse.error(broken.error.kind, broken.attempts, partial=True)
        except Exception:  # noqa: BLE001  # it is logged
            # The status is sent, and no error handler of Flask's would be asked.
            with within(stream.origin):
                log.exception("A streamed response failed")
            yield sse.error("unknown", partial=bool(stream.text))


def _texts(
    stream: LLMStream, heartbeat: float, is_gone: Callable[[], bool]
) -> Iterator[str]:
    """Yield the events from the first text to the end, and heartbeats in between."""
    provider = stream.provider_name
    spoke = time.monotonic()
    while True:
        left = spoke + heartbeat - time.monotonic()
        text = stream.wait(max(0.0, min(_LOOK_S, left)))
        if isinstance(text, Restart):
            yield _restart(stream, provider)
            provider = stream.provider_name
        elif text is not None:
            yield sse.event("delta", {"text": text})
        elif stream.response is not None:
            break
        elif is_gone():
            return
        elif left <= _LOOK_S:
            yield sse.HEARTBEAT
        else:
            continue
        spoke = time.monotonic()
    yield _ending(stream)


def _start(stream: LLMStream) -> str:
    data = {"provider": stream.provider_name, "failed": sse.failed(stream.attempts)}
    return sse.event("start", data, _BEGUN)


def _restart(stream: LLMStream, before: str) -> str:
    failed = sse.failed(stream.attempts)
    reasons = {each["provider"]: each["reason"] for each in failed}
    data = {"provider": stream.provider_name, "reason": reasons.get(before, "")}
    return sse.event("restart", data | {"failed": failed})


def _ending(stream: LLMStream) -> str:
    response = stream.response
    if response is not None and response.success:
        return sse.done(response)
    return sse.error("closed", stream.attempts, partial=True)
