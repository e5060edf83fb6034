"""The signals, and the record that each sends.

A receiver is called as ``receiver(sender, event=record)``. The sender is the Flask app,
or the `LLMFactory` where there is no app. A receiver that fails is logged and does not
disturb the call; one that takes long holds it. One that is defined inside a function
needs ``connect(…, weak=False)``.

The records hold the prompt and the answer: take care where you write them.
"""

import logging
from typing import NamedTuple

from blinker import NamedSignal, Namespace

from .errors import let_through
from .types import Attempt, LLMResponse, Request

log = logging.getLogger("flask_llm")

_signals = Namespace()


class GenerationStarted(NamedTuple):
    """A call of `generate_content` or `stream_content` begins.

    Attributes:
        request: What is asked, before any filter; its `origin` has the call's number,
            purpose and time, as has each `request` of these records.
    """

    request: Request


class AttemptStarted(NamedTuple):
    """One provider is about to be asked; an `AttemptMade` follows.

    Of a stream it follows when the stream has ended; of one that is only forgotten,
    and never closed, it does not. A context variable that a receiver sets has its
    value for this attempt only, also in the thread that makes it.

    Attributes:
        request: What is asked.
        provider: The provider, as the configuration names it.
        model: The model that is asked; None if that is not known.
        streamed: Whether the answer is to come piece by piece.
    """

    request: Request
    provider: str
    model: str | None
    streamed: bool = False


class AttemptMade(NamedTuple):
    """One provider was asked once.

    Attributes:
        request: What was asked.
        attempt: Who was asked, how it ended and how long it took.
    """

    request: Request
    attempt: Attempt


class RetryScheduled(NamedTuple):
    """The same provider will be asked again.

    Attributes:
        provider: The provider, as the configuration names it.
        kind: Error kind of the failure.
        reason: The same in a few words.
        failures: Failures of this provider so far in this call.
        wait_s: Seconds to wait first.
        request: What is asked.
    """

    provider: str
    kind: str
    reason: str
    failures: int
    wait_s: float
    request: Request


class ProviderSwitched(NamedTuple):
    """The chain moves on.

    Attributes:
        provider: The provider left behind.
        next_provider: The provider asked next.
        kind: Error kind that made the chain move.
        reason: The same in a few words.
        request: What is asked.
    """

    provider: str
    next_provider: str
    kind: str
    reason: str
    request: Request


class CircuitChanged(NamedTuple):
    """A provider's circuit opens, or stays open for longer; or it answers again.

    Sent by the process that has seen it, also if others share it through a store.

    Attributes:
        provider: The provider, as the configuration names it.
        at: When that was, in seconds since 1970.
        until: Until when it is open; None if it has answered, or was reset.
        kind: Error kind that opened it; None if it is closed.
        reason: The same in a few words; None if it is closed.
        status: HTTP status of that failure, if there was one.
    """

    provider: str
    at: float
    until: float | None = None
    kind: str | None = None
    reason: str | None = None
    status: int | None = None


class GenerationFinished(NamedTuple):
    """A call of `generate_content` or `stream_content` is over.

    Attributes:
        request: What was asked.
        response: What the caller gets.
        reason: Why no provider was asked, in our own words; None if one was.
    """

    request: Request
    response: LLMResponse
    reason: str | None = None


generation_started = _signals.signal(
    "generation-started", "Sent with a `GenerationStarted`."
)
attempt_started = _signals.signal("attempt-started", "Sent with an `AttemptStarted`.")
attempt_made = _signals.signal("attempt-made", "Sent with an `AttemptMade`.")
retry_scheduled = _signals.signal("retry-scheduled", "Sent with a `RetryScheduled`.")
provider_switched = _signals.signal(
    "provider-switched", "Sent with a `ProviderSwitched`."
)
circuit_changed = _signals.signal("circuit-changed", "Sent with a `CircuitChanged`.")
generation_finished = _signals.signal(
    "generation-finished", "Sent with a `GenerationFinished`."
)


def emit(signal: NamedSignal, sender: object, event: object) -> None:
    """Send `event` to every receiver; one that fails is logged, and never raised.

    A receiver holds the call for as long as it takes, as with each signal of Flask.

    Args:
        signal: One of the signals of this module.
        sender: The Flask app, or the factory.
        event: The signal's record.
    """
    if signal.is_muted:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, event=event)
        except Exception as error:
            let_through(error)
            log.exception("A receiver of the signal %s failed", signal.name)
