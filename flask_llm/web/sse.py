"""Streams to a browser, as server-sent events.

The events reach people: they hold our own words only, never a provider's, and no advice
that is meant for the developer.
"""

import json
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from flask import (
    Request,
    Response,
    current_app,
    g,
    has_request_context,
    request,
    stream_with_context,
)

from ..errors import BY_KIND, ProviderError, StreamInterrupted
from ..factory import LLMFactory, Prompt, Routing
from ..fallback.logs import log, within
from ..fallback.stream import LLMStream, OnInterrupt, Restart
from ..types import Attempt, LLMResponse

HEARTBEAT = ":\n\n"
"""A comment: keeps a connection alive, and shows the server when it is not."""

_MESSAGES = {
    "invalid_request": "This cannot be answered as it was asked.",
    "context_length": "This is too long to be answered.",
    "content_blocked": "The model declined to answer this.",
    "deadline": "The answer took too long.",
}
_NOBODY = "No model can answer now."
_BROKE_OFF = "The answer broke off."


def event(name: str, data: dict[str, Any], event_id: str = "") -> str:
    """Return an event as it is sent.

    Args:
        name: What the browser listens to.
        data: Sent as JSON; ASCII only, so that no text can break a line or an encoding.
        event_id: What a browser that connects again by itself sends back.
    """
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, default=str)}\n\n"


def failed(attempts: Iterable[Attempt]) -> list[dict[str, str]]:
    """Return who has not answered, each once, and why: the kind and our word for it."""
    last = {each.provider: each.outcome for each in attempts}
    return [
        {"provider": provider, "kind": kind, "reason": _reason(kind)}
        for provider, kind in last.items()
        if kind != "success"
    ]


def done(response: LLMResponse) -> str:
    """Return the event of an answer that its provider has ended.

    The warnings of its metadata stay out: they name models and parameters.
    """
    known = response.metadata
    data = {
        "provider": response.provider_name,
        "model": response.model,
        "usage": response.usage_told,
        "finish_reason": known.get("finish_reason"),
        "latency_s": known.get("latency_s"),
        "first_token_s": known.get("first_token_s"),
        "failed": failed(response.attempts),
    }
    return event("done", data)


def error(kind: str, attempts: Iterable[Attempt] = (), *, partial: bool = False) -> str:
    """Return the event of an answer that did not come, or broke off.

    Args:
        kind: As in `metadata["error_kind"]`.
        attempts: Every try.
        partial: Whether some text has come, which is no complete answer.
    """
    message = _BROKE_OFF if partial else _MESSAGES.get(kind, _NOBODY)
    data = {"kind": kind, "message": message, "partial": partial}
    return event("error", data | {"failed": failed(attempts)})


def _reason(kind: str) -> str:
    return BY_KIND.get(kind, ProviderError).reason


# How gunicorn and Werkzeug call the connection in a WSGI environment.
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")

# What the system has of these; none of them waits for anything to be read.
_GONE = 0
for _name in ("POLLRDHUP", "POLLHUP", "POLLERR"):
    _GONE |= getattr(select, _name, 0)


class Client:
    """Who has sent a request.

    One that has only closed its own direction counts as gone, as for most proxies.

    Args:
        environ: The request's WSGI environment. With no socket in it that is known
            here, the client counts as there.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        found = (environ[each] for each in _SOCKETS if each in environ)
        self._socket = next(found, None)

    def is_gone(self) -> bool:
        """Return whether it has closed the connection; never waits."""
        if self._socket is None or not _GONE:
            return False
        if self._socket.fileno() < 0:  # the server has closed it
            return True
        # Not select(), which takes no number above 1023.
        poll = _poll()
        poll.register(self._socket.fileno(), _GONE)
        return bool(poll.poll(0))


def _poll() -> Any:
    """Return the system's own poll object: gevent's knows no hang-up."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original("select", "poll")() if monkey else select.poll()


# As proxies write it, and as Flask extensions keep it on `g`.
_NUMBER_HEADER = "HTTP_X_REQUEST_ID"
_NUMBER_ON_G = "request_id"

_LONGEST = 128


def request_context() -> tuple[str, str | None]:
    """Return the endpoint and the number of the current request, if there is one.

    The number is `g.request_id`, as an extension or the app itself has set it, else
    what the proxy in front has sent as X-Request-ID. It is anybody's word: one that is
    long, or no plain text, is left out.
    """
    if not has_request_context():
        return "", None
    # Past the proxy, of which each look costs a microsecond of every call.
    served: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    number = g.get(_NUMBER_ON_G) or served.environ.get(_NUMBER_HEADER)
    fits = isinstance(number, str) and number.isprintable() and len(number) <= _LONGEST
    return served.endpoint or "", number if fits else None


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

    request_context = staticmethod(request_context)

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
        only: str | Sequence[str] = (),
        routing: Routing | None = None,
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
            only: As for `generate_content`.
            routing: As for `generate_content`.

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
            only=only,
            routing=routing,
        )
        return event_stream(stream)


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
        told = error(kind, stream.response.attempts)
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
            yield error(broken.error.kind, broken.attempts, partial=True)
        except Exception:  # noqa: BLE001  # it is logged
            # The status is sent, and no error handler of Flask's would be asked.
            with within(stream.origin):
                log.exception("A streamed response failed")
            yield error("unknown", partial=bool(stream.text))


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
            yield event("delta", {"text": text})
        elif stream.response is not None:
            break
        elif is_gone():
            return
        elif left <= _LOOK_S:
            yield HEARTBEAT
        else:
            continue
        spoke = time.monotonic()
    yield _ending(stream)


def _start(stream: LLMStream) -> str:
    data = {"provider": stream.provider_name, "failed": failed(stream.attempts)}
    return event("start", data, _BEGUN)


def _restart(stream: LLMStream, before: str) -> str:
    refused = failed(stream.attempts)
    reasons = {each["provider"]: each["reason"] for each in refused}
    data = {"provider": stream.provider_name, "reason": reasons.get(before, "")}
    return event("restart", data | {"failed": refused})


def _ending(stream: LLMStream) -> str:
    response = stream.response
    if response is not None and response.success:
        return done(response)
    return error("closed", stream.attempts, partial=True)
