"""A call that hands out its answer as it comes."""

import contextlib
import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from .deadline import Deadline
from .errors import (
    BadAnswerError,
    ClosedError,
    DeadlineError,
    ProviderError,
    TimedOutError,
)
from .relay import Relay
from .retry import RetryPolicy, StreamLimits
from .turns import Turn
from .types import LLMResponse, Request
from .walk import MOST, Road, Sent, Walk
from .workers import LeftBehind

# What a provider's own limit gets more than ours, so that ours ends a stream.
_GRACE_S = 0.5

# How often somebody looks whether the caller is still there.
_GLANCE_S = 0.25

log = logging.getLogger("flask_llm")


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
        is_gone: Tells whether nobody waits for the first text any more; asked four
            times a second, while it is awaited.
    """

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
        self._is_gone = is_gone

    def take(self, opened: Opened, most: float = math.inf) -> str | None:
        """Return the next text of a stream, or None at its end.

        Args:
            opened: The stream.
            most: Seconds to wait at most.

        Raises:
            LeftBehind: There was no text in `most` seconds, and may still be.
            ProviderError: It has broken off, or was silent for too long.
        """
        now = self._chain.clock.monotonic()
        if opened.silent_since is None:
            opened.silent_since = now
        left = min(opened.silent_since + opened.stall - now, self._deadline.left())
        try:
            text = opened.texts.take(min(left, most))
        except LeftBehind:
            if most < left or opened.texts.is_cut:
                raise
            opened.texts.cut()
            raise self._silent(opened) from None
        opened.silent_since = None
        return text

    def finished(self, opened: Opened) -> LLMResponse:
        """Note that a stream is complete; return what is known of its answer."""
        self._note(opened.turn, opened.sent, opened.texts.result)
        return opened.texts.result

    def broken(self, opened: Opened, error: ProviderError) -> ProviderError:
        """Note that a stream broke off; return why, in the chain's words."""
        fault = error.with_traceback(None).copy(provider=opened.turn.entry.name)
        log.warning("%s broke off its answer: %s", fault.provider, fault.summary)
        self._note(opened.turn, opened.sent, fault)
        return fault

    def resume(self, opened: Opened, error: ProviderError) -> Opened | None:
        """Ask the providers after one whose stream broke off.

        Args:
            opened: The stream.
            error: What `broken` has returned.
        """
        return self._go(self._leave(opened.turn, error))

    def closed(self, opened: Opened) -> ClosedError:
        """Close a stream before its end, which nobody is to blame for."""
        opened.texts.cut()
        error = ClosedError(provider=opened.turn.entry.name)
        log.info("%s %s", error.provider, error.summary)
        self._note(opened.turn, opened.sent, error)
        return error

    def _answer(self, turn: Turn, sent: Sent) -> Opened:
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
            return entry.stream(request, chain.secrets)

        lane = chain.lanes[entry.name]
        texts, left = lane.open(source, limit, entry.timeout)
        return Opened(turn, sent, texts, self._first(texts, left), stall)

    def _first(self, texts: Relay[LLMResponse], seconds: float) -> str:
        """Return the first text of a stream, or cut it."""
        try:
            text = self._awaited(texts, seconds)
        except LeftBehind:
            if texts.is_cut:
                raise ClosedError from None
            texts.cut()
            raise TimedOutError(reason="timeout before the first token") from None
        except BaseException:
            texts.cut()
            raise
        if text is None:
            raise BadAnswerError(reason="empty answer")
        return text

    def _awaited(self, texts: Relay[LLMResponse], seconds: float) -> str | None:
        """Wait for a text, as long as somebody wants it."""
        while self._is_gone is not None and seconds > _GLANCE_S:
            with contextlib.suppress(LeftBehind):
                return texts.take(_GLANCE_S)
            seconds -= _GLANCE_S
            if texts.is_cut or self._is_gone():
                raise ClosedError
        return texts.take(seconds)

    def _silent(self, opened: Opened) -> ProviderError:
        """Return the error of a stream that was silent for too long."""
        opened.sent.given = None  # nothing has cut the time that it may be silent
        if self._deadline.is_over():
            seconds = self._deadline.seconds
            return DeadlineError(reason=f"deadline of {seconds:g} s passed")
        return TimedOutError(reason=f"stalled for {opened.stall:g} s")
