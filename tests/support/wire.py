"""The other end of the wire: a server that fails as told, and the providers' bodies.

`pytest_httpserver` gives the ordinary statuses; `Stub`, which the package ships, is for
what it cannot do: reset, hang up, stay silent, send half a body, or keep connections
open and tell them apart.
"""

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from flask_llm.testing.server import (  # noqa: F401
    Answer,
    Handler,
    Received,
    close,
    closed_port,
    drip,
    echo,
    encoded,
    half,
    hang,
    in_turn,
    reply,
    reset,
    stall,
    together,
)
from flask_llm.testing.server import StubServer as Stub

_PATIENCE_S = 30.0

PROMPT = "Why is the sky blue?"
ANSWER = "Rayleigh scattering."
HTML = "<html><body><h1>Welcome to the hotel's network</h1></body></html>"


class Row(NamedTuple):
    """An HTTP answer, and the failure that it must become, if it is none.

    Attributes:
        says: A piece of `response.error`.
        told: What `retry_after_s` must be.
    """

    status: int
    body: object
    kind: str = ""
    says: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    told: float | None = None


def serve(httpserver, row: Row) -> None:
    """Make an `httpserver` answer every POST with a row's answer."""
    httpserver.expect_request(re.compile(".*"), method="POST").respond_with_data(
        encoded(row.body), row.status, row.headers, content_type="application/json"
    )


def arrived(stub: Stub, count: int) -> bool:
    """Wait until so many requests are read, of clients that may have left before."""
    stop = time.monotonic() + _PATIENCE_S
    while len(stub.received) < count and time.monotonic() < stop:
        time.sleep(0.001)
    return len(stub.received) == count


def story(response, clock, requests: int) -> dict:
    """Return what is countable of a failed call, to compare with `failure`."""
    last = response.attempts[-1]
    return {
        "kind": response.metadata["error_kind"],
        "outcome": last.outcome,
        "status": last.status,
        "retry_after_s": last.retry_after_s,
        "attempts": len(response.attempts),
        "requests": requests,
        "waits": clock.waits,
        "answered": (response.success, response.content),
    }


def failure(
    kind: str, status: int | None = None, retry_after: float | None = None
) -> dict:
    """Return what must be countable of a failed call with LLM_MAX_RETRIES=3."""
    tries = 3 if kind == "transient" else 1
    return {
        "kind": kind,
        "outcome": kind,
        "status": status,
        "retry_after_s": retry_after,
        "attempts": tries,
        "requests": tries,
        "waits": [5.0, 10.0] if kind == "transient" else [],
        "answered": (False, ""),
    }


def python(code: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """Run code in a fresh interpreter, which must succeed; return what it printed."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Anthropic -----------------------------------------------------------------------


def message(text: str | None = ANSWER, **changes) -> dict:
    """Return an answer of the Messages API; without a text it has no content."""
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    } | changes


def anthropic_error(kind: str, text: str, **more) -> dict:
    """Return an error body of the Messages API."""
    return {
        "type": "error",
        "error": {"type": kind, "message": text, **more},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


# Google --------------------------------------------------------------------------


def generated(*texts: str, finish: str | None = "STOP", **changes) -> dict:
    """Return an answer of generateContent with one part for each text."""
    candidate: dict = {"index": 0}
    if texts:
        parts = [{"text": text} for text in texts]
        candidate["content"] = {"role": "model", "parts": parts}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 6,
            "candidatesTokenCount": 4,
            "totalTokenCount": 25,
            "thoughtsTokenCount": 15,
        },
        "modelVersion": "gemini-3.8-flash-001",
        "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
    } | changes


def blocked_prompt(reason: str = "SAFETY") -> dict:
    """Return generateContent's answer to a prompt that it will not take."""
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6},
        "modelVersion": "gemini-3.8-flash-001",
    }


def google_error(code: int, status: str, text: str, *details: dict) -> dict:
    """Return an error body as Google's APIs send it."""
    error = {"code": code, "message": text, "status": status}
    return {"error": error | ({"details": list(details)} if details else {})}


def google_detail(kind: str, **fields) -> dict:
    """Return one detail of an error, such as RetryInfo."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


KEY_INVALID = google_error(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    google_detail(
        "ErrorInfo",
        reason="API_KEY_INVALID",
        domain="googleapis.com",
        metadata={"service": "generativelanguage.googleapis.com"},
    ),
    google_detail(
        "LocalizedMessage",
        locale="en-US",
        message="API key not valid. Please pass a valid API key.",
    ),
)


def exhausted(delay: object = None, quota: str = "PerMinute") -> dict:
    """Return Google's 429; `delay` is what RetryInfo says, such as "37.5s"."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests",
        "quotaId": f"GenerateRequests{quota}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-3.8-flash"},
        "quotaValue": "10",
    }
    link = {
        "description": "Learn more about Gemini API quotas",
        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
    }
    wait = [] if delay is None else [google_detail("RetryInfo", retryDelay=delay)]
    return google_error(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        google_detail("Help", links=[link]),
        google_detail("QuotaFailure", violations=[violation]),
        *wait,
    )
