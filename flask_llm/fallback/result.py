"""Attempts become the response of a call, its error and its cost."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import (
    ClosedError,
    CoolingDownError,
    DeadlineError,
    ProviderError,
    StreamInterrupted,
    encodable,
)
from ..types import Attempt, LLMResponse, Usage
from .pricing import NO_TOKENS, Prices
from .provider_handle import ProviderHandle


@dataclass(slots=True)
class CallResult:
    """How one walk ended.

    Attributes:
        first: Name of the chain's first entry.
        deadline: Seconds that the whole call had; None for no limit.
        started: When it began, on the clock that measures attempts.
        prices: What tokens cost.
        attempts: Every try and every skipped provider, in order.
        errors: The last error of each provider that did not answer, by its name.
        entry: The entry that answered.
        response: Its answer.
        stopped: Whether the walk ended before the end of the chain.
        late: Whether it was the deadline that ended it.
        over: Whether the deadline has passed, or only leaves too little time.
    """

    first: str
    deadline: float | None = None
    started: float = 0.0
    prices: Prices = field(default_factory=Prices)
    attempts: list[Attempt] = field(default_factory=list)
    errors: dict[str, ProviderError] = field(default_factory=dict)
    entry: ProviderHandle | None = None
    response: LLMResponse | None = None
    stopped: bool = False
    late: bool = False
    over: bool = False

    @property
    def severity(self) -> int:
        """Level of the log line for a call that failed; lower if nobody was asked."""
        if any(isinstance(each, ClosedError) for each in self.errors.values()):
            return ClosedError.severity
        news = self.late or any(each.asked for each in self.errors.values())
        resting = any(isinstance(e, CoolingDownError) for e in self.errors.values())
        return logging.ERROR if news or not resting else logging.WARNING

    def failed(self, error: ProviderError) -> None:
        """Note the last error of a provider."""
        self.errors.pop(error.provider, None)  # to stand where it happened
        self.errors[error.provider] = error

    def tried(
        self,
        entry: ProviderHandle,
        at: float,
        latency: float,
        answer: LLMResponse | ProviderError,
        *,
        begun: bool = False,
    ) -> Attempt:
        """Note how an entry was asked.

        Args:
            entry: The provider.
            at: When it was asked.
            latency: Seconds that it took.
            answer: What came of it.
            begun: Whether there was some of an answer, though it ended in an error.
        """
        if isinstance(answer, ProviderError):
            known = _failure(answer)
        else:
            known, begun = _success(answer), True
        cost = self._cost(entry, known, answered=begun)
        attempt = self._attempt(entry, at, known | cost, latency_s=latency)
        self.attempts.append(attempt)
        return attempt

    def skipped(self, entry: ProviderHandle, at: float, error: ProviderError) -> None:
        """Note why an entry was not asked.

        Args:
            entry: The provider.
            at: When that was.
            error: The reason.
        """
        self.attempts.append(self._attempt(entry, at, _failure(error), skipped=True))

    def _attempt(
        self, entry: ProviderHandle, at: float, known: dict[str, Any], **more: Any
    ) -> Attempt:
        started = at - self.started
        known["model"] = known.get("model") or entry.model_name
        return Attempt(provider=entry.name, started_s=started, **known, **more)

    def _cost(
        self, entry: ProviderHandle, known: dict[str, Any], *, answered: bool
    ) -> dict[str, Any]:
        model = known.get("model") or entry.model_name
        cost, note = self.prices.cost(entry, model, known["usage"], answered=answered)
        return {"cost_usd": cost, "cost_note": note}

    def story(self, *, detailed: bool = False) -> str:
        """Return who failed and why, in the documented words.

        Args:
            detailed: Whether to repeat what the providers themselves said.
        """
        errors = self.errors.values()
        told = (str(each) if detailed else each.summary for each in errors)
        pairs = ", ".join(
            f"{name}: {why}" for name, why in zip(self.errors, told, strict=True)
        )
        return f"{self._head()}: [{pairs}]"

    def _head(self) -> str:
        if self.late:
            how = "passed" if self.over else "leaves no time for another try"
            return f"LLM deadline of {self.deadline:g} s {how}"
        return "LLM call stopped" if self.stopped else "All LLM providers failed"

    def telling_error(self) -> ProviderError:
        """Return the error that stands for the failed call.

        The last one of a provider that was asked: that another has no key says little.
        If all rest, the one that is back first.
        """
        errors = list(self.errors.values())
        if self.late:
            return DeadlineError(provider=errors[-1].provider if errors else self.first)
        if asked := [each for each in errors if each.asked]:
            return asked[-1]
        resting = [each for each in errors if isinstance(each, CoolingDownError)]
        return min(resting or errors[-1:], key=lambda each: each.retry_after or 0.0)


def _success(response: LLMResponse) -> dict[str, Any]:
    """Return what an attempt knows of an answer."""
    model: object = response.model  # of a stranger's metadata
    return {
        "outcome": "success",
        "usage": response.usage_told,
        "model": encodable(model) if isinstance(model, str) else None,
    }


def _failure(error: ProviderError) -> dict[str, Any]:
    """Return what an attempt knows of an error."""
    return {
        "outcome": error.kind,
        "error": error.summary,
        "status": error.status,
        "retry_after_s": error.retry_after,
        "usage": error.usage if Usage.of(error.usage) else None,
    }


# What providers call an answer that ends because it may not be longer.
_CUT = {"length", "max_tokens", "max_output_tokens"}


def _metadata(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return metadata in which every key is there, and the attempts alone are known."""
    return {
        "model": None,
        "usage": None,
        "finish_reason": None,
        "request_id": None,
        "error_kind": None,
        "attempts": attempts,
        "warnings": [],
        "cost_usd": None,
        "cost_note": NO_TOKENS,
    }


def is_cut(metadata: Mapping[str, Any]) -> bool:
    """Return whether an answer ends because it may not be longer."""
    finish = metadata.get("finish_reason")
    return finish != "stop" and str(finish).lower() in _CUT


def of_call(outcome: CallResult) -> LLMResponse:
    """Return the response of a walk that is over."""
    attempts = _attempts(outcome)
    if outcome.entry is None or outcome.response is None:
        story = outcome.story(detailed=True)
        response = failure(story, outcome.telling_error(), attempts)
    else:
        response = _succeeded(outcome.entry.name, outcome.response, attempts)
    return _paid(response, outcome)


def of_stream(
    outcome: CallResult, text: str, ending: LLMResponse | ProviderError | None
) -> LLMResponse:
    """Return the response of a stream that is over.

    Args:
        outcome: How the walk went.
        text: The text that came.
        ending: What its provider told of the answer, or why it broke off; None if there
            was no stream at all.
    """
    if isinstance(ending, ProviderError):
        broken = not isinstance(ending, ClosedError)
        told = StreamInterrupted("", ending) if broken else ending
        return _paid(failure(str(told), ending, _attempts(outcome)), outcome)
    if ending is not None:
        outcome.response = replace(ending, content=text)
    return of_call(outcome)


def _attempts(outcome: CallResult) -> list[dict[str, Any]]:
    return [each.as_dict() for each in outcome.attempts]


def _succeeded(
    provider_name: str, response: LLMResponse, attempts: list[dict[str, Any]]
) -> LLMResponse:
    """Return a provider's answer under its name in the chain."""
    metadata = _metadata(attempts)
    metadata.update(response.metadata, attempts=attempts, error_kind=None)
    metadata["usage"] = _total(attempts)
    metadata.pop("first_token_s", None)  # the call's to tell, of streams only
    told = metadata["warnings"]
    metadata["warnings"] = list(told) if isinstance(told, (list, tuple)) else []
    if is_cut(metadata):
        metadata["finish_reason"] = "length"
        metadata["warnings"].append("the answer is cut at max_tokens")
    return LLMResponse(
        success=True,
        content=response.content,
        provider_name=provider_name,
        metadata=metadata,
        parsed=response.parsed,
    )


def failure(
    text: str, error: ProviderError, attempts: Sequence[dict[str, Any]] = ()
) -> LLMResponse:
    """Return the response for a call without an answer."""
    return LLMResponse(
        success=False,
        content="",
        provider_name=error.provider,
        error=text,
        metadata=_metadata(list(attempts))
        | {"error_kind": error.kind, "usage": _total(attempts)},
    )


def _total(attempts: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """Return the tokens of all attempts: answers that were no good cost too."""
    counted = [each["usage"] for each in attempts if each["usage"]]
    if len(counted) < 2:  # noqa: PLR2004  # nothing to add
        return next(iter(counted), None)
    return {name: sum(each[name] for each in counted) for name in counted[0]}


def _paid(response: LLMResponse, outcome: CallResult) -> LLMResponse:
    """Say in a response what all attempts cost together, or why that is not known.

    One price or count that is missing makes the whole unknown: a sum of the others
    would be taken for it.
    """
    notes = [each.cost_note for each in outcome.attempts if each.cost_note]
    costs = [each.cost_usd for each in outcome.attempts if each.cost_usd is not None]
    note = None if costs and not notes else next(iter(notes), NO_TOKENS)
    if costs and note == NO_TOKENS:
        note = "not all tokens were counted"
    cost = sum(costs) if note is None else None
    response.metadata.update(cost_usd=cost, cost_note=note)
    return response
