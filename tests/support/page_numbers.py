"""An hour of made-up calls, in the memory that the real report is made of."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

from made_calls import attempt, finished

from flask_llm.observe.aggregates import About
from flask_llm.observe.memory import Memory
from flask_llm.observe.records import CallRecord
from flask_llm.signals import CircuitChanged
from flask_llm.types import Attempt
from flask_llm.web.report import report

NOW = 1_795_420_000.0
"""When the reports are made; a round time in November 2026."""

BACK = NOW + 18
"""When the primary's rest ends, and it is tried again."""

MODELS = {
    "gemini": "gemini-3-flash",
    "claude": "claude-haiku-5-5",
    "local": "SmolLM2-135M-Instruct",
}
_PRICES = {"gemini": (0.3e-6, 2.5e-6), "claude": (1e-6, 5e-6)}
_PACE_S = {"gemini": 0.72, "claude": 1.05, "local": 2.4}

# How often, the tokens of a prompt and of an answer, and whether it is streamed.
_PURPOSES = {
    "classify_email": (68, 400, 17, False),
    "draft_reply": (29, 840, 180, True),
    "summarize_thread": (3, 2600, 240, False),
}

_RETRY_S = 60.0
_RESTS = ((BACK - 2280, BACK - 2040), (BACK - 720, BACK))


class Told(Memory):
    """A memory that may say something else of itself, such as to be a usage log."""

    said: About | None = None

    def about(self) -> About:
        return self.said or super().about()


class Hour:
    """The calls of an hour, told to a memory in their order.

    Args:
        rests: Whether gemini's quota is used up now and then.
    """

    def __init__(self, *, rests: bool) -> None:
        self.memory = Told(SimpleNamespace(time=lambda: NOW))
        self._random = Random(7)
        self._rests = _RESTS if rests else ()
        self._until = 0.0
        for number, at in enumerate(self._moments()):
            self.add(at, *self.tries(number, at))

    def add(self, at: float, *tries: Attempt, purpose: str = "classify_email") -> None:
        """Tell of a call that was over at a moment."""
        known = {}
        tries = tuple(in_turn(tries))
        last = tries[-1]
        if last.outcome == "success":
            purpose = self._one_of(_PURPOSES)
            if _PURPOSES[purpose][-1]:
                known["first_token_s"] = last.started_s + 0.4 * last.latency_s
            tries = (*tries[:-1], self._paid(last, purpose))
        latency = last.started_s + last.latency_s + 0.002
        self.memory.finished(
            finished(at, *tries, purpose=purpose, latency=latency, **known)
        )

    def report(self, status: dict[str, Any], name: str = "1h") -> dict[str, Any]:
        """Return the report of all calls until now.

        Args:
            status: How the chain stands.
            name: The range.
        """
        return report(self.memory, status, name, NOW, is_shared=True)

    def opening(self) -> CallRecord:
        """Return the call with which the latest rest began."""
        calls = self.memory.recent(500)
        return next(each for each in calls if each.attempts[0].status == 503)

    def tries(self, number: int, at: float) -> list[Attempt]:
        """Return how a call went, by its number and by when it was."""
        if at < self._until:
            return [skipped("gemini"), *self._by_fallback(number)]
        if rest := [each for each in self._rests if each[0] <= at < each[1]]:
            return [*self._rest(at, *rest[0]), self.answer("claude")]
        if self._until:
            self._until = 0.0
            self.memory.changed(CircuitChanged("gemini", at))
        if number % 331 == 7:
            return [failed("gemini", "content_blocked", "content blocked")]
        again = [failed("gemini", "transient", "temporary failure", 503)]
        return [*(again if number % 97 == 40 else ()), self.answer("gemini")]

    def answer(self, provider: str) -> Attempt:
        """Return an answer as quick as the provider's are."""
        latency = _PACE_S[provider] * self._random.lognormvariate(0, 0.45)
        return attempt(provider, model=MODELS[provider], latency_s=round(latency, 3))

    def _by_fallback(self, number: int) -> list[Attempt]:
        if number % 141 == 5:
            return [failed("claude", "content_blocked", "content blocked")]
        if number % 163 == 9:
            slow = failed("claude", "transient", "timeout", latency=10.0)
            return [slow, self.answer("local")]
        return [self.answer("claude")]

    def _rest(self, at: float, begin: float, end: float) -> Iterator[Attempt]:
        """Yield the failures with which a rest begins, or goes on."""
        if self._until < begin:
            yield failed("gemini", "transient", "temporary failure", 503, latency=0.41)
        self._until = end - (end - at - 0.001) // _RETRY_S * _RETRY_S
        opened = CircuitChanged(
            "gemini", at, self._until, "quota", "quota exceeded", 429
        )
        self.memory.changed(opened)
        told = {"retry_after_s": float(round(self._until - at)), "latency": 0.22}
        yield failed("gemini", "quota", "quota exceeded", 429, **told)

    def _moments(self) -> Iterator[float]:
        """Yield when calls were over, in waves as a day has them."""
        for minute in range(60):
            number = round(34 + 14 * math.sin(minute / 6) + 6 * math.sin(minute * 2.3))
            for place in range(number):
                part = (place + self._random.random()) / number
                yield NOW - 3602 + 60 * (minute + part)

    def _one_of(self, choices: dict[str, tuple[Any, ...]]) -> str:
        weights = [each[0] for each in choices.values()]
        return self._random.choices(list(choices), weights)[0]

    def _paid(self, answer: Attempt, purpose: str) -> Attempt:
        """Return an answer with its tokens, and what they cost."""
        _, taken, given, _ = _PURPOSES[purpose]
        spread = self._random.uniform(0.7, 1.4)
        tokens = round(taken * spread), round(given * spread)
        if prices := _PRICES.get(answer.provider):
            cost = sum(map(math.prod, zip(tokens, prices, strict=True)))
            paid = {"cost_usd": cost}
        else:
            paid = {"cost_note": f"no price is known for {answer.model}"}
        usage = attempt(answer.provider, tokens=tokens).usage
        return replace(answer, usage=usage, **paid)


def failed(
    provider: str,
    kind: str,
    error: str,
    status: int | None = None,
    latency: float = 0.35,
    **known: Any,
) -> Attempt:
    """Return a try that failed."""
    told = {"error": error, "status": status, "latency_s": latency}
    return attempt(provider, kind, model=MODELS[provider], **told, **known)


def skipped(provider: str, kind: str = "cooldown", error: str = "cooling down") -> Any:
    """Return a provider that was not asked."""
    return attempt(provider, kind, model=MODELS[provider], error=error, skipped=True)


def in_turn(tries: tuple[Attempt, ...]) -> Iterator[Attempt]:
    """Yield tries one after the other in time, with a wait before each retry."""
    begin = 0.002
    yield replace(tries[0], started_s=begin)
    for last, each in pairwise(tries):
        begin += last.latency_s + (0.5 if each.provider == last.provider else 0.001)
        yield replace(each, started_s=begin)
