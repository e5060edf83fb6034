"""The steps that a script is made of: what can go well, and all that can go wrong.

A name in capitals or without arguments is a step; the others are functions that
return one. Each works on every API, in the words of the one that is asked.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wire import HTML

from .messages import NO_HEADERS, Answer, Attempt, Failure, Reply
from .steps import (
    ENDS,
    Choice,
    Healthy,
    Step,
    after_all,
    after_half,
    after_pieces,
    delivered,
    dripping,
    dripping_head,
    error,
    later,
    page,
    spaced,
)
from .wires import Wire

OK = Healthy()
ECHO = Healthy("ECHO", text=lambda prompt: f"echo: {prompt}")

# Refused requests ---------------------------------------------------------------


def status(
    code: int,
    message: str | None = None,
    *,
    retry_after: float | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    body: object = None,
) -> Step:
    """Answer with a status and the API's own error body for it, or with `body`."""

    def said(wire: Wire, attempt: Attempt) -> Failure:
        usual = wire.status(code, message, retry_after)
        return usual._replace(headers={**usual.headers, **headers})

    def say(wire: Wire, attempt: Attempt) -> Reply:
        if body is None:
            return wire.failure(attempt, said(wire, attempt))
        return wire.reply(attempt, said(wire, attempt)._replace(body=body))

    return Step(f"status({code})", say)


def rate_limited(retry_after: float | None = None) -> Step:
    """Refuse for some seconds; Google says how long in the body, others by header."""
    return error("rate_limited()", lambda wire, attempt: wire.rate_limited(retry_after))


def day_quota() -> Step:
    """Refuse until tomorrow or later: waiting a little does not help."""
    return error("day_quota()", lambda wire, attempt: wire.day_quota())


def billing() -> Step:
    """Refuse until somebody pays."""
    return error("billing()", lambda wire, attempt: wire.billing())


def context_length() -> Step:
    """Refuse a prompt that is too long for the model."""
    return error("context_length()", lambda wire, attempt: wire.context_length())


def unsupported(parameter: str) -> Step:
    """Refuse a parameter of the request."""
    name = f"unsupported({parameter!r})"
    return error(name, lambda wire, attempt: wire.unsupported(parameter))


def bad_key() -> Step:
    """Refuse the API key."""
    return error("bad_key()", lambda wire, attempt: wire.bad_key())


def unknown_model() -> Step:
    """Say that there is no such model."""
    return error(
        "unknown_model()",
        lambda wire, attempt: wire.unknown_model(wire.model(attempt)),
    )


# Answers that are none ----------------------------------------------------------


def content_filter(where: str = "prompt") -> Step:
    """Refuse the content: the "prompt", or the "answer" after it was made."""
    finish = {"prompt": "blocked", "answer": "refused"}[where]
    return Healthy(f"content_filter({where!r})", text="", usage=(12, 0), finish=finish)


thought_only = Healthy("thought_only", text="", thought="Hm, the sky.", finish="length")
empty_text = Healthy("empty_text", text="")
missing_terminator = Healthy("missing_terminator", finish=None)
empty_body = page("empty_body", "application/json", b"")
wrong_json = page("wrong_json", "application/json", b'{"hello": 1}')


def html(code: int = 200) -> Step:
    """Answer with a web page, as proxies and captive portals do."""
    return page(f"html({code})", "text/html", HTML.encode(), code)


def _halved(wire: Wire, attempt: Attempt) -> Reply:
    reply = wire.unstreamed(attempt, Answer())
    return replace(reply, closing=reply.closing[: len(reply.closing) // 2])


malformed_body = Step("malformed_body", _halved)
json_instead_of_sse = Step(
    "json_instead_of_sse", lambda wire, attempt: wire.unstreamed(attempt, Answer())
)

# The network --------------------------------------------------------------------

reset_before_headers = OK.by(ENDS["reset"], "reset_before_headers")
close_without_answer = OK.by(ENDS["close"], "close_without_answer")
hang = OK.by(ENDS["stall"], "hang")
cut_body = OK.by(after_half("close"), "cut_body")
cut_body_reset = OK.by(after_half("reset"), "cut_body_reset")
stall_body = OK.by(after_half("stall"), "stall_body")


def slow_first_byte(seconds: float, step: Step = OK) -> Step:
    """Say nothing for a while."""
    return delivered(f"slow_first_byte({seconds})", step, later(seconds))


def drip(interval: float = 0.3, step: Step = OK) -> Step:
    """Send one byte of the body at a time."""
    return delivered(f"drip({interval})", step, dripping(interval))


def drip_headers(interval: float = 0.3, step: Step = OK) -> Step:
    """Send one byte of the headers at a time, then the body."""
    return delivered(f"drip_headers({interval})", step, dripping_head(interval))


# Streams ------------------------------------------------------------------------


def cut_stream(after: int = 1, end: str = "close", step: Step = OK) -> Step:
    """Stop after so many pieces of text; `end` is "close", "reset" or "clean".

    A clean end is one that HTTP takes for the end of the body.
    """
    return delivered(f"cut_stream({after}, {end!r})", step, after_pieces(after, end))


def stall_stream(after: int = 1, step: Step = OK) -> Step:
    """Fall silent after so many pieces of text."""
    return delivered(f"stall_stream({after})", step, after_pieces(after, "stall"))


def left_open(end: str = "stall", step: Step = OK) -> Step:
    """Send all of a stream, and then let its connection "stall", "close" or "reset"."""
    return delivered(f"left_open({end!r})", step, after_all(end))


def slow_stream(interval: float, step: Step = OK) -> Step:
    """Pause before each piece of text and before the end."""
    return delivered(f"slow_stream({interval})", step, spaced(interval))


def broken_chunk(after: int = 1) -> Step:
    """Send a chunk of broken JSON after so many pieces of text, then go on."""

    def say(wire: Wire, attempt: Attempt) -> Reply:
        reply = wire.healthy(attempt, Answer())
        if not reply.streamed:
            return _halved(wire, attempt)
        broken = _chunk(wire, attempt, wire.broken(attempt), after)
        pieces = (*reply.pieces[:after], broken, *reply.pieces[after:])
        return replace(reply, pieces=pieces)

    return Step(f"broken_chunk({after})", say)


def error_event(code: int = 529, message: str | None = None, *, after: int = 1) -> Step:
    """End a stream with the API's error of that status after so many pieces of text."""

    def say(wire: Wire, attempt: Attempt) -> Reply:
        reply = wire.healthy(attempt, Answer())
        said = wire.status(code, message, None)
        if not reply.streamed:
            return wire.reply(attempt, said._replace(status=200))
        event = _chunk(wire, attempt, wire.error_event(attempt, said), after)
        end = wire.end_of_errors(attempt)
        return replace(reply, pieces=(*reply.pieces[:after], event), closing=end)

    return Step(f"error_event({code})", say)


def _chunk(wire: Wire, attempt: Attempt, data: bytes, before: int) -> bytes:
    return (wire.separator(attempt) if before else b"") + data


# Steps that are chosen for each request -----------------------------------------


def by_request(choose: Callable[[Attempt], Step]) -> Step:
    """Ask a function, which runs in the server's thread and must not wait."""
    return Choice("by_request()", choose)


def flapping(
    down: Step,
    up_at: float,
    clock: Callable[[], float] = time.monotonic,
    up: Step = OK,
) -> Step:
    """Do `down` until a moment of a clock, and `up` from then on."""
    return Choice(
        f"flapping({down!r})", lambda attempt: up if clock() >= up_at else down
    )


def rejects(*parameters: str, step: Step = OK) -> Step:
    """Refuse requests that have one of these parameters, in whatever JSON object."""

    def choose(attempt: Attempt) -> Step:
        names = {_plain(each) for each in _names(attempt.fields)}
        found = (each for each in parameters if _plain(each) in names)
        refused = next(found, None)
        return unsupported(refused) if refused else step

    return Choice(f"rejects{parameters!r}", choose)


def _names(value: dict[str, Any]) -> list[str]:
    nested = (_names(each) for each in value.values() if isinstance(each, dict))
    return [*value, *(name for names in nested for name in names)]


def _plain(name: str) -> str:
    """Return a parameter's name without the API's taste: maxTokens is max_tokens."""
    return name.replace("_", "").lower()
