"""The sixteen faults, over HTTP with the real SDKs, under both presets.

For each: what the caller gets, what is waited for, and how often each provider is
asked. Waits run on a clock that only counts them. A silent provider is real, with a
short timeout of its own; whoever answers has all the time that a busy machine needs.
"""

import gc
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from fake_clock import FakeClock
from faultserver import FaultServer, faults
from faultserver.steps import Step
from hasty_clock import HastyClock
from products import each_in_turn
from real_time import AT_ONCE_S
from wire import ANSWER, PROMPT

from flask_llm import LLMFactory
from flask_llm.resilience.clock import SYSTEM, Clock
from flask_llm.types import LLMResponse

WIRES = {"gemini": "gemini", "claude": "anthropic"}
OTHER = {"gemini": "claude", "claude": "gemini"}
PRESETS = ["patient", "web"]
EACH_ORDER = pytest.mark.parametrize("primary", WIRES)
EACH_PRESET = pytest.mark.parametrize("preset", PRESETS)

# Seconds for a provider that will be silent; its fallback has the usual 30.
_SHORT = 0.05


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """Load both SDKs, and keep the collector from walking over them meanwhile."""
    with pytest.MonkeyPatch.context() as patch, FaultServer() as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name in WIRES:
            assert ask(factory(server, name, "web", alone=True)).success
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def factory(
    server: FaultServer,
    primary: str,
    preset: str,
    *,
    clock: Clock = SYSTEM,
    alone: bool = False,
    **settings: Any,
) -> LLMFactory:
    """Return a factory over a provider and, unless it is alone, the other one."""
    config = {
        "GOOGLE_API_KEY": "AIza-made-up-0123456789",
        "ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
        "LLM_GEMINI_BASE_URL": server.url,
        "LLM_CLAUDE_BASE_URL": server.url,
        "LLM_RETRY_PRESET": preset,
    }
    fallbacks = [] if alone else [OTHER[primary]]
    return LLMFactory(primary, fallbacks, config=config | settings, clock=clock)


def short(name: str) -> dict[str, float]:
    """Return the setting of a provider that will be silent."""
    return {f"LLM_{name.upper()}_TIMEOUT": _SHORT}


def ask(factory: LLMFactory, **arguments: Any) -> LLMResponse:
    return factory.generate_content(PROMPT, temperature=0.5, **arguments)


def outcomes(response: LLMResponse, name: str) -> list[str]:
    return [each.outcome for each in response.attempts if each.provider == name]


def requests(server: FaultServer, primary: str) -> tuple[int, int]:
    """Return how many requests the primary and its fallback have seen."""
    return tuple(
        len(server.attempts(WIRES[each])) for each in (primary, OTHER[primary])
    )


# What the caller gets ---------------------------------------------------------------


class Story(NamedTuple):
    """How a call goes.

    Attributes:
        primary: The outcomes of the requests to the primary, in order.
        fallback: Those to the fallback.
        waits: The waits in between.
        kind: The error kind, if there is no answer.
    """

    primary: str
    fallback: str = "success"
    waits: tuple[Any, ...] = ()
    kind: str | None = None


class Fault(NamedTuple):
    """A fault and what becomes of it.

    Attributes:
        steps: What the primary does with one request after the other.
        says: The reason that the first attempt tells.
        patient: How the call goes with that preset.
        web: And with this one.
        fallback: What the fallback does.
        silent: Whether each attempt lasts until its time is up.
        settings: Further configuration.
    """

    steps: tuple[Step, ...]
    says: str
    patient: Story
    web: Story
    fallback: Step = faults.OK
    silent: bool = False
    settings: dict[str, Any] = {}  # noqa: RUF012  # never changed


# A quarter of a second, of which half is left to chance.
_MOMENT = pytest.approx(0.1875, abs=0.0626)

_SWITCHED = {kind: Story(kind) for kind in ("quota", "context_length", "bad_answer")}
_BLOCKED = Story("content_blocked", fallback="", kind="content_blocked")
_GIVEN_UP = {
    "patient": Story(" ".join(["transient"] * 5), waits=(5, 10, 20, 40)),
    "web": Story("transient transient", waits=(_MOMENT,)),
}
_PASSED = {
    "patient": Story("transient success", "", waits=(5,)),
    "web": Story("transient success", "", waits=(_MOMENT,)),
}
_SILENT = {"patient": _GIVEN_UP["patient"], "web": Story("transient")}
_UNPARAMETERED = {
    name: story._replace(fallback="invalid_request success")
    for name, story in _GIVEN_UP.items()
}
_REFUSED = {
    name: story._replace(fallback="invalid_request", kind="invalid_request")
    for name, story in _GIVEN_UP.items()
}


def both(story: Story) -> dict[str, Story]:
    return dict.fromkeys(PRESETS, story)


FAULTS = {
    "429 with a short Retry-After": Fault(
        (faults.rate_limited(2), faults.OK),
        "quota exceeded",
        patient=_SWITCHED["quota"],
        web=Story("quota success", "", waits=(2,)),
    ),
    "429 with a short Retry-After, for ever": Fault(
        (faults.rate_limited(2),),
        "quota exceeded",
        patient=_SWITCHED["quota"],
        web=Story("quota quota", waits=(2,)),
    ),
    "429 with a long Retry-After": Fault(
        (faults.rate_limited(17),), "quota exceeded", **both(_SWITCHED["quota"])
    ),
    "429 for ever": Fault(
        (faults.rate_limited(),), "quota exceeded", **both(_SWITCHED["quota"])
    ),
    "day's quota": Fault(
        (faults.day_quota(),), "quota exceeded", **both(_SWITCHED["quota"])
    ),
    "500 once": Fault((faults.status(500), faults.OK), "server error 500", **_PASSED),
    "503 for ever": Fault((faults.status(503),), "server error 503", **_GIVEN_UP),
    "529 for ever": Fault((faults.status(529),), "server error 529", **_GIVEN_UP),
    "reset before headers once": Fault(
        (faults.reset_before_headers, faults.OK), "connection error", **_PASSED
    ),
    "no response at all": Fault((faults.hang,), "timeout", **_SILENT, silent=True),
    "very slow first byte": Fault(
        (faults.slow_first_byte(60),), "timeout", **_SILENT, silent=True
    ),
    "body cut once": Fault((faults.cut_body, faults.OK), "connection error", **_PASSED),
    "body cut by a reset once": Fault(
        (faults.cut_body_reset, faults.OK), "connection error", **_PASSED
    ),
    "body stalled": Fault((faults.stall_body,), "timeout", **_SILENT, silent=True),
    "malformed body": Fault((faults.malformed_body,), "malformed answer", **_GIVEN_UP),
    "missing terminator": Fault(
        (faults.missing_terminator,),
        "incomplete answer",
        **both(_SWITCHED["bad_answer"]),
    ),
    "context length exceeded": Fault(
        (faults.context_length(),),
        "prompt too long",
        **both(_SWITCHED["context_length"]),
    ),
    "content filter": Fault((faults.content_filter(),), "", **both(_BLOCKED)),
    "content filter in the answer": Fault(
        (faults.content_filter("answer"),), "", **both(_BLOCKED)
    ),
    "content filter, where a fallback may answer": Fault(
        (faults.content_filter(),),
        "",
        **both(Story("content_blocked")),
        settings={"LLM_FALLBACK_ON_BLOCKED": True},
    ),
    "fallback that rejects a parameter": Fault(
        (faults.status(503),),
        "server error 503",
        **_UNPARAMETERED,
        fallback=faults.rejects("thinking", "temperature"),
        # The one of Google's that is sent a temperature.
        settings={"LLM_GEMINI_MODEL": "gemma-4-27b-it"},
    ),
    "fallback that rejects the request": Fault(
        (faults.status(503),),
        "server error 503",
        **_REFUSED,
        fallback=faults.status(400),
    ),
}


@each_in_turn("fault, preset, primary", FAULTS, PRESETS, list(WIRES))
def test_fault(server, clock, fault, preset, primary):
    """Each fault costs the requests and the waits of its preset, and no more."""
    story = getattr(fault, preset)
    server.script(WIRES[primary], *fault.steps)
    server.script(WIRES[OTHER[primary]], fault.fallback)
    settings = fault.settings | (short(primary) if fault.silent else {})
    chain = factory(server, primary, preset, clock=clock, **settings)
    began = time.monotonic()
    response = ask(chain)
    took = time.monotonic() - began

    asked, answering = story.primary.split(), story.fallback.split()
    assert outcomes(response, primary) == asked
    assert outcomes(response, OTHER[primary]) == answering
    server.arrived(len(asked), WIRES[primary])  # the last may be on its way
    assert requests(server, primary) == (len(asked), len(answering))
    assert response.attempts[0].error.startswith(fault.says)
    assert clock.waits == list(story.waits)
    assert response.metadata["latency_s"] == pytest.approx(sum(clock.waits))
    assert took < AT_ONCE_S
    assert took >= len(asked) * _SHORT or not fault.silent

    last = OTHER[primary] if answering else primary
    assert response.provider_name == last
    assert response.success == (story.kind is None)
    assert response.metadata["error_kind"] == story.kind
    assert response.content == ("" if story.kind else ANSWER)


@EACH_ORDER
@EACH_PRESET
def test_accounting(server, clock, preset, primary):
    """The answer names the model that gave it and the tokens that it took."""
    told = {"text": "blue", "model": "the-fallback-s-own", "usage": (21, 34)}
    server.script(WIRES[primary], faults.status(503))
    server.script(WIRES[OTHER[primary]], faults.OK(**told))
    response = ask(factory(server, primary, preset, clock=clock))

    assert response.content == "blue"
    assert response.provider_name == OTHER[primary]
    assert response.model == "the-fallback-s-own"
    assert (response.usage.input_tokens, response.usage.output_tokens) == (21, 34)
    assert response.usage.total_tokens == 55
    assert response.metadata["finish_reason"] == "stop"
    assert [each.error for each in response.attempts[:-1]] == (
        ["server error 503"] * len(outcomes(response, primary))
    )


# An outage under traffic --------------------------------------------------------------


class Stage:
    """A clock for many calls at once: time moves on when each of them waits.

    One thread runs at a time, so that a play goes the same way each time.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._count = itertools.count()
        self._paused = threading.Semaphore(0)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1_000_000_000

    def sleep(self, seconds: float, /) -> None:
        awake = threading.Event()
        moment = (self.now + seconds, next(self._count), awake)
        heapq.heappush(self._sleepers, moment)
        self._paused.release()
        assert awake.wait(60)

    def wait(self, signal: threading.Lock, seconds: float, /) -> bool:
        return signal.acquire(timeout=60)

    def play(self, scene: Callable[[], Any], seconds: int) -> list[Any]:
        """Return what a function returned that was called once a second."""
        with ThreadPoolExecutor(seconds) as pool:
            scenes = []
            for second in range(seconds):
                scenes.append(pool.submit(self._enter, second, scene))
                self._paused.acquire()
            while self._sleepers:
                self.now, _, awake = heapq.heappop(self._sleepers)
                awake.set()
                self._paused.acquire()
        return [each.result() for each in scenes]

    def _enter(self, second: float, scene: Callable[[], Any]) -> Any:
        self.sleep(second)
        try:
            return scene()
        finally:
            self._paused.release()


@each_in_turn("preset, primary", PRESETS, list(WIRES))
def test_outage_of_a_minute(server, preset, primary):
    """Everybody is served, few requests are wasted, and the primary is soon back."""
    stage = Stage()
    up_at = stage.now + 60
    down = faults.flapping(faults.status(503), up_at, stage.monotonic)
    server.script(WIRES[primary], down)
    chain = factory(server, primary, preset, clock=stage)
    served = stage.play(lambda: (ask(chain), stage.now), 120)

    assert all(response.success for response, _ in served)
    wasted = sum(outcomes(each, primary).count("transient") for each, _ in served)
    ends = [now for each, now in served if each.provider_name == primary]
    assert wasted <= 15
    assert len(server.attempts(WIRES[primary])) == wasted + len(ends)
    back = min(ends)
    assert up_at <= back <= up_at + 30
    assert {each.provider_name for each, now in served if now > back} == {primary}
    # Whoever came once the outage was known, or was in a hurry, did not wait for it.
    slow = [each for each, _ in served if each.metadata["latency_s"] > 1]
    assert len(slow) <= (5 if preset == "patient" else 0)


# A deadline ---------------------------------------------------------------------------


class Waited(FakeClock):
    """A clock that goes on while somebody waits for a call, and at no other time."""

    def monotonic(self) -> float:
        if threading.current_thread().name != "flask-llm-call":
            self._looked = time.monotonic()
        return super().monotonic()

    def wait(self, signal: threading.Lock, seconds: float, /) -> bool:
        in_time = signal.acquire(timeout=seconds)
        # The call may have begun a bit before this wait.
        self.now += time.monotonic() - self._looked
        return in_time


class Hurried(NamedTuple):
    """A fault in front of a deadline of less than a second.

    Attributes:
        step: What the primary does with each request.
        outcome: The outcome of the first attempt.
        patient: The error kind with that preset, without a fallback.
        web: And with this one.
        eats: Whether an attempt lasts until its time is up.
        unstoppable: Whether no timeout of the SDK ends the call.
    """

    step: Step
    outcome: str
    patient: str
    web: str
    eats: bool = False
    unstoppable: bool = False


def eating(step: Step, *, unstoppable: bool = False) -> Hurried:
    return Hurried(
        step, "transient", "deadline", "deadline", eats=True, unstoppable=unstoppable
    )


def passing(step: Step) -> Hurried:
    """Return a fault that is worth another attempt, for which only one preset waits."""
    return Hurried(step, "transient", "deadline", "transient")


def lasting(step: Step, kind: str) -> Hurried:
    return Hurried(step, kind, kind, kind)


HURRIED = {
    "429 with a short Retry-After": Hurried(
        faults.rate_limited(2), "quota", "quota", "deadline"
    ),
    "429": lasting(faults.rate_limited(), "quota"),
    "day's quota": lasting(faults.day_quota(), "quota"),
    "500": passing(faults.status(500)),
    "503": passing(faults.status(503)),
    "529": passing(faults.status(529)),
    "bad key": lasting(faults.bad_key(), "auth"),
    "unknown model": lasting(faults.unknown_model(), "model_not_found"),
    "reset before headers": passing(faults.reset_before_headers),
    "closed without an answer": passing(faults.close_without_answer),
    "no response at all": eating(faults.hang),
    "slow first byte": eating(faults.slow_first_byte(60)),
    "dripping body": eating(faults.drip(0.02)),
    "dripping headers": eating(faults.drip_headers(0.05), unstoppable=True),
    "body cut": passing(faults.cut_body),
    "body cut by a reset": passing(faults.cut_body_reset),
    "body stalled": eating(faults.stall_body),
    "malformed body": passing(faults.malformed_body),
    "empty body": passing(faults.empty_body),
    "web page": passing(faults.html()),
    "missing terminator": lasting(faults.missing_terminator, "bad_answer"),
    "thought only": lasting(faults.thought_only, "bad_answer"),
    "empty text": lasting(faults.empty_text, "bad_answer"),
    "context length": lasting(faults.context_length(), "context_length"),
    "content filter": lasting(faults.content_filter(), "content_blocked"),
}
EACH_HURRIED = each_in_turn("fault, preset", HURRIED, PRESETS)
EATING = {name: each for name, each in HURRIED.items() if each.eats}

# The primary that is asked with each preset, to save half of the cases; the other
# one where there is no fallback.
_TURNS = {"patient": "claude", "web": "gemini"}

# With the preset's quarter of a second there would be no time for another try.
_PACE = {"patient": {}, "web": {"LLM_RETRY_DELAY": 0.1}}

_DEADLINE_S = 0.5


def hurry(chain: LLMFactory, deadline: float = _DEADLINE_S) -> LLMResponse:
    """Return the answer, which comes at once, with everything loaded."""
    chain.warm_up(full=True)
    began = time.monotonic()
    response = ask(chain, deadline=deadline)
    assert time.monotonic() - began < AT_ONCE_S
    return response


def assert_left(server: FaultServer, chain: LLMFactory, primary: str) -> None:
    """Fail unless the server has seen the client leave, and no thread stays."""
    for attempt in server.attempts(WIRES[primary]):
        assert attempt.wait()
        assert attempt.abandoned
    assert not abandoned(chain, primary, 0)


def abandoned(chain: LLMFactory, name: str, expected: int) -> int:
    """Return how many calls have been left behind; wait for the expected number."""
    calls = chain._chain.bulkheads[name]._calls.get()
    for _ in range(3000):
        if len(calls.abandoned) == expected:
            break
        time.sleep(0.01)
    return len(calls.abandoned)


@EACH_HURRIED
def test_fallback_answers_in_time(server, clock, fault, preset):
    """With a deadline the fallback's answer is there in time, whatever the fault."""
    primary = _TURNS[preset]
    server.script(WIRES[primary], fault.step)
    settings = {"LLM_FALLBACK_ON_BLOCKED": True} | _PACE[preset]
    deadline = _DEADLINE_S
    if fault.unstoppable:
        clock, deadline = HastyClock(), 60
        clock.is_meant = lambda: bool(server.attempts())
        settings |= {"LLM_RETRY_DELAY": deadline}  # for which there is no time
    elif fault.eats:
        settings |= short(primary)
    chain = factory(server, primary, preset, clock=clock, **settings)
    response = hurry(chain, deadline)

    assert response.provider_name == OTHER[primary]
    assert response.content == ANSWER
    assert response.attempts[0].outcome == fault.outcome
    assert response.metadata["latency_s"] < deadline
    if fault.eats:
        assert outcomes(response, primary) == ["transient"]
        assert response.attempts[0].error == "timeout"
    if fault.eats and not fault.unstoppable:
        assert_left(server, chain, primary)


@EACH_HURRIED
def test_nobody_answers_in_time(server, clock, fault, preset):
    """Without a fallback the reason is there in time, with the attempts made."""
    primary = OTHER[_TURNS[preset]]
    server.script(WIRES[primary], fault.step)
    # What eats time ends with the deadline; the others leave room for a wait.
    clock, deadline = (Waited(), 0.2) if fault.eats else (clock, _DEADLINE_S)
    chain = factory(server, primary, preset, clock=clock, alone=True, **_PACE[preset])
    response = hurry(chain, deadline)

    assert not response.success
    assert response.metadata["error_kind"] == getattr(fault, preset)
    server.arrived(len(response.attempts))
    assert requests(server, primary) == (len(response.attempts), 0)
    assert {each.outcome for each in response.attempts} == {fault.outcome}
    if fault.eats:
        assert response.metadata["latency_s"] >= deadline
        story = f"LLM deadline of {deadline} s passed: [{primary}: timeout"
        assert response.error.startswith(story)
    else:
        assert response.metadata["latency_s"] < deadline
    if fault.eats and not fault.unstoppable:
        assert_left(server, chain, primary)


def test_fallback_that_must_be_asked_twice(server, clock):
    """A fallback that rejects a parameter is asked without it, within the deadline."""
    server.script("gemini", faults.hang)
    server.script("anthropic", faults.rejects("thinking"))
    chain = factory(server, "gemini", "web", clock=clock, **short("gemini"))
    response = hurry(chain)

    assert outcomes(response, "claude") == ["invalid_request", "success"]


@EACH_ORDER
def test_call_left_behind(primary):
    """What no timeout ends is left behind, and ends with its connection."""
    clock = HastyClock()
    with FaultServer() as server:
        clock.is_meant = lambda: bool(server.attempts())
        server.script(WIRES[primary], HURRIED["dripping headers"].step)
        chain = factory(server, primary, "web", clock=clock)
        assert hurry(chain, 60).success
        assert abandoned(chain, primary, 1) == 1
        # It had two thirds of the deadline.
        assert clock.given_up == [pytest.approx(40, abs=AT_ONCE_S)]
    assert abandoned(chain, primary, 0) == 0


@pytest.mark.timing
@pytest.mark.parametrize("fault", EATING.values(), ids=EATING)
def test_a_share_of_the_deadline_is_kept(server, fault):
    """In real time: whatever the primary does, it leaves the fallback its third."""
    server.script("gemini", fault.step)
    began = time.monotonic()
    response = hurry(factory(server, "gemini", "web"))

    assert response.provider_name == "claude"
    assert time.monotonic() - began < _DEADLINE_S + 0.1


@pytest.mark.timing
def test_two_seconds(server):
    """The promise itself: a deadline of 2 s is kept within 0.1 s, though all drip."""
    server.script(faults.drip(0.05))
    chain = factory(server, "gemini", "web")
    chain.warm_up(full=True)
    began = time.monotonic()
    response = ask(chain, deadline=2.0)

    assert time.monotonic() - began < 2.1
    assert response.metadata["latency_s"] > 1.95
    assert response.metadata["error_kind"] == "deadline"
    assert [each.error for each in response.attempts] == ["timeout", "timeout"]
