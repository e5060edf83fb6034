"""The app's own limits: who has no room is left out, or waited for."""

import re

import pytest
from fake_clock import FakeClock
from faultserver import FaultServer, faults
from wired import settings

from flask_llm import LLMFactory
from flask_llm.errors import ConfigurationError, TransientError
from flask_llm.testing import FakeProvider


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def ask(server, clock):
    """Return what makes an app's chain, claude first, and asks it."""

    def make(*others, **config):
        config = settings("claude", server.url) | config
        factory = LLMFactory("claude", [*others], config=config, clock=clock)
        return lambda **more: factory.generate_content("hello", **more)

    return make


def outcomes(response):
    return [(each.provider, each.outcome, each.skipped) for each in response.attempts]


def test_who_has_no_room_is_left_out(ask, server):
    """At once, without a request, and it is no failure of the provider's."""
    call = ask(FakeProvider(*["instead"] * 3), LLM_CLAUDE_RATE="2/minute")
    assert [call().provider_name for _ in range(3)] == ["claude", "claude", "fake"]
    response = call()
    assert outcomes(response) == [("claude", "quota", True), ("fake", "success", False)]
    left_out = response.attempts[0]
    assert left_out.error == "our own limit of requests, retry after 61 s"
    assert left_out.retry_after_s == pytest.approx(61, abs=1)
    assert len(server.attempts("anthropic")) == 2


def test_with_nobody_else_it_is_waited_for(ask, server, clock):
    """As long as the deadline lasts; then it says when to come back."""
    call = ask(LLM_CLAUDE_RATE="1/10 seconds")
    assert call().success
    before = clock.monotonic()
    assert call(deadline=60).success
    assert 10 <= clock.monotonic() - before <= 11
    response = call(deadline=5)
    assert not response.success
    assert response.metadata["error_kind"] == "quota"
    assert response.error.startswith("All LLM providers failed: [claude: our own limit")
    assert len(server.attempts("anthropic")) == 2


def test_without_a_deadline_no_longer_than_a_retry_after(ask, clock):
    """A window of an hour holds up no request for an hour."""
    call = ask(LLM_CLAUDE_RATE="1/hour", LLM_RETRY_MAX_RETRY_AFTER=20)
    assert call().success
    before = clock.monotonic()
    response = call()
    assert response.metadata["error_kind"] == "quota"
    assert re.search(r"our own limit of requests, retry after 36\d\d s", response.error)
    assert clock.monotonic() == before


def test_each_request_counts_and_no_circuit_opens(ask, server, clock):
    """Retries too; once there is room the provider is asked as ever."""
    server.script("anthropic", faults.status(503), faults.OK)
    call = ask(LLM_CLAUDE_RATE="2/minute", LLM_RETRY_DELAY=1)
    assert call().success
    response = call(deadline=100)
    assert response.success
    assert outcomes(response) == [
        ("claude", "quota", True),
        ("claude", "success", False),
    ]
    assert len(server.attempts("anthropic")) == 3


def test_tokens_are_taken_first_and_counted_afterwards(ask, server):
    """What was reserved for the answer comes back when it is shorter."""
    server.script("anthropic", *[faults.OK(usage=(10, 20))] * 20)
    call = ask(LLM_CLAUDE_TOKEN_RATE="1000/minute", LLM_RETRY_MAX_RETRY_AFTER=0)
    answered = [call(max_tokens=500).success for _ in range(18)]
    # Each has 30 at its end, but must find room for 502 before it.
    assert answered == [True] * 17 + [False]


def test_a_prompt_that_never_fits(ask):
    """It says so, and names no time to come back."""
    response = ask(LLM_CLAUDE_TOKEN_RATE="100/minute")(max_tokens=200)
    assert "our own limit of tokens is below what this prompt takes" in response.error
    assert response.attempts[0].retry_after_s is None


def test_entries_of_one_key_share_its_limit(server, clock):
    """Another model is another entry, but the same account; so is a group."""
    config = settings("claude", server.url) | {"LLM_CLAUDE_RATE": "1/minute"}
    chain = ["claude:claude-haiku-5-5", FakeProvider("instead")]
    factory = LLMFactory("claude", chain, config=config, clock=clock)
    assert factory.generate_content("a").provider_name == "claude"
    second = factory.generate_content("b")
    assert [each.provider for each in second.attempts if each.skipped] == [
        "claude",
        "claude:claude-haiku-5-5",
    ]


def test_groups_share_a_limit_and_keys_do_not(server, clock):
    """Two endpoints of LLM_PROVIDERS, with keys of one account or of two."""

    def skipped(**more):
        endpoint = {"provider": "claude", "base_url": server.url, "rate": "1/minute"}
        config = {
            "LLM_PROVIDERS": {
                "one": endpoint | {"api_key": "sk-ant-of-one-0000"} | more,
                "two": endpoint | {"api_key": "sk-ant-of-two-0000"} | more,
            }
        }
        factory = LLMFactory("one", ["two"], config=config, clock=clock)
        factory.generate_content("a")
        second = factory.generate_content("b", deadline=1)
        return [each.provider for each in second.attempts if each.skipped]

    assert skipped() == ["one"]
    assert skipped(limit_group="ours") == ["one", "two"]


def test_streams_take_room_too(server, clock):
    """And give back what they did not use, at their end."""
    config = settings("claude", server.url) | {"LLM_CLAUDE_TOKEN_RATE": "1000/minute"}
    factory = LLMFactory("claude", [FakeProvider("x")], config=config, clock=clock)
    for _ in range(3):
        with factory.stream_content("hello", max_tokens=900) as stream:
            assert "".join(stream)
        assert stream.response.provider_name == "claude"


def test_what_is_no_rate_is_told_at_the_start():
    """By its key, with what would be right."""
    with pytest.raises(ConfigurationError, match="LLM_CLAUDE_RATE must be a rate such"):
        LLMFactory("claude", [], config={"LLM_CLAUDE_RATE": "sixty"})


def test_a_chain_without_limits_has_none():
    """A feature that is off costs nothing."""
    assert LLMFactory("claude", [], config={})._chain.limits is None


class Down(FakeProvider):
    """A provider that answers nothing but 503."""

    def answer(self, request):
        self.asked = getattr(self, "asked", 0) + 1
        raise TransientError(status=503, provider=self.name)


def outage(clock, **config):
    """Return a provider that is down, and what asks it."""
    down = Down(name="down")
    config = {"LLM_RETRY_PRESET": "web", "LLM_BREAKER_FAILURES": 0} | config
    others = [FakeProvider(lambda _: "instead")]
    factory = LLMFactory(down, others, config=config, clock=clock)
    return down, lambda **more: factory.generate_content("hello", **more)


def test_retries_of_all_calls_have_a_budget(clock):
    """Each alone would make two; all together make ten, or a fifth of the calls."""
    down, call = outage(clock, LLM_RETRY_BUDGET="20%", LLM_MAX_RETRIES=3)
    responses = [call() for _ in range(30)]
    assert all(each.provider_name == "fake" for each in responses)
    assert down.asked == 30 + 10
    stopped = responses[-1].attempts[1]
    assert (stopped.provider, stopped.skipped) == ("down", True)
    assert stopped.error.endswith("not asked again, LLM_RETRY_BUDGET is used up")
    clock.sleep(120)
    assert down.asked == 40
    call()
    assert down.asked == 43


def test_a_call_alone_may_make_its_retries(clock):
    """The budget is never below what is documented for one call."""
    down, call = outage(clock, LLM_RETRY_BUDGET="0%", LLM_MAX_RETRIES=15)
    call(deadline=10_000)
    assert down.asked == 15


def test_without_a_budget_all_are_made(clock):
    """As ever."""
    down, call = outage(clock, LLM_MAX_RETRIES=3)
    for _ in range(30):
        call()
    assert down.asked == 90


@pytest.mark.parametrize("odd", ["20", "120%", 0.2, "x%", True])
def test_a_budget_is_a_share(odd):
    """With its sign, so that nobody takes it for a number of retries."""
    with pytest.raises(ConfigurationError, match="LLM_RETRY_BUDGET must be a share"):
        LLMFactory("claude", [], config={"LLM_RETRY_BUDGET": odd})
