"""Signals for code that watches: logs, metrics, a usage table.

A receiver is called as ``receiver(sender, event=record)``. The sender is the Flask app,
or the `LLMFactory` where there is no app. A receiver that fails is logged and does not
disturb the call; one defined inside a function needs ``connect(…, weak=False)``.

The records hold the prompt and the answer: take care where you write them.
"""

import logging
from dataclasses import dataclass

from blinker import NamedSignal, Namespace

from .types import Attempt, LLMResponse, Request

log = logging.getLogger("flask_llm")

_signals = Namespace()


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One provider was asked once.

    Attributes:
        request: What was asked.
        attempt: Who was asked, how it ended and how long it took.
    """

    request: Request
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The same provider will be asked again.

    Attributes:
        provider: Chain entry.
        kind: Error kind of the failure.
        reason: The same in a few words.
        failures: Failures of this provider so far in this call.
        wait_s: Seconds to wait first.
    """

    provider: str
    kind: str
    reason: str
    failures: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class ProviderSwitched:
    """The chain moves on.

    Attributes:
        provider: Chain entry left behind.
        next_provider: Chain entry asked next.
        kind: Error kind that made the chain move.
        reason: The same in a few words.
    """

    provider: str
    next_provider: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """A call of `generate_content` is over.

    Attributes:
        request: What was asked.
        response: What the caller gets.
    """

    request: Request
    response: LLMResponse


attempt_made = _signals.signal("attempt-made", "Sent with an `AttemptMade`.")
retry_scheduled = _signals.signal("retry-scheduled", "Sent with a `RetryScheduled`.")
provider_switched = _signals.signal(
    "provider-switched", "Sent with a `ProviderSwitched`."
)
generation_finished = _signals.signal(
    "generation-finished", "Sent with a `GenerationFinished`."
)


def emit(signal: NamedSignal, sender: object, event: object) -> None:
    """Send `event` to every receiver; a failing receiver is logged, never raised.

    Args:
        signal: One of the signals of this module.
        sender: The Flask app, or the factory.
        event: The signal's record.
    """
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, event=event)
        except Exception:
            log.exception("A receiver of the signal %s failed", signal.name)
