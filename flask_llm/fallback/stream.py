"""A call that hands out its answer as it comes."""

import contextlib
import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from ..caller import Caller
from ..resilience.deadline import Deadline
from ..errors import BadAnswerError, ClosedError, DeadlineError, ProviderError, TimedOutError
from .logs import tell, within_its_call
from ..resilience.stream_reader import Relay
from ..resilience.retry import ONCE, RetryPolicy, StreamLimits
from .road import MOST, Road, Sent
from .selection import Turn
from ..types import LLMResponse, Request
from .call import Walk
from ..resilience.thread_pool import LeftBehind

# What a provider's own limit gets more than ours, so that ours ends a stream.
_GRACE_S = 0.5


@dataclass(slots=True)
class Opened:
    """A stream whose first text is there.

    Attributes:
        turn: Who streams.
        sent: When it was asked, and how much time it had.
        texts: The texts to come.
        first: The first text.
        stall: Seconds that may pass between two texts.
        silent_since: When somebody began to wait for the next text.
    """

    turn: Turn
    sent: Sent
    texts: Relay[LLMResponse]
    first: str
    stall: float
    silent_since: float | None = None


class StreamWalk(Walk[Opened]):
    """A walk along the chain for the first text of a stream.

    How an attempt went is noted when its stream has ended: a provider whose streams
    break off does not answer.

    Args:
        chain: The providers, and what they share.
        request: What to ask.
        policy: When to ask the same provider again.
        deadline: The time for all of it, until the last text.
        limits: How long a stream may be silent.
        is_gone: Tells whether nobody waits for the first text any more; None if the
            caller cannot leave.
    """

    streamed = True

    def __init__(
        self,
        chain: Road,
        request: Request,
        policy: RetryPolicy,
        deadline: Deadline,
        limits: StreamLimits,
        is_gone: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(chain, request, policy, deadline)
        self._limits = limits
        self._caller = Caller(is_gone)

    def take(self, opened: Opened, most: float = math.inf) -> str | None:
        """Return the next text of a stream, or None at its end.

        Args:
            opened: The stream.
            most: Seconds to wait at most.

        Raises:
            LeftBehind: There was no text in `most` seconds, and may still be.
            ProviderError: It has broken off, or was silent for too long.
        """
        if self._deadline.is_over() and not opened.texts.over:
            raise self._cut(opened)  # also for a reader that is slower than the texts
        now = self._chain.clock.monotonic()
        if opened.silent_since is None:
            opened.silent_since = now
        left = min(opened.silent_since + opened.stall - now, self._deadline.left())
        try:
            text = opened.texts.take(min(left, most))
        except LeftBehind:
            if most < left or opened.texts.is_cut:
                raise
            raise self._cut(opened) from None
        opened.silent_since = None
        return text

    @within_its_call
    def finished(self, opened: Opened) -> LLMResponse:
        """Note that a stream is complete; return what is known of its answer."""
        self._note(opened.turn, opened.sent, opened.texts.result)
        return opened.texts.result

    @within_its_call
    def broken(self, opened: Opened, error: ProviderError) -> ProviderError:
        """Note that a stream broke off; return why, in the chain's words."""
        fault = error.with_traceback(None).copy(provider=opened.turn.entry.name)
        told = (fault.provider, fault.summary)
        fields = self._fields(opened, fault)
        tell(logging.WARNING, "%s broke off its answer: %s", *told, **fields)
        self._note(opened.turn, opened.sent, fault, begun=True)
        return fault

    @within_its_call
    def resume(self, opened: Opened, error: ProviderError) -> Opened | None:
        """Ask the providers after one whose stream broke off.

        Args:
            opened: The stream.
            error: What `broken` has returned.
        """
        # Somebody looks at half an answer: nobody is asked twice.
        self._policy = ONCE
        return self._go(self._leave(opened.turn, error))

    @within_its_call
    def closed(self, opened: Opened) -> ClosedError:
        """Close a stream before its end, which nobody is to blame for."""
        opened.sent.settled = True
        opened.texts.cut()
        error = ClosedError(provider=opened.turn.entry.name)
        fields = self._fields(opened, error)
        tell(logging.INFO, "%s %s", error.provider, error.summary, **fields)
        self._note(opened.turn, opened.sent, error, begun=True)
        return error

    def _fields(self, opened: Opened, error: ProviderError) -> dict[str, Any]:
        """Return the fields of the line about a stream that has no end."""
        return {
            "provider": error.provider,
            "model": opened.turn.entry.model_name,
            "kind": error.kind,
            "attempt": self._telling.tries,
            "latency_s": self._chain.clock.monotonic() - opened.sent.at,
        }

    def _answer(self, turn: Turn, sent: Sent) -> Opened:
        if self._caller.has_left():
            raise ClosedError
        entry, chain = turn.entry, self._chain
        first = self._limits.first_token if entry.streams else None
        usual = first or entry.patience
        limit = min(usual, math.inf if sent.limit is None else sent.limit)
        stall = self._limits.stall or entry.timeout
        request = self._asked_for
        if first or sent.limit or self._limits.stall:
            request = replace(request, timeout=max(limit, stall) + _GRACE_S)

        def source(seconds: float) -> Generator[str, None, LLMResponse]:
            sent.at = chain.clock.monotonic()
            sent.limit = limit
            sent.given = seconds if seconds < usual * MOST else None
            try:
                return (yield from entry.stream(request, chain.secrets))
            finally:
                self._forget(turn, sent)

        lane = chain.lanes[entry.name]
        texts, left = lane.open(source, limit, entry.timeout)
        return Opened(turn, sent, texts, self._first(texts, sent, left), stall)

    def _first(self, texts: Relay[LLMResponse], sent: Sent, seconds: float) -> str:
        """Return the first text of a stream, or cut it."""
        try:
            text = self._awaited(texts, seconds)
        except LeftBehind:
            if texts.is_cut:
                raise ClosedError from None
            sent.settled = True
            texts.cut()
            raise TimedOutError(reason="timeout before the first token") from None
        except BaseException:
            sent.settled = True
            texts.cut()
            raise
        if text is None:
            error = BadAnswerError(reason="empty answer")
            error.usage = texts.result.usage_told
            raise error
        return text

    def _awaited(self, texts: Relay[LLMResponse], seconds: float) -> str | None:
        """Wait for a text, as long as somebody wants it."""
        for each in self._caller.glances(seconds):
            with contextlib.suppress(LeftBehind):
                return texts.take(each)
        if self._caller.has_left():
            raise ClosedError
        raise LeftBehind

    def _sleep(self, seconds: float) -> None:
        self._caller.sleep(seconds, self._chain.clock)

    def _forget(self, turn: Turn, sent: Sent) -> None:
        """Let others probe, in case nobody notes how a probe went; in its thread.

        Also if its answer is complete: who never reads to the end notes nothing.
        """
        if turn.probe and not sent.settled:
            self._breaker.release(turn.entry, asked=True)

    def _cut(self, opened: Opened) -> ProviderError:
        """End a stream that was silent for too long, or lasts too long; return why."""
        opened.sent.settled = True
        opened.texts.cut()
        opened.sent.given = None  # nothing has cut the time that it may be silent
        if self._deadline.is_over():
            seconds = self._deadline.seconds
            return DeadlineError(reason=f"deadline of {seconds:g} s passed")
        return TimedOutError(reason=f"stalled for {opened.stall:g} s")
