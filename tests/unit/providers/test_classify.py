import json
import socket

import pytest

from flask_llm.errors import QuotaError, TimedOutError, TransientError, UsedUpError
from flask_llm.providers import classify
from flask_llm.providers.classify import AMBIGUOUS


class HTTPError(Exception):
    """What most SDKs raise: a number, a response with headers."""

    def __init__(self, text="", headers=None, **attributes):
        super().__init__(text)
        vars(self).update(attributes)
        if headers is not None:
            self.response = type("Response", (), {"headers": headers})()


class TimeoutException(Exception):  # noqa: N818  # httpx's name
    pass


class ReadTimeout(TimeoutException):
    pass


class TransportError(Exception):
    pass


class LocalProtocolError(TransportError):
    pass


STATUSES = {
    302: "invalid_request",
    204: "transient",
    400: "invalid_request",
    401: "auth",
    402: "quota",
    403: "auth",
    404: "model_not_found",
    405: "invalid_request",
    408: "transient",
    409: "transient",
    410: "model_not_found",
    413: "context_length",
    414: "invalid_request",
    415: "invalid_request",
    418: "unknown",
    431: "invalid_request",
    451: "unknown",
    498: "transient",
    499: "transient",
    422: "invalid_request",
    425: "transient",
    429: "quota",
    500: "transient",
    501: "transient",
    502: "transient",
    503: "transient",
    504: "transient",
    529: "transient",
    599: "transient",
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_the_status_decides(status, kind):
    """The number says the kind, whatever the words around it."""
    error = classify.from_status(status, "quota timeout context length")
    if status not in AMBIGUOUS:
        assert error.kind == kind
    assert classify.from_status(status).kind == kind
    assert error.status == status


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("context_length_exceeded", "", "context_length"),
        ("API_KEY_INVALID", "", "auth"),
        ("content_filter", "", "content_blocked"),
        ({"odd": 1}, "", "invalid_request"),
        (None, "prompt is too long: 210000 tokens > 200000 maximum", "context_length"),
        (None, "The input token count (9) exceeds the maximum", "context_length"),
        (None, "maximum context length is 128000 tokens", "context_length"),
        (None, "Your credit balance is too low to access the API", "quota"),
        (None, "You have reached your specified API usage limits.", "quota"),
        (None, "Output blocked by content filtering policy", "content_blocked"),
        (None, "API key not valid. Please pass a valid API key.", "auth"),
        (None, "timeout must be below 60", "invalid_request"),
        ("invalid_request_error", "max_tokens: must be positive", "invalid_request"),
    ],
)
def test_a_400_is_read_more_closely(code, text, kind):
    """Providers hide bad keys, spent credit and long prompts behind a 400."""
    assert classify.from_status(400, text, code=code).kind == kind


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (None, "Your API key was reported as leaked", "auth"),
        ("RATE_LIMIT_EXCEEDED", "", "quota"),
        (None, "Quota exceeded for quota metric", "quota"),
        (None, "The billing account is closed", "quota"),
        ("permission_error", "context length", "auth"),
        ("content_filter", "Your input was sent back", "content_blocked"),
        (None, "Content violates usage guidelines. Failed check: X", "content_blocked"),
        (None, "m requires moderation. Your input was flagged", "content_blocked"),
    ],
)
def test_a_403_may_be_a_quota_or_the_prompt(code, text, kind):
    """Google answers so for some of its limits, xAI and OpenRouter for a prompt."""
    assert classify.from_status(403, text, code=code).kind == kind


@pytest.mark.parametrize(
    ("code", "text", "seconds"),
    [
        (None, "Incorrect API key provided", 300),
        (None, "Your API key does not have permission to use this model", 300),
        ("SERVICE_DISABLED", "Generative Language API has not been used", 300),
        (None, "forbidden", 0),
        (None, "Country, region, or territory not supported", 0),
        (None, "<html><title>403 Forbidden</title>", 0),
        (None, "", 0),
    ],
)
def test_a_403_says_of_the_key_what_its_words_say(code, text, seconds):
    """One prompt, or a firewall, takes the provider away from nobody."""
    error = classify.from_status(403, text, code=code)
    assert (error.kind, error.cooldown) == ("auth", seconds)
    assert error.trips == (not seconds)


def test_another_refusal_is_nobody_s_fault_for_sure():
    """The next provider is asked, and nothing is held against this one."""
    error = classify.from_status(451, "for legal reasons")
    assert (error.reason, error.fallbackable, error.retryable) == (
        "error 451",
        True,
        False,
    )
    assert (error.trips, error.cooldown) == (False, 0)
    filtered = classify.from_status(451, "Content filter triggered")
    assert filtered.kind == "content_blocked"


DAY = "Rate limit reached on tokens per day (TPD). Please try again in 5m45s."


@pytest.mark.parametrize(
    ("code", "text", "retry_after", "seconds", "cooldown"),
    [
        ("rate_limit_exceeded", DAY, 345.0, 345.0, 0),
        ("rate_limit_exceeded", DAY, None, 345.0, 0),
        (None, "Daily request limit reached", None, None, 3600),
        (None, "Your credit balance is too low, retry after 60 s", 60.0, 60.0, 3600),
        ("insufficient_quota", "per day", 60.0, 60.0, 3600),
        (classify.PER_DAY, "retry in 30s", 30.0, 30.0, 3600),
        (None, "Rate limit reached, please retry in 12.5s", None, 12.5, 0),
    ],
)
def test_what_a_server_says_of_the_time_outranks_our_guess(
    code, text, retry_after, seconds, cooldown
):
    """But a credit comes back by nobody's clock, and Google names no day's end."""
    error = classify.from_status(429, text, code=code, retry_after=retry_after)
    assert (error.retry_after, error.cooldown) == (seconds, cooldown)


GOOGLE = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "code", "text", "used_up"),
    [
        (402, None, "", True),
        (429, None, GOOGLE, False),
        (429, classify.PER_DAY, GOOGLE, True),
        (429, "insufficient_quota", GOOGLE, True),
        (429, "enforced_spend_limit_reached", "", True),
        (429, "rate_limit_error", "Your organization reached its spend limit", True),
        (429, "rate_limit_exceeded", "Rate limit reached on requests per day", True),
        (429, None, "GenerateRequestsPerDayPerProject", True),
        (429, None, "Daily request limit reached", True),
        (429, None, "60 requests per minute, 1000 per day", False),
        (429, None, "Rate limit: 50 requests per minute", False),
        (429, "overloaded_error", "", False),
        (400, "billing_error", "", True),
        (400, None, "Your credit balance is too low", True),
        (400, None, "Quota exceeded", False),
        (403, None, "The billing account is closed", True),
        (403, "RATE_LIMIT_EXCEEDED", "", False),
        (503, None, "credit balance", None),
    ],
)
def test_what_minutes_do_not_bring_back(status, code, text, used_up):
    """A day's quota and the credit are told apart from a rate limit."""
    error = classify.from_status(status, text, code=code)

    expected = {True: UsedUpError, False: QuotaError, None: TransientError}[used_up]
    assert type(error) is expected
    if used_up:
        assert (error.kind, error.reason) == ("quota", "quota exceeded")


@pytest.mark.parametrize("status", [408, 504])
def test_a_server_that_answers_has_not_timed_out(status):
    """A gateway's timeout is an answer that came in time."""
    assert type(classify.from_status(status)) is TransientError


def test_codes_that_say_what_an_error_is():
    """A provider class may have several to choose from."""
    assert classify.knows("Insufficient_Quota")
    assert not any(map(classify.knows, ("invalid_request_error", None, ["x"], 429)))


def test_an_exception_may_be_its_own_cause():
    """`raise e from e` must not make the search for causes endless."""
    exc = ValueError("429")
    exc.__cause__ = exc

    assert classify.from_exception(exc).kind == "quota"


def test_an_unknown_exception_is_told_by_its_class():
    """A developer's bug must be seen in the one line that the log has."""
    assert str(classify.from_exception(NotImplementedError())) == (
        "failed (NotImplementedError)"
    )


@pytest.mark.parametrize(
    "attributes",
    [{"status_code": 503}, {"code": 503}, {"status": 503}],
    ids=lambda each: next(iter(each)),
)
def test_the_number_is_found_wherever_an_sdk_keeps_it(attributes):
    """Each SDK has its own name for the status."""
    assert classify.from_exception(HTTPError("quota", **attributes)).status == 503


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (TimeoutError(), "timeout"),
        (TimeoutException(), "timeout"),
        (ReadTimeout(), "timeout"),
        (ConnectionRefusedError(), "connection error"),
        (ConnectionResetError("peer"), "connection error"),
        (socket.gaierror("name"), "connection error"),
        (TransportError(), "connection error"),
        (json.JSONDecodeError("x", "y", 0), "malformed answer"),
    ],
)
def test_transport_errors_go_by_their_class(exc, reason):
    """Errors without a number are told apart by the names of their classes."""
    error = classify.from_exception(exc)

    assert (error.kind, error.reason) == ("transient", reason)
    assert isinstance(error, TimedOutError) == (reason == "timeout")


def test_a_malformed_key_is_not_retried_and_not_repeated():
    """httpx refuses such a header locally, with the key in the text."""
    try:
        raise ConnectionError("Connection error.") from LocalProtocolError(
            "Illegal header value b'Bearer sk-secret\\n'"
        )
    except ConnectionError as exc:
        error = classify.from_exception(exc)

    assert error.kind == "auth"
    assert "sk-secret" not in str(error)


def test_our_own_errors_pass_through():
    """A provider that knows better is believed."""
    error = QuotaError("x")

    assert classify.from_exception(error) is error


def test_a_code_without_a_status_is_enough():
    """Errors inside a stream carry only the machine-readable cause."""
    error = classify.from_exception(HTTPError("x"), code="overloaded_error")

    assert error.kind == "transient"


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("data_inspection_failed", "Input data may contain", "content_blocked"),
        ("invalid_request_error", "Content Exists Risk", "content_blocked"),
        ("1301", "", "content_blocked"),
        ("ResponsibleAIPolicyViolation", "", "content_blocked"),
        ("Arrearage", "Access denied, please make sure", "quota"),
        (
            "invalid_parameter_error",
            "Range of input length should be",
            "context_length",
        ),
        (None, "Please reduce the length of the messages", "context_length"),
        (
            "model_decommissioned",
            "The model has been decommissioned",
            "model_not_found",
        ),
        ("word_of_tomorrow", "Something is wrong", "invalid_request"),
    ],
)
def test_words_of_other_servers(code, text, kind):
    """Alibaba, DeepSeek, GLM, Azure and Groq; an unknown word changes nothing."""
    assert classify.from_status(400, text, code=code).kind == kind
