"""One call as those who watch keep it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from ..errors import ClosedError
from ..signals import GenerationFinished
from ..types import Attempt, CallContext

SUCCESS = "success"
CLOSED = ClosedError.kind


class CallEnd(NamedTuple):
    """What a `CallRecord` is made of, as it is kept until somebody wants the record.

    Neither the request nor the response is kept, which hold the prompt and the answer.

    Attributes:
        origin: Where the call came from.
        attempts: Every try, skipped providers included.
        outcome: "success", or the kind of the error.
        provider: The one that the response names.
        reason: Why no provider was asked.
        latency_s: Seconds that the call took.
        streamed: Whether it was a stream.
        first_token_s: Seconds until the first text of a stream.
    """

    origin: CallContext
    attempts: tuple[Attempt, ...]
    outcome: str
    provider: str
    reason: str | None
    latency_s: float
    streamed: bool
    first_token_s: float | None

    @classmethod
    def of(cls, event: GenerationFinished) -> Self:
        """Return what is kept of a call that has just ended."""
        response = event.response
        metadata = response.metadata
        return cls(
            event.request.origin,
            response.attempts,
            SUCCESS if response.success else metadata["error_kind"],
            response.provider_name,
            event.reason,
            metadata["latency_s"],
            "first_token_s" in metadata,
            metadata.get("first_token_s"),
        )


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that is over: what logs, tables and charts are made of.

    It holds neither the prompt nor the answer, and nothing that a provider or a filter
    has said: those may quote them.

    Attributes:
        call_id: Identifies the call.
        started_at: When it began, in seconds since 1970.
        finished_at: When it was over.
        purpose: What the app wanted it for; may be empty.
        request_id: The number of the HTTP request in which it was made.
        provider: The one that answered, or was asked last; empty if nobody was
            asked, since all were skipped or the prompt was refused before.
        model: The model that answered; of a call that failed, that was asked last. None
            if none was, or that is not known.
        outcome: "success", or the kind of the error.
        error: Why there was no answer, in the words of the log.
        fallback: Whether another provider than the first of the chain has answered.
        streamed: Whether it was a stream.
        latency_s: Seconds that it took.
        first_token_s: Seconds until the first text of a stream.
        input_tokens: Tokens of all its prompts, re-asked ones included.
        output_tokens: Tokens of all its answers.
        cost_usd: What that cost in US dollars, as far as it is known.
        unpriced: Whether some of its tokens have a cost that is not known.
        attempts: Every try, skipped providers included.
    """

    call_id: str
    started_at: float
    finished_at: float
    purpose: str
    request_id: str | None
    provider: str
    model: str | None
    outcome: str
    error: str | None
    fallback: bool
    streamed: bool
    latency_s: float
    first_token_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: bool
    attempts: tuple[Attempt, ...]

    @classmethod
    def of(cls, event: GenerationFinished) -> Self:
        """Return the record of a call that has just ended."""
        return cls.made(CallEnd.of(event))

    @classmethod
    def made(cls, end: CallEnd) -> Self:
        """Return the record of a call, now that somebody wants it."""
        origin, attempts = end.origin, end.attempts
        success = end.outcome == SUCCESS
        asked = _asked(attempts, end.provider)
        provider = asked.provider if asked else ""
        taken, given, cost, unpriced = _sums(attempts)
        return cls(
            call_id=origin.call_id,
            started_at=origin.started_at,
            finished_at=origin.started_at + end.latency_s,
            purpose=origin.purpose,
            request_id=origin.request_id,
            provider=provider,
            model=asked.model if asked else None,
            outcome=end.outcome,
            error=None if success else _story(attempts) or _refusal(end.reason),
            fallback=success and attempts[0].provider != provider,
            streamed=end.streamed,
            latency_s=end.latency_s,
            first_token_s=end.first_token_s,
            input_tokens=taken,
            output_tokens=given,
            cost_usd=cost,
            unpriced=unpriced,
            attempts=attempts,
        )


def _asked(attempts: Iterable[Attempt], provider: str) -> Attempt | None:
    """Return the attempt that stands for a call.

    Args:
        attempts: Those of the call.
        provider: Whom its response names, who may have been skipped.
    """
    found = None
    for each in attempts:
        if each.skipped:
            continue
        if found is None or each.provider == provider or found.provider != provider:
            found = each
    return found


def _story(attempts: Iterable[Attempt]) -> str:
    """Return why each provider has not answered; empty if there were none."""
    last = {each.provider: each.error or each.outcome for each in attempts}
    return ", ".join(f"{provider}: {why}" for provider, why in last.items())


def _refusal(reason: str | None) -> str:
    return f"No provider was asked: {reason}" if reason else "No provider was asked"


def _sums(attempts: Iterable[Attempt]) -> tuple[int, int, float, bool]:
    """Return the tokens in and out of all attempts, their cost, and what it lacks.

    Plain loops here and above: each call of the app pays for them.
    """
    taken, given, cost, unpriced = 0, 0, 0.0, False
    for each in attempts:
        if each.usage:
            taken += each.usage["input_tokens"]
            given += each.usage["output_tokens"]
        if each.cost_usd:
            cost += each.cost_usd
        if each.cost_note:
            unpriced = True
    return taken, given, cost, unpriced
