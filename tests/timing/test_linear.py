"""Foreign text is read in linear time, whatever a server, a model or a user sends."""

import json
import re
import time
from contextlib import suppress
from importlib import import_module

import pytest
from pydantic import BaseModel

from flask_llm.errors import InvalidRequestError, ProviderError, encodable, redact
from flask_llm.fallback.pricing import _names
from flask_llm.fallback.provider_handle import presentable
from flask_llm.filters import redacted
from flask_llm.providers import classify
from flask_llm.providers.answers import spoken, until, without_thoughts
from flask_llm.providers.error_bodies import codes_of, words_of
from flask_llm.providers.parameters import Parameters
from flask_llm.providers.retry_hints import reset_of, retry_after_of, told_in
from flask_llm.providers.transport import plain_events
from flask_llm.schema import Schema

pytestmark = [pytest.mark.slow, pytest.mark.timing]

SHORT, LONG = 50_000, 100_000
MOST = 2.5  # times as long
NOTHING_S = 0.004  # below this chance decides

# Almost-matches, which make a pattern look far ahead or back again and again.
PIECES = [
    *("_", " ", "a", "9", "\n", '"', "{", "[", "é", "aA", "daily_", "model ", "per_"),
    *("headers: {", "error: ", "http/1.", "429 ", "retry in 1", "data:\n", "\r"),
    *(
        "</think",
        "```json\n",
        '{"a":',
        "models/",
        "x@",
        "`a` ",
        '{"message": "',
        "<?xml ",
    ),
]


class City(BaseModel):
    name: str


def learn(text):
    known = Parameters("m", (), {})
    error = InvalidRequestError(text, status=400)
    known.learn({"temperature": 0.0, "max_tokens": 5, "stop": ["x"]}, error, error)


def answered(text):
    with suppress(ProviderError):
        Schema(City).read(text)


def in_pieces(text):
    return (text[at : at + 7] for at in range(0, len(text), 7))


READERS = {
    "from_text": classify.from_text,
    "from_status 400": lambda text: classify.from_status(400, text),
    "from_status 403": lambda text: classify.from_status(403, text),
    "from_status 429": lambda text: classify.from_status(429, text, code=text),
    "words_of": words_of,
    "words_of a message": lambda text: words_of({"message": text}),
    "codes_of": lambda text: list(codes_of(text)),
    "told_in": told_in,
    "retry_after_of": lambda text: retry_after_of({"retry-after": text}),
    "reset_of": lambda text: reset_of({"x-ratelimit-remaining": "0", text: text}),
    "reset_of a value": lambda text: reset_of(
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": text}
    ),
    "learn": learn,
    "answered": answered,
    "plain_events": lambda text: list(
        plain_events(p.encode() for p in in_pieces(text))
    ),
    "without_thoughts": without_thoughts,
    "spoken": lambda text: list(spoken(in_pieces(text))),
    "spoken thinking": lambda text: list(spoken(in_pieces("<think>" + text))),
    "until": lambda text: list(until(in_pieces(text), ["aab", "__x"])),
    "redact": lambda text: redact(text, ["sk-ant-0123456789"]),
    "encodable": encodable,
    "presentable": lambda text: presentable(InvalidRequestError(text), "x", None, ()),
    "price": lambda text: _names(text, "x"),
    "redacted": redacted,
}


def seconds(reader, text):
    begun = time.process_time()
    reader(text)
    return time.process_time() - begun


@pytest.mark.parametrize("name", READERS)
def test_twice_the_text_takes_twice_as_long(name):
    """Not four times: nobody can stop the process with a long text."""
    reader, slow = READERS[name], {}
    reader("warm up")
    for piece in PIECES:
        text = piece * (LONG // len(piece))
        short = min(seconds(reader, text[:SHORT]) for _ in range(2))
        if (long := seconds(reader, text)) > MOST * max(short, NOTHING_S):
            slow[piece] = (short, min(long, seconds(reader, text)))
    found = {p: t for p, t in slow.items() if t[1] > MOST * max(t[0], NOTHING_S)}
    assert not found


def test_every_pattern_for_an_error():
    """By itself, at the length at which texts are cut."""
    slow = {}
    for module in ("classify", "error_bodies", "retry_hints"):
        for name, pattern in vars(
            import_module(f"flask_llm.providers.{module}")
        ).items():
            search = getattr(pattern, "search", None)
            if isinstance(pattern, re.Pattern | classify._Pattern) and search:
                for piece in PIECES:
                    text = classify._spaced(piece * 4000)[:4000]
                    if (took := seconds(search, text)) > 0.05:
                        slow[f"{name} {json.dumps(piece)}"] = took
    assert not slow
