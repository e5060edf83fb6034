"""When a provider wants to be asked again: its headers, and its words."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from flask_llm.providers.retry_hints import reset_of, told_in


def in_a_minute(form):
    moment = datetime.now(UTC) + timedelta(seconds=60)
    forms = {
        "iso": moment.isoformat().replace("+00:00", "Z"),
        "s": str(int(moment.timestamp()) + 1),
        "ms": str(int(moment.timestamp() * 1000)),
    }
    return forms[form]


@pytest.mark.parametrize(
    ("length", "seconds"),
    [
        ("6m0s", 360),
        ("1s", 1),
        ("59.7s", 59.7),
        ("345ms", 0.345),
        ("1h2m3s", 3723),
        ("20", 20),
        ("12.5", 12.5),
    ],
)
def test_a_length_until_a_reset(length, seconds):
    """As OpenAI and Groq write it, or as a plain number."""
    headers = {
        "X-RateLimit-Remaining-Tokens": "0",
        "X-RateLimit-Reset-Tokens": length,
        "x-ratelimit-remaining-requests": "99",
        "x-ratelimit-reset-requests": "9000s",
    }
    assert reset_of(headers) == pytest.approx(seconds)


@pytest.mark.parametrize("form", ["iso", "s", "ms"])
@pytest.mark.parametrize(
    "names",
    [
        ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ("X-RateLimit-Remaining", "X-RateLimit-Reset"),
        ("ratelimit-remaining", "ratelimit-reset"),
    ],
)
def test_a_moment_of_a_reset(form, names):
    """As Anthropic, OpenRouter and the draft of the standard write it."""
    headers = dict(zip(names, ("0", in_a_minute(form)), strict=True))
    assert reset_of(headers) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "0"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "60"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-5"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(time.time() - 60)},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999999999999"},
    ],
)
def test_what_says_nothing(headers):
    """Something is left, or there is no time in it that makes sense."""
    assert reset_of(headers) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 5m45s.", 345),
        ("Please retry in 12.5s.", 12.5),
        ("Retry after 20 seconds", 20),
        ("rate limited, try again in 2 minutes", 120),
        ("try again in 345ms", 0.345),
        ("resets in 1 hour", 3600),
        ("Try again later", None),
        ("in 20 seconds the model has answered", None),
        ("retry in 20 models", None),
        ("x" * 5000 + "retry in 20s", None),
    ],
)
def test_words(text, seconds):
    """A number with its unit behind the word for another try."""
    assert told_in(text) == (None if seconds is None else pytest.approx(seconds))
