"""Attempts become the response of a call, its error and its cost."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import (
    ClosedError,
    CoolingDownError,
    DeadlineError,
    OwnLimitError,
    ProviderError,
    StreamInterrupted,
    encodable,
)
from ..types import Attempt, LLMResponse, added, is_usage
from .pricing import NO_TOKENS, Prices
from .provider_handle import ProviderHandle

# What providers call an answer that ends because it may not be longer.
_TRUNCATED = {"length", "max_tokens", "max_output_tokens"}

_LISTS = (list, tuple)

# Every key is there in each response; also those that are filled in at its end.
_UNKNOWN: dict[str, Any] = {
    "call_id": "",
    "purpose": "",
    "latency_s": 0.0,
    "model": None,
    "usage": None,
    "finish_reason": None,
    "request_id": None,
    "error_kind": None,
    "attempts": (),
    "warnings": (),
    "cost_usd": None,
    "cost_note": NO_TOKENS,
}


@dataclass(slots=True)
class CallResult:
    """How one call went.

    Attributes:
        first: Name of the chain's first provider.
        deadline: Seconds that the whole call had; None for no limit.
        started: When it began, on the clock that measures attempts.
        attempts: Every try and every skipped provider, in order.
        errors: The last error of each provider that did not answer, by its name.
        handle: The provider that answered.
        stopped: Whether the call ended before the end of the chain.
        late: Whether it was the deadline that ended it.
        over: Whether the deadline has passed, or only leaves too little time.
    """

    first: str
    deadline: float | None = None
    started: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    errors: dict[str, ProviderError] = field(default_factory=dict)
    handle: ProviderHandle | None = None
    stopped: bool = False
    late: bool = False
    over: bool = False

    @property
    def severity(self) -> int:
        """Level of the log line for a call that failed; lower if nobody was asked."""
        if any(isinstance(each, ClosedError) for each in self.errors.values()):
            return ClosedError.severity
        news = self.late or any(each.asked for each in self.errors.values())
        resting = (CoolingDownError, OwnLimitError)
        cooling = any(isinstance(each, resting) for each in self.errors.values())
        return logging.ERROR if news or not cooling else logging.WARNING

    def failed(self, error: ProviderError) -> None:
        """Note the last error of a provider."""
        self.errors.pop(error.provider, None)  # to stand where it happened
        self.errors[error.provider] = error

    def record(
        self,
        handle: ProviderHandle,
        timing: tuple[float, float],
        answer: LLMResponse | ProviderError,
        prices: Prices,
        *,
        begun: bool = False,
    ) -> Attempt:
        """Note how a provider was asked.

        Args:
            handle: The provider.
            timing: When it was asked, and the seconds that it took.
            answer: What came of it.
            prices: What tokens cost.
            begun: Whether there was some of an answer, though it ended in an error.
        """
        at, latency = timing
        known: dict[str, Any]
        if isinstance(answer, ProviderError):
            known = _of_error(answer)
        else:
            known, begun = _of_answer(answer), True
        if not known["model"]:
            known["model"] = handle.model_name
        cost, note = prices.cost(handle, known["model"], known["usage"], answered=begun)
        attempt = Attempt(
            provider=handle.name,
            latency_s=latency,
            started_s=at - self.started,
            cost_usd=cost,
            cost_note=note,
            **known,
        )
        self.attempts.append(attempt)
        return attempt

    def skipped(self, handle: ProviderHandle, at: float, error: ProviderError) -> None:
        """Note why a provider was not asked.

        Args:
            handle: The provider.
            at: When that was.
            error: The reason.
        """
        known = _of_error(error) | {"model": handle.model_name, "skipped": True}
        started = at - self.started
        self.attempts.append(Attempt(provider=handle.name, started_s=started, **known))

    def response(self, answer: LLMResponse | None) -> LLMResponse:
        """Return the response of a call that is over.

        Args:
            answer: The provider's answer; None if nobody has answered.
        """
        if self.handle is None or answer is None:
            return self._failure(self.summary(detailed=True), self.final_error())
        metadata = _UNKNOWN | answer.metadata | self._of_attempts()
        metadata["error_kind"] = None
        if "first_token_s" in metadata:  # the call's to tell, of streams only
            del metadata["first_token_s"]
        warnings = metadata["warnings"]
        metadata["warnings"] = [*warnings] if type(warnings) in _LISTS else []
        if metadata["finish_reason"] != "stop" and is_truncated(metadata):
            metadata["finish_reason"] = "length"
            metadata["warnings"].append("the answer is cut at max_tokens")
        response = LLMResponse(
            success=True,
            content=answer.content,
            provider_name=self.handle.name,
            metadata=metadata,
            parsed=answer.parsed,
        )
        response._attempts = tuple(self.attempts)  # noqa: SLF001  # a call less
        return response

    def interrupted(self, ending: ProviderError) -> LLMResponse:
        """Return the response of a stream that broke off, or was closed.

        Args:
            ending: Why there is no more.
        """
        broken = not isinstance(ending, ClosedError)
        return self._failure(
            str(StreamInterrupted("", ending) if broken else ending), ending
        )

    def refused(self, text: str, error: ProviderError) -> LLMResponse:
        """Return the response of a call for which nobody was asked."""
        return self._failure(text, error)

    def _failure(self, text: str, error: ProviderError) -> LLMResponse:
        """Return the response for a call without an answer."""
        metadata = _UNKNOWN | self._of_attempts()
        metadata["error_kind"], metadata["warnings"] = error.kind, []
        response = LLMResponse(
            success=False,
            content="",
            provider_name=error.provider,
            error=text,
            metadata=metadata,
        )
        response._attempts = tuple(self.attempts)  # noqa: SLF001  # a call less
        return response

    def _of_attempts(self) -> dict[str, Any]:
        """Return what all attempts make together: tokens, cost, and themselves.

        Answers that were no good cost too. One price or count that is missing makes the
        whole cost unknown: a sum of the others would be taken for it.
        """
        usage: dict[str, int] | None = None
        cost, note = None, None
        for each in self.attempts:
            if each.usage and usage:
                usage = added(usage, each.usage)
            else:
                usage = usage or each.usage
            if each.cost_usd is not None:
                cost = each.cost_usd + (cost or 0.0)
            note = note or each.cost_note
        if note == NO_TOKENS and cost is not None:
            note = "not all tokens were counted"
        elif note is None and cost is None:
            note = NO_TOKENS
        return {
            "usage": usage,
            "attempts": [each.as_dict() for each in self.attempts],
            "cost_usd": cost if note is None else None,
            "cost_note": note,
        }

    def summary(self, *, detailed: bool = False) -> str:
        """Return who failed and why, in the documented words.

        Args:
            detailed: Whether to repeat what the providers themselves said.
        """
        errors = self.errors.items()
        reasons = [
            f"{name}: {each if detailed else each.summary}" for name, each in errors
        ]
        return f"{self._head()}: [{', '.join(reasons)}]"

    def _head(self) -> str:
        if self.late:
            how = "passed" if self.over else "leaves no time for another try"
            return f"LLM deadline of {self.deadline:g} s {how}"
        return "LLM call stopped" if self.stopped else "All LLM providers failed"

    def final_error(self) -> ProviderError:
        """Return the error that stands for the failed call.

        The last one of a provider that was asked: that another has no key says little.
        If the circuits of all are open, the one that is back first.
        """
        errors = list(self.errors.values())
        if self.late:
            return DeadlineError(provider=errors[-1].provider if errors else self.first)
        if asked := [each for each in errors if each.asked]:
            return asked[-1]
        cooling = [each for each in errors if isinstance(each, CoolingDownError)]
        return min(cooling or errors[-1:], key=lambda each: each.retry_after or 0.0)


def is_truncated(metadata: Mapping[str, Any]) -> bool:
    """Return whether an answer ends because it may not be longer."""
    finish = metadata.get("finish_reason")
    return finish != "stop" and str(finish).lower() in _TRUNCATED


def _of_answer(response: LLMResponse) -> dict[str, Any]:
    """Return what an attempt knows of an answer."""
    known = response.metadata
    model = known["model"] if "model" in known else None  # noqa: SIM401  # a call less
    if type(model) is not str:  # of a third party's metadata
        model = None
    elif not model.isascii():
        model = encodable(model)
    return {"outcome": "success", "usage": response.usage_told, "model": model}


def _of_error(error: ProviderError) -> dict[str, Any]:
    """Return what an attempt knows of an error."""
    return {
        "outcome": error.kind,
        "error": error.summary,
        "status": error.status,
        "retry_after_s": error.retry_after,
        "model": None,
        "usage": error.usage if is_usage(error.usage) else None,
    }
