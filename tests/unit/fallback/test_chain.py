import logging

import pytest
from cycles import left_in_cycles

from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    QuotaError,
    TransientError,
)
from flask_llm.testing import FakeProvider


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.INFO, "flask_llm")


def chain(clock, *scripts, config=None):
    """Return a factory over fake providers "gemini", "claude", "third", and those."""
    names = ["gemini", "claude", "third"]
    fakes = [
        FakeProvider(*script, name=name)
        for name, script in zip(names, scripts, strict=False)
    ]
    primary, *fallbacks = fakes
    return LLMFactory(primary, fallbacks, config=config, clock=clock), fakes


def calls(fakes):
    return [len(fake.calls) for fake in fakes]


def test_the_primary_answers(clock, caplog):
    """In the normal case one provider is asked once."""
    factory, fakes = chain(clock, ["hi"], ["unused"])
    response = factory.generate_content("hello")

    assert (response.content, response.provider_name) == ("hi", "gemini")
    assert calls(fakes) == [1, 0]
    assert caplog.messages == [
        "LLMFactory initialized with primary provider: gemini",
        "Using gemini for content generation",
        "gemini answered in 0.00 s",
    ]


def test_a_quota_error_switches_at_once(clock, caplog):
    """Neither a wait nor a second try, and the documented WARNING."""
    factory, fakes = chain(clock, [QuotaError()], ["hi"])
    response = factory.generate_content("hello")

    assert (response.content, response.provider_name) == ("hi", "claude")
    assert (calls(fakes), clock.waits) == ([1, 1], [])
    warning = next(r for r in caplog.records if r.levelno == logging.WARNING)
    assert warning.getMessage() == "gemini quota exceeded, switching to claude"
    assert warning.name == "flask_llm"


def test_the_primary_is_not_asked_again_in_the_same_call(clock):
    """The fallback is retried, the primary is not; the next call begins with it."""
    factory, fakes = chain(
        clock, [QuotaError(), "back"], [TransientError(), TransientError(), "hi"]
    )

    assert factory.generate_content("hello").provider_name == "claude"
    assert calls(fakes) == [1, 3]
    assert factory.generate_content("hello").content == "back"


def test_transient_errors_wait_5_10_20_40_and_then_switch(clock, caplog):
    """Exponential backoff on the same provider, five attempts, then the next one."""
    factory, fakes = chain(clock, [TransientError(reason="timeout")], ["hi"])
    response = factory.generate_content("hello")

    assert response.provider_name == "claude"
    assert clock.waits == [5, 10, 20, 40]
    assert calls(fakes) == [5, 1]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "gemini timeout, retrying in 5 s",
        "gemini timeout, retrying in 10 s",
        "gemini timeout, retrying in 20 s",
        "gemini timeout, retrying in 40 s",
        "gemini cooling down for 5 s after timeout",
        "gemini timeout, switching to claude",
    ]
    assert response.metadata["latency_s"] == 75


def test_waits_are_capped_at_60(clock):
    """With ten attempts the waits stop growing at the cap."""
    factory, _ = chain(clock, [TransientError()])
    factory.generate_content("hello", max_retries=10)

    assert clock.waits == [5, 10, 20, 40, 60, 60, 60, 60, 60]


def test_retries_can_be_given_for_one_call(clock):
    """`max_retries` and `retry_delay` change this call only."""
    factory, fakes = chain(clock, [TransientError()])
    factory.generate_content("hello", max_retries=3, retry_delay=1)
    assert (clock.waits, calls(fakes)) == ([1, 2], [3])

    factory.generate_content("hello")
    assert (clock.waits, calls(fakes)) == ([1, 2, 5, 10, 20, 40], [8])


def test_retries_come_from_the_configuration(clock):
    """LLM_MAX_RETRIES, LLM_RETRY_DELAY and LLM_RETRY_MAX_DELAY."""
    config = {"LLM_MAX_RETRIES": 4, "LLM_RETRY_DELAY": 2, "LLM_RETRY_MAX_DELAY": 3}
    factory, fakes = chain(clock, [TransientError()], config=config)
    factory.generate_content("hello")

    assert (clock.waits, calls(fakes)) == ([2, 3, 3], [4])


def test_a_transient_error_that_passes_costs_one_wait(clock):
    """The second attempt's answer is the call's answer."""
    factory, fakes = chain(clock, [TransientError(), "hi"], ["unused"])
    response = factory.generate_content("hello")

    assert response.content == "hi"
    assert [each.outcome for each in response.attempts] == ["transient", "success"]
    assert (clock.waits, calls(fakes)) == ([5], [2, 0])


def test_a_quota_error_after_a_transient_one_switches(clock):
    """Each failure is judged by itself."""
    factory, fakes = chain(clock, [TransientError(), QuotaError()], ["hi"])
    factory.generate_content("hello")

    assert (clock.waits, calls(fakes)) == ([5], [2, 1])


@pytest.mark.parametrize(
    "error",
    [
        AuthError(),
        ModelNotFoundError(),
        ContextLengthError(),
        InvalidRequestError(),
        BadAnswerError(),
        ValueError("odd"),
        LLMResponse(False, "", "gemini", "no idea"),
        LLMResponse(True, "", "gemini"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_other_failures_switch_without_a_retry(clock, error):
    """What a second try cannot mend goes to the next provider at once."""
    factory, fakes = chain(clock, [error], ["hi"])

    assert factory.generate_content("hello").content == "hi"
    assert (calls(fakes), clock.waits) == ([1, 1], [])


def test_a_refused_key_is_an_error_in_the_log(clock, caplog):
    """Somebody has to look after a key; a WARNING might be filtered out."""
    factory, _ = chain(clock, [AuthError()], ["hi"])
    factory.generate_content("hello")

    records = [r for r in caplog.records if r.levelno > logging.INFO]
    assert [(r.levelno, r.getMessage()) for r in records] == [
        (logging.WARNING, "gemini cooling down for 300 s after API key rejected"),
        (logging.ERROR, "gemini API key rejected, switching to claude"),
    ]


def test_a_model_that_rejects_a_prompt_is_not_asked_under_another_name(clock):
    """Too long for a model is too long for it with any key; another model may do."""
    asked = []

    class Model(FakeProvider):
        default_model = "usual"

        def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
            asked.append(self.name)
            raise ContextLengthError

        @classmethod
        def from_config(cls, settings):
            return cls(name=settings.entry)

    LLMFactory.register_provider("model", Model)
    chain = ["model:usual", "model:other"]
    response = LLMFactory("model", chain, config={}, clock=clock).generate_content("x")

    assert asked == ["model", "model:other"]
    assert [each.outcome for each in response.attempts] == ["context_length"] * 3


def test_all_failed(clock, caplog):
    """An error response, and the documented ERROR line word for word."""
    factory, fakes = chain(
        clock, [QuotaError("60 a minute")], [TransientError("30 s", reason="timeout")]
    )
    response = factory.generate_content("hello", max_retries=2)

    assert response.success is False
    assert response.content == ""
    assert response.provider_name == "claude"
    assert response.metadata["error_kind"] == "transient"
    assert response.error == (
        "All LLM providers failed:"
        " [gemini: quota exceeded: 60 a minute, claude: timeout: 30 s]"
    )
    assert calls(fakes) == [1, 2]
    assert (caplog.records[-1].levelname, caplog.messages[-1]) == (
        "ERROR",
        "All LLM providers failed: [gemini: quota exceeded, claude: timeout]",
    )


def test_an_unavailable_provider_is_skipped_and_told(clock, caplog):
    """It costs nothing, and the attempts say why."""
    factory, fakes = chain(clock, ["unused"], ["hi"])
    fakes[0].available = False
    response = factory.generate_content("hello")

    assert response.content == "hi"
    assert [(a.provider, a.outcome) for a in response.attempts] == [
        ("gemini", "unavailable"),
        ("claude", "success"),
    ]
    assert calls(fakes) == [0, 1]
    assert "Using gemini for content generation" not in caplog.messages
    assert "gemini skipped: not available" in caplog.messages


def test_a_skipped_provider_is_warned_of_once(clock, caplog):
    """A missing key is seen in the log, and does not fill it; a new reason is news."""
    factory, fakes = chain(clock, ["back"], ["hi"])
    fakes[0].available = False
    for _ in range(3):
        factory.generate_content("hello")
    fakes[0].unavailable_reason = lambda: "no model file"
    factory.generate_content("hello")

    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "gemini skipped: not available",
        "gemini skipped: no model file",
    ]


def test_the_switch_names_who_is_asked_next(clock, caplog):
    """A provider that cannot be asked is not announced."""
    factory, fakes = chain(clock, [QuotaError()], ["unused"], ["hi"])
    fakes[1].available = False
    factory.generate_content("hello")

    assert "gemini quota exceeded, switching to third" in caplog.messages


def test_the_error_that_counts_is_one_of_a_provider_that_was_asked(clock):
    """That the fallback has no key does not hide the primary's used-up quota."""
    factory, fakes = chain(clock, [QuotaError()], ["unused"])
    fakes[1].available = False
    response = factory.generate_content("hello")

    assert response.metadata["error_kind"] == "quota"
    assert response.provider_name == "gemini"
    assert response.error.endswith("claude: not available]")


def test_nobody_available(clock):
    """With no key at all there is still a response, not an exception."""
    factory, fakes = chain(clock, ["unused"])
    fakes[0].available = False
    response = factory.generate_content("hello")

    assert response.metadata["error_kind"] == "unavailable"
    assert response.error == "All LLM providers failed: [gemini: not available]"


def test_a_refusal_is_not_shopped_around(clock, caplog):
    """A blocked prompt stops the call, and the log does not claim that all failed."""
    factory, fakes = chain(clock, [ContentBlockedError()], ["unused"])
    response = factory.generate_content("hello")

    assert calls(fakes) == [1, 0]
    assert response.metadata["error_kind"] == "content_blocked"
    assert response.error == "LLM call stopped: [gemini: content blocked]"
    assert caplog.messages[-1] == response.error


def test_a_refusal_falls_back_where_the_app_says_so(clock):
    """LLM_FALLBACK_ON_BLOCKED is the developer's decision."""
    config = {"LLM_FALLBACK_ON_BLOCKED": "true"}
    factory, _ = chain(clock, [ContentBlockedError()], ["hi"], config=config)

    assert factory.generate_content("hello").content == "hi"


def test_a_failed_call_leaves_no_cycle_behind(clock):
    """An outage must not fill the memory of a worker until the next collection."""
    never = {"LLM_BREAKER_FAILURES": 0}  # else the later calls would skip somebody
    scripts = [[TransientError], [QuotaError], [ValueError]]
    factory, fakes = chain(clock, *scripts, config=never)

    assert left_in_cycles(lambda: factory.generate_content("hello")) == 0
    assert calls(fakes) == [30, 6, 6]


def test_attempts_tell_the_whole_story(clock):
    """Who, how it ended, how long it took, with status and Retry-After."""
    factory, _ = chain(
        clock,
        [TransientError(status=503), QuotaError(status=429, retry_after=37.5)],
        ["hi"],
    )
    attempts = factory.generate_content("hello").metadata["attempts"]

    usual = {"latency_s": 0.0, "error": None, "status": None, "retry_after_s": None}
    usual |= {"usage": None, "model": None, "cost_usd": None, "cost_note": None}
    usual |= {"skipped": False, "started_s": 0.0}
    failed = usual | {"provider": "gemini"}
    unwell = {"outcome": "transient", "error": "temporary failure", "status": 503}
    used_up = {"outcome": "quota", "error": "quota exceeded", "status": 429}
    assert attempts == [
        failed | unwell,
        failed | used_up | {"retry_after_s": 37.5, "started_s": 5.0},
        usual
        | {"provider": "claude", "outcome": "success", "started_s": 5.0}
        | {"cost_note": "no tokens were counted"},
    ]
