import pytest

from flask_llm.errors import QuotaError, TimedOutError, UsedUpError
from flask_llm.providers import classify


@pytest.mark.parametrize(
    "text",
    [
        "429",
        "Error code: 429 - {'error': 'slow down'}",
        "429 Too Many Requests",
        "Quota exceeded for metric x",
        "insufficient_quota",
        "Rate limit reached for gpt-4",
        "rate_limit_exceeded",
        "RateLimitError: slow down",
        "RESOURCE_EXHAUSTED",
        "Resource exhausted.",
        "got status: 429",
        "Too Many Requests",
        "TooManyRequestsError: slow down",
        "ResourceExhausted: slow down",
        "An error occurred (ThrottlingException): Too many tokens, please wait",
        "Error: 500 requests per day quota reached",
        "HTTP 403: Quota exceeded for quota metric",
    ],
)
def test_documented_quota_indicators(text):
    """429, quota, rate limit and resource exhausted mean a quota error."""
    assert classify.from_text(text).kind == "quota"


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("Error code: 429 - insufficient_quota", UsedUpError),
        ("insufficient_quota", UsedUpError),
        ("Rate limit reached on requests per day (RPD): Limit 200", UsedUpError),
        ("429 quota GenerateRequestsPerDayPerProjectPerModel-FreeTier", UsedUpError),
        ("Your credit balance is too low", UsedUpError),
        ("daily quota exceeded", UsedUpError),
        ("402 Payment Required", UsedUpError),
        ("429: Trial key, which is limited to 1000 API calls / month.", UsedUpError),
        ("429: you have reached your weekly usage limit", UsedUpError),
        ("429: Trial key, which is limited to 20 API calls / minute.", QuotaError),
        ("rate limited: 20 calls / minute, 1000 / month", QuotaError),
        ("quota exceeded, check your plan and billing details", QuotaError),
        ("429: usage limit reached, try again in 5 minutes", QuotaError),
        ("rate limited: 10 per minute, 1000 per day", QuotaError),
        ("Two quotas in the days to come", QuotaError),
    ],
)
def test_a_used_up_quota_is_named_as_such(text, cls):
    """Only words without doubt make a provider rest for long."""
    assert type(classify.from_text(text)) is cls


@pytest.mark.parametrize(
    "text",
    [
        "used 4290 tokens",
        "used 1,429 tokens",
        "took 429.5 ms",
        "request req-429-77 broke",
        "request req_429 broke",
        "id 0429f",
        "the corporate limited company",
        "a quotation mark",
        "resources exhaustedly listed",
        "used 429 tokens",
        "could not parse the answer: 'billing'",
        "headers: {'x-ratelimit-limit': '10'}, status_code: 503, body: {}",
    ],
)
def test_indicators_are_matched_as_words(text):
    """A number inside another, an id, or a longer word is no quota error."""
    assert classify.from_text(text).kind != "quota"


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("Request timed out.", "transient", "timeout"),
        ("read timeout=30", "transient", "timeout"),
        ("Connection error.", "transient", "connection error"),
        ("[Errno 104] Connection reset by peer", "transient", "connection error"),
        ("Error code: 503 - overloaded", "transient", "server error 503"),
        ("HTTP/1.1 502 Bad Gateway", "transient", "server error 502"),
        ("500 Internal Server Error", "transient", "server error 500"),
        ("The model is overloaded", "transient", "server error"),
        ("Error code: 401 - bad key", "auth", "API key rejected"),
        ("Incorrect API key provided", "auth", "API key rejected"),
        ("Error code: 404 - gone", "model_not_found", "model not found"),
        ("Error code: 400 - context_length_exceeded", "context_length", None),
        ("content_filter", "content_blocked", None),
        ("status_code: 500, body: oops", "transient", "server error 500"),
        ("InternalServerError: 500 An error", "transient", "server error 500"),
        ("Forbidden: 403 Your key was leaked", "auth", None),
        ("headers: {'x-ratelimit-limit': '1'}, status_code: 401", "auth", None),
        ("ReadTimeout: ", "transient", "timeout"),
        ("litellm.APIConnectionError: x", "transient", "connection error"),
        ("Temporary failure in name resolution", "transient", "connection error"),
        ("[Errno 32] Broken pipe", "transient", "connection error"),
        ("[Errno 113] No route to host", "transient", "connection error"),
        ("Server disconnected", "transient", "connection error"),
        (
            "Remote end closed connection without response",
            "transient",
            "connection error",
        ),
        (
            "IncompleteRead(16 bytes read, 9 more expected)",
            "transient",
            "connection error",
        ),
        ("Expecting value: line 1", "transient", "malformed answer"),
        ("model 'x' not found, try pulling it", "model_not_found", None),
        ("The model `gpt-9` does not exist", "model_not_found", None),
        ("No API key provided.", "auth", None),
        ("Rejected as a result of our safety system.", "content_blocked", None),
        ("Error: 512 tokens requested but 256 fit", "unknown", None),
        ("500 words at most", "unknown", None),
        ("The neural network produced NaN", "unknown", None),
        ("label: authentication problem", "unknown", None),
        ("something odd", "unknown", "failed"),
        ("", "unknown", "failed"),
        ("max_tokens must be at most 500", "unknown", "failed"),
    ],
)
def test_text_of_a_returned_failure(text, kind, reason):
    """A provider that only returns `str(e)` is understood by its words."""
    error = classify.from_text(text)

    assert error.kind == kind
    assert isinstance(error, TimedOutError) == (reason == "timeout")
    assert reason is None or error.reason == reason
