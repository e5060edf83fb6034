"""What must hold for any chain, any failures and any clock: a machine tries."""

import math
from dataclasses import dataclass

from fake_clock import FakeClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flask_llm import LLMFactory, LLMResponse
from flask_llm.errors import (
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ParameterError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UsedUpError,
)
from flask_llm.testing import FakeProvider

GRACE = 0.025
NOT_ASKED = {"cooldown", "unavailable", "deadline"}
NAMES = ["gemini", "claude", "third"]

CLASSES = [
    AuthError,
    BadAnswerError,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ParameterError,
    ProviderError,
    QuotaError,
    TimedOutError,
    TransientError,
    UsedUpError,
    ValueError,
]


@dataclass
class Step:
    """What a provider does when it is asked: takes its time, then answers or fails."""

    seconds: float
    error: Exception | None


errors = st.one_of(
    st.sampled_from(CLASSES).map(lambda cls: cls("no")),
    st.builds(
        lambda cls, seconds: cls("no", retry_after=seconds),
        st.sampled_from([QuotaError, TransientError, UsedUpError]),
        st.sampled_from([0.5, 2.0, 20.0, 1e6]),
    ),
)
steps = st.builds(
    Step, st.sampled_from([0.0, 0.01, 0.4, 1.0, 7.0, 1000.0]), st.none() | errors
)
plans = st.lists(steps, min_size=1, max_size=4)


class Planned(FakeProvider):
    """Plays its plan anew in each call of the factory; the last step repeats."""

    def __init__(self, name, clock):
        super().__init__(name=name)
        self.clock = clock
        self.plan = [Step(0, None)]
        self.asked = 0

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        step = self.plan[min(self.asked, len(self.plan) - 1)]
        self.asked += 1
        self.clock.sleep(step.seconds)
        if step.error is not None:
            raise step.error
        return LLMResponse(True, "hi", self.name)


class AnyChain(RuleBasedStateMachine):
    """Providers that change their minds, a clock that goes on, and calls."""

    @initialize(size=st.integers(1, 3), preset=st.sampled_from(["patient", "web"]))
    def set_up(self, size, preset):
        self.clock = FakeClock()
        self.providers = [Planned(name, self.clock) for name in NAMES[:size]]
        config = {
            "LLM_RETRY_PRESET": preset,
            "LLM_RETRY_JITTER": 0,
            "LLM_DEADLINE": "none",
        }
        primary, *fallbacks = self.providers
        self.factory = LLMFactory(primary, fallbacks, config=config, clock=self.clock)
        self.policy = self.factory.config.retry

    @rule(number=st.integers(0, 2), plan=plans)
    def change_its_mind(self, number, plan):
        self.providers[number % len(self.providers)].plan = plan

    @rule(number=st.integers(0, 2), available=st.booleans())
    def come_and_go(self, number, available):
        self.providers[number % len(self.providers)].available = available

    @rule(seconds=st.sampled_from([0.1, 3.0, 6.0, 30.0, 400.0, 4000.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule(deadline=st.sampled_from([math.inf, 25.03, 2.017, 0.1037, 0.0]))
    def call(self, deadline):
        before = self.factory._chain.breakers.snapshot()
        rests = {name: c.until - self.clock.time() for name, c in before.items()}
        broken = {name for name, circuit in before.items() if circuit.until}
        for each in self.providers:
            each.asked = 0
        started = self.clock.now
        response = self.factory.generate_content("hello", deadline=deadline)
        took = self.clock.now - started

        assert isinstance(response, LLMResponse)
        assert response.success == bool(response.content) == (response.error is None)
        self.check_attempts(response)
        assert took <= deadline + GRACE * (len(response.attempts) + 1)
        oracle = Oracle(self.policy, self.providers, deadline, rests, broken)
        assert response.success == oracle.would_answer(response)

    def check_attempts(self, response):
        """Nobody is asked more often than the policy allows, or than is told."""
        for each in self.providers:
            told = [a for a in response.attempts if a.provider == each.name]
            asked = [a for a in told if a.outcome not in NOT_ASKED]
            assert len(asked) == each.asked <= max(1, self.policy.max_attempts)
            if len(asked) < len(told) and asked:
                assert len(asked) == 1  # the last resort, left out at first


class Oracle:
    """Says whether somebody who may be asked has an answer in time."""

    def __init__(self, policy, providers, deadline, rests, broken):
        self.policy = policy
        self.present = [each for each in providers if each.available]
        self.deadline = self.left = deadline
        self.rests = rests
        self.broken = broken

    def would_answer(self, response):
        skipped = {a.provider for a in response.attempts if a.outcome == "cooldown"}
        asked = [each for each in self.present if each.name not in skipped]
        last = [each for each in self.present if each.name in skipped and each.asked]
        for number, provider in enumerate(asked + last):
            verdict = self.ask(provider, is_last=number >= len(asked))
            if verdict is not None:
                return verdict
        return False

    def ask(self, provider, *, is_last):
        """Return whether there is an answer, or None to go on with the next one."""
        probe = provider.name in self.broken
        tries = 1 if probe else max(1, self.policy.max_attempts)
        for failures in range(1, tries + 1):
            if self.left < 0.005:
                return False
            step = provider.plan[min(failures, len(provider.plan)) - 1]
            error = self.spend(step, 0 if is_last else self.followers(provider))
            if error is None or isinstance(error, ContentBlockedError):
                return error is None
            known = isinstance(error, ProviderError) and failures < tries
            wait = self.policy.wait(error, failures) if known else None
            if wait is None or wait + 0.005 > self.left:
                return None
            self.left -= wait
        return None

    def spend(self, step, followers):
        """Take a step's time off what is left; return how it ends."""
        limit = self.left * 2 / (2 + followers)
        limit += min(GRACE, limit * 0.05)
        if step.seconds > limit:
            self.left -= limit
            return TimedOutError()
        self.left -= step.seconds
        return step.error

    def followers(self, provider):
        """Count who may still be asked; the time that has gone may end a rest."""
        if self.deadline == math.inf:
            return 0
        gone = self.deadline - self.left
        later = self.present[self.present.index(provider) + 1 :]
        return sum(self.rests[each.name] <= gone for each in later)


AnyChain.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyChain = AnyChain.TestCase
