"""What Google's services answer, whichever SDK and address asks them."""

import wire
from wire import Row, generated, google_detail, google_error

STATUSES = {
    "400": Row(
        400,
        google_error(400, "INVALID_ARGUMENT", "Unable to submit request: bad value."),
        "invalid_request",
        "request rejected: Unable to submit request: bad value.",
    ),
    "400 prompt too long": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens"
            " allowed (1048576).",
        ),
        "context_length",
        "prompt too long: The input token count (1200000) exceeds",
    ),
    "400 key invalid": Row(
        400,
        wire.KEY_INVALID,
        "auth",
        "API key rejected (check GOOGLE_API_KEY): API key not valid.",
    ),
    "400 key expired": Row(
        400,
        google_error(
            400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): API key expired.",
    ),
    "400 key invalid, in words of tomorrow": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "Wrong credential.",
            google_detail("Help", links=[]),
            google_detail("ErrorInfo", reason="API_KEY_INVALID"),
        ),
        "auth",
        "check GOOGLE_API_KEY",
    ),
    "400 details of a strange shape": Row(
        400,
        google_error(
            400,
            "INVALID_ARGUMENT",
            "Bad.",
            google_detail("ErrorInfo", reason=["API_KEY_INVALID"]),
            google_detail("RetryInfo", retryDelay=37),
        ),
        "invalid_request",
        "Bad.",
    ),
    "401": Row(
        401,
        google_error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
            google_detail("ErrorInfo", reason="ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Request had invalid",
    ),
    "403": Row(
        403,
        google_error(
            403,
            "PERMISSION_DENIED",
            "Your API key was reported as leaked. Please use another API key.",
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Your API key was reported as leaked.",
    ),
    "403 API switched off": Row(
        403,
        google_error(
            403,
            "PERMISSION_DENIED",
            "Generative Language API has not been used in project 1 before.",
            google_detail("ErrorInfo", reason="SERVICE_DISABLED"),
        ),
        "auth",
        "API key rejected (check GOOGLE_API_KEY): Generative Language API has not",
    ),
    "404": Row(
        404,
        google_error(
            404,
            "NOT_FOUND",
            "models/gemini-1.5-flash is not found for API version v1beta, or is not"
            " supported for generateContent.",
        ),
        "model_not_found",
        "(set LLM_GEMINI_MODEL, or check LLM_GEMINI_BASE_URL): models/gemini-1.5-f",
    ),
    "408": Row(408, "", "transient", "timeout"),
    "409": Row(
        409,
        google_error(409, "ABORTED", "The operation was aborted."),
        "transient",
        "temporary failure: The operation was aborted.",
    ),
    "413": Row(413, wire.HTML, "context_length", "prompt too long"),
    "429": Row(
        429,
        wire.exhausted(),
        "quota",
        "quota exceeded: You exceeded your current quota",
    ),
    "429 with RetryInfo": Row(
        429, wire.exhausted("37.5s"), "quota", "quota exceeded", told=37.5
    ),
    "429 with RetryInfo of whole seconds": Row(
        429, wire.exhausted("37s"), "quota", "quota exceeded", told=37.0
    ),
    "429 with both": Row(
        429,
        wire.exhausted("37.5s"),
        "quota",
        "quota exceeded",
        {"Retry-After": "60"},
        37.5,
    ),
    "429 with Retry-After": Row(
        429, wire.exhausted(), "quota", "quota exceeded", {"Retry-After": "17"}, 17.0
    ),
    "429 with Retry-After, without details": Row(
        429,
        google_error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
        "quota",
        "Resource has been exhausted.",
        {"Retry-After": "17"},
        17.0,
    ),
    "429 with an unreadable RetryInfo": Row(
        429,
        wire.exhausted("soon"),
        "quota",
        "quota exceeded",
        {"Retry-After": "17"},
        17.0,
    ),
    "429 per day": Row(429, wire.exhausted(quota="PerDay"), "quota", "quota exceeded"),
    "429 empty": Row(429, "", "quota", "quota exceeded"),
    "500": Row(
        500,
        google_error(500, "INTERNAL", "An internal error has occurred."),
        "transient",
        "server error 500: An internal error has occurred.",
    ),
    "503": Row(
        503,
        google_error(
            503, "UNAVAILABLE", "The model is overloaded. Please try again later."
        ),
        "transient",
        "server error 503: The model is overloaded.",
    ),
    "503 with RetryInfo": Row(
        503,
        google_error(
            503,
            "UNAVAILABLE",
            "The model is overloaded.",
            google_detail("RetryInfo", retryDelay="8s"),
        ),
        "transient",
        "server error 503: The model is overloaded.",
        told=8.0,
    ),
    "503 list": Row(
        503,
        [google_error(503, "UNAVAILABLE", "The model is overloaded.")],
        "transient",
        "server error 503",
    ),
    "504": Row(
        504,
        google_error(504, "DEADLINE_EXCEEDED", "Deadline expired."),
        "transient",
        "server error 504: Deadline expired.",
    ),
    "529": Row(529, wire.HTML, "transient", "server error 529"),
}

NO_ANSWERS = {
    "broken JSON": Row(200, '{"candidates": [', "transient", "malformed answer"),
    "number": Row(200, "5", "transient", "malformed answer"),
    "list": Row(200, [generated("hi")], "transient", "malformed answer"),
    "candidates of a text": Row(
        200, {"candidates": "hi"}, "transient", "malformed answer"
    ),
    "parts of numbers": Row(
        200,
        generated(finish="STOP") | {"candidates": [{"content": {"parts": [5]}}]},
        "transient",
        "malformed answer",
    ),
    "no candidates": Row(
        200, generated(candidates=[]), "bad_answer", "answer without a candidate"
    ),
    "MAX_TOKENS without text": Row(
        200,
        generated(finish="MAX_TOKENS"),
        "bad_answer",
        "thinking used up max_tokens before any text (raise max_tokens)",
    ),
    "STOP without parts": Row(200, generated(), "bad_answer", "empty answer"),
    "blank text": Row(200, generated(" ", "\n"), "bad_answer", "empty answer"),
    "function call": Row(
        200,
        generated(
            candidates=[
                {
                    "content": {"parts": [{"functionCall": {"name": "dig"}}]},
                    "finishReason": "STOP",
                }
            ]
        ),
        "bad_answer",
        "empty answer",
    ),
    "prompt blocked": Row(
        200, wire.blocked_prompt(), "content_blocked", "prompt blocked (SAFETY)"
    ),
    "prompt prohibited": Row(
        200,
        wire.blocked_prompt("PROHIBITED_CONTENT"),
        "content_blocked",
        "prompt blocked (PROHIBITED_CONTENT)",
    ),
} | {
    finish: Row(
        200,
        generated(*texts, finish=finish),
        "content_blocked",
        "answer blocked by a safety filter",
    )
    for finish, texts in {
        "SAFETY": (),
        "RECITATION": ("To be, or",),
        "BLOCKLIST": (),
        "PROHIBITED_CONTENT": ("First, take",),
        "SPII": (),
        "IMAGE_SAFETY": (),
    }.items()
}

ANSWERS = {
    "several parts": (generated("Rayl", "eigh"), "Rayleigh", "stop"),
    "max tokens": (generated("Rayl", finish="MAX_TOKENS"), "Rayl", "length"),
    "text beside a call": (
        generated(
            candidates=[
                {
                    "content": {
                        "parts": [
                            {"functionCall": {"name": "dig"}},
                            {"text": "Scattering"},
                        ]
                    },
                    "finishReason": "STOP",
                }
            ]
        ),
        "Scattering",
        "stop",
    ),
    "fields of tomorrow": (
        generated("Scattering", mood={"level": "high"}),
        "Scattering",
        "stop",
    ),
    "two candidates": (
        generated(candidates=generated("one")["candidates"] * 2),
        "one",
        "stop",
    ),
}

NO_USAGE = {
    str(usage): generated(wire.ANSWER, usageMetadata=usage) for usage in (None, {})
}

# Whether each of them takes a temperature.
MODELS = {
    "gemini-3.8-flash": False,
    "gemini-3.6-pro": False,
    "gemini-4-flash": False,
    "gemini-flash-latest": False,
    "models/gemini-3.8-flash": False,
    "gemini-3.5-flash-lite": True,
    "gemini-3-pro": True,
    "models/gemini-3.5-flash-lite": True,
    "gemma-4-27b-it": True,
}


def statuses(name: str) -> dict[str, Row]:
    """Return the error statuses as a provider of a name must tell them."""
    own = f"LLM_{name.upper()}_"
    return {
        status: row._replace(says=row.says.replace("LLM_GEMINI_", own))
        for status, row in STATUSES.items()
    }


def leaks(key: str) -> dict[str, object]:
    """Return bodies of errors that hold a key."""
    return {
        "error": google_error(
            403, "PERMISSION_DENIED", f"{key} was reported as leaked"
        ),
        "strange details": google_error(
            403, "X", key, google_detail("ErrorInfo", reason=[key])
        ),
        "strange shape": {"error": key},
        "text": key,
    }
