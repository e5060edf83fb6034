"""How one walk along the chain ended."""

import logging
from dataclasses import dataclass, field

from .entry import ChainEntry
from .errors import ClosedError, CoolingDownError, DeadlineError, ProviderError
from .types import Attempt, LLMResponse


@dataclass(slots=True)
class Outcome:
    """How one walk ended.

    Attributes:
        first: Name of the chain's first entry.
        deadline: Seconds that the whole call had; None for no limit.
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
    attempts: list[Attempt] = field(default_factory=list)
    errors: dict[str, ProviderError] = field(default_factory=dict)
    entry: ChainEntry | None = None
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
        self, entry: ChainEntry, latency: float, answer: LLMResponse | ProviderError
    ) -> Attempt:
        """Note how an entry was asked, or why it was skipped.

        Args:
            entry: The provider.
            latency: Seconds that it took.
            answer: What came of it.
        """
        if isinstance(answer, LLMResponse):
            usage = answer.usage_told
            attempt = Attempt(entry.name, "success", latency, usage=usage)
        else:
            error, told = answer.summary, (answer.status, answer.retry_after)
            more = (*told, answer.usage)
            attempt = Attempt(entry.name, answer.kind, latency, error, *more)
        self.attempts.append(attempt)
        return attempt

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
