"""A streaming call, and the stream that a caller reads."""

import contextlib
import logging
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

from ..errors import (
    BadAnswerError,
    ClosedError,
    DeadlineError,
    ProviderError,
    StreamInterrupted,
    TimedOutError,
)
from ..resilience.bulkhead import NOT_READY
from ..resilience.deadline import Deadline
from ..resilience.retry import ONCE, RetryPolicy, StreamLimits
from ..resilience.stream_reader import Caller, StreamReader
from ..resilience.thread_pool import Abandoned
from ..types import NOWHERE, Attempt, LLMResponse, Request
from .call import MOST, AttemptTiming, BaseCall, Call
from .chain import Chain
from .logs import log_line, within_its_call
from .routing import ORDER
from .selection import Candidate

# What a provider's own limit gets more than ours, so that ours ends a stream.
_GRACE_S = 0.5

_NO_TEXT = TimedOutError(reason="timeout before the first token")


@dataclass(slots=True)
class Opened:
    """A stream whose first text is there.

    Attributes:
        candidate: Who streams.
        timing: When it was asked, and how much time it had.
        texts: The texts to come.
        first: The first text.
        stall: Seconds that may pass between two texts.
        silent_since: When somebody began to wait for the next text.
    """

    candidate: Candidate
    timing: AttemptTiming
    texts: StreamReader[LLMResponse]
    first: str
    stall: float
    silent_since: float | None = None


class StreamingCall(BaseCall[Opened]):
    """A call that hands out its answer as it comes.

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
        routing: Who is asked first.
    """

    streamed = True

    def __init__(
        self,
        chain: Chain,
        request: Request,
        policy: RetryPolicy,
        deadline: Deadline,
        limits: StreamLimits,
        is_gone: Callable[[], bool] | None = None,
        routing: str = ORDER,
    ) -> None:
        super().__init__(chain, request, policy, deadline, routing)
        self._limits = limits
        self._caller = Caller(is_gone)
        self._is_gone = self._caller.has_left

    @within_its_call
    def open(self, *, restarts: bool) -> "LLMStream":
        """Return the answer as it comes, as soon as there is some of it.

        Args:
            restarts: Whether it begins anew when it breaks off.
        """
        stream = self._opened(restarts=restarts)
        stream.origin = self.request.origin
        return stream

    def _opened(self, *, restarts: bool) -> "LLMStream":
        if refused := self._refusal():
            return WholeStream(refused)
        if self._chain.filters.has_output:
            return WholeStream(self._finished(self._whole()))
        stream = LLMStream(self, restarts=restarts)
        self.first_token_s = self._clock.monotonic() - self.result.started
        return stream

    def _whole(self) -> LLMResponse:
        """Return an answer in one piece, for filters that have to see all of it."""
        call = Call(self._chain, self.request, self._policy, self._deadline)
        call.result, call.handles = self.result, self.handles
        return call.answered()

    def first(self) -> Opened | None:
        """Ask until there is the first text of an answer; None if nobody answers."""
        return self._from_first()

    @within_its_call
    def conclude(
        self, text: str, ending: LLMResponse | ProviderError | None
    ) -> LLMResponse:
        """Return the response of a stream that is over.

        Args:
            text: The text that came.
            ending: What its provider told of the answer, or why it broke off; None if
                there was no stream at all.
        """
        if isinstance(ending, ProviderError):
            return self._finished(self.result.interrupted(ending))
        answer = None if ending is None else replace(ending, content=text)
        return self._finished(self.result.response(answer))

    def take(self, opened: Opened, at_most: float = math.inf) -> str | None:
        """Return the next text of a stream, or None at its end.

        Args:
            opened: The stream.
            at_most: Seconds to wait.

        Raises:
            Abandoned: There was no text in `at_most` seconds, and may still be.
            ProviderError: It has broken off, or was silent for too long.
        """
        if self._deadline.is_over() and not opened.texts.over:
            raise self._cut(opened)  # also for a reader that is slower than the texts
        now = self._clock.monotonic()
        if opened.silent_since is None:
            opened.silent_since = now
        left = min(opened.silent_since + opened.stall - now, self._deadline.left())
        try:
            text = opened.texts.take(min(left, at_most))
        except Abandoned:
            if at_most < left or opened.texts.is_cancelled:
                raise
            raise self._cut(opened) from None
        opened.silent_since = None
        return text

    @within_its_call
    def finished(self, opened: Opened) -> LLMResponse:
        """Note that a stream is complete; return what is known of its answer."""
        self._note(opened.candidate, opened.timing, opened.texts.result)
        return opened.texts.result

    @within_its_call
    def broken(self, opened: Opened, error: ProviderError) -> ProviderError:
        """Note that a stream broke off; return why, in the chain's words."""
        fault = error.with_traceback(None).copy(provider=opened.candidate.handle.name)
        words = (fault.provider, fault.summary)
        fields = self._fields(opened, fault)
        log_line(logging.WARNING, "%s broke off its answer: %s", *words, **fields)
        self._note(opened.candidate, opened.timing, fault, begun=True)
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
        return self._from(self._after(opened.candidate, error))

    @within_its_call
    def closed(self, opened: Opened) -> ClosedError:
        """Close a stream before its end, which nobody is to blame for."""
        opened.timing.settled = True
        opened.texts.cancel()
        error = ClosedError(provider=opened.candidate.handle.name)
        fields = self._fields(opened, error)
        log_line(logging.INFO, "%s %s", error.provider, error.summary, **fields)
        self._note(opened.candidate, opened.timing, error, begun=True)
        return error

    def _fields(self, opened: Opened, error: ProviderError) -> dict[str, Any]:
        """Return the fields of the line about a stream that has no end."""
        return {
            "provider": error.provider,
            "model": opened.candidate.handle.model_name,
            "kind": error.kind,
            "attempt": self.tries,
            "latency_s": self._clock.monotonic() - opened.timing.at,
        }

    def _answer(self, candidate: Candidate, timing: AttemptTiming) -> Opened:
        if self._caller.has_left():
            raise ClosedError
        handle, chain, clock = candidate.handle, self._chain, self._clock
        first = self._limits.first_token if handle.streams else None
        default = first or handle.patience
        limit = min(default, math.inf if timing.limit is None else timing.limit)
        stall = self._limits.stall or handle.timeout
        request = self._asked_for
        if first or timing.limit or self._limits.stall:
            request = replace(request, timeout=max(limit, stall) + _GRACE_S)

        def source(seconds: float) -> Generator[str, None, LLMResponse]:
            if timing.taken is not None and chain.limits is not None:
                chain.limits.sending(handle, timing.taken)
            timing.at = clock.monotonic()
            timing.limit = limit
            timing.given = seconds if seconds < default * MOST else None
            try:
                return (yield from handle.stream(request, chain.secrets))
            finally:
                self._forget(candidate, timing)

        bulkhead = chain.bulkheads[handle.name]
        texts, left = bulkhead.open(source, limit, handle.timeout)
        text = self._first(texts, timing, left)
        if candidate.probe:
            candidate = self._passed(candidate, timing)
        return Opened(candidate, timing, texts, text, stall)

    def _passed(self, candidate: Candidate, timing: AttemptTiming) -> Candidate:
        """Note that a provider on trial begins to answer: others may ask it now."""
        handle, circuits = candidate.handle, self._candidates.circuits
        timing.settled = True
        circuits[handle.name] = self._breakers.begun(handle, circuits[handle.name])
        return candidate._replace(probe=False)

    def _first(
        self, texts: StreamReader[LLMResponse], timing: AttemptTiming, seconds: float
    ) -> str:
        """Return the first text of a stream, or cut it."""
        try:
            text = self._awaited(texts, seconds)
        except Abandoned:
            if texts.is_cancelled:
                raise ClosedError from None
            timing.settled = True
            why = NOT_READY if texts.is_preparing else _NO_TEXT
            texts.cancel()
            raise why.copy() from None
        except BaseException:
            timing.settled = True
            texts.cancel()
            raise
        if text is None:
            error = BadAnswerError(reason="empty answer")
            error.usage = texts.result.usage_told
            raise error
        return text

    def _awaited(self, texts: StreamReader[LLMResponse], seconds: float) -> str | None:
        """Wait for a text, as long as somebody wants it."""
        for each in self._caller.glances(seconds):
            with contextlib.suppress(Abandoned):
                return texts.take(each)
        if self._caller.has_left():
            raise ClosedError
        raise Abandoned

    def _sleep(self, seconds: float) -> None:
        self._caller.sleep(seconds, self._clock)

    def _forget(self, candidate: Candidate, timing: AttemptTiming) -> None:
        """Let others probe, in case nobody notes how a probe went; in its thread.

        Also if its answer is complete: who never reads to the end notes nothing.
        """
        if candidate.probe and not timing.settled:
            self._breakers.release_probe(candidate.handle, asked=True)

    def _cut(self, opened: Opened) -> ProviderError:
        """End a stream that was silent for too long, or lasts too long; return why."""
        opened.timing.settled = True
        opened.texts.cancel()
        opened.timing.given = None  # nothing has cut the time that it may be silent
        if self._deadline.is_over():
            seconds = self._deadline.seconds
            return DeadlineError(reason=f"deadline of {seconds:g} s passed")
        return TimedOutError(reason=f"stalled for {opened.stall:g} s")


OnInterrupt = Literal["raise", "restart"]
"""What follows when an answer breaks off after some text."""


class Restart(str):
    """Marks that a stream has begun anew: what came before it is to be thrown away.

    An empty text among the others, for who asked for ``on_interrupt="restart"``.

    Attributes:
        provider: Chain handle that answers from here on.
        error: Why the one before broke off.
    """

    __slots__ = ("error", "provider")

    provider: str
    error: str

    @classmethod
    def by(cls, provider: str, error: str) -> "Restart":
        """Return the mark for a provider's new beginning."""
        restart = cls()
        restart.provider, restart.error = provider, error
        return restart


class LLMStream(Iterator[str]):
    """A streamed answer: iterate over its texts, then see `response`.

    The first text is there when this is made, unless all providers have failed: then
    there is none, and `response` says why. For one reader at a time. Use it in a `with`
    block, or call `close`, so that an abandoned answer stops at its provider; one that
    is only forgotten stops there too, but no signal tells of it.

    Attributes:
        response: The answer of the whole call, when there is no text to come: with the
            same metadata as one of `LLMFactory.generate_content`, and `first_token_s`,
            the seconds until the first text. None before that.
        provider_name: Chain handle that answers, or was asked last.
        origin: The call that it is the answer of.
    """

    provider_name = ""
    origin = NOWHERE
    response: LLMResponse | None = None
    _opened: Opened | None = None
    _next: str | None = None

    def __init__(self, call: StreamingCall, *, restarts: bool) -> None:
        self._call = call
        self._restarts = restarts
        self._texts: list[str] = []
        self._begin(call.first())

    @property
    def text(self) -> str:
        """What has come so far, since the last `Restart`."""
        return "".join(self._texts)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try so far in order, skipped providers included."""
        return tuple(self._call.result.attempts)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        """Return the next text.

        Raises:
            StopIteration: There is no more.
            StreamInterrupted: The answer has broken off after some text.
        """
        text = self.wait(math.inf)
        if text is None:
            raise StopIteration
        return text

    def wait(self, seconds: float) -> str | None:
        """Return the next text, or None if there was none in time or is no more.

        Args:
            seconds: How long to wait for it; `response` is set if there is no more.

        Raises:
            StreamInterrupted: The answer has broken off after some text.
        """
        opened = self._opened
        if opened is None:
            return None
        text, self._next = self._next, None
        try:
            text = self._call.take(opened, seconds) if text is None else text
        except Abandoned:
            return None
        except ProviderError as error:
            if not self._claimed():
                return None
            fault = self._call.broken(opened, error)
        except BaseException:  # somebody ends the reader
            self.close()
            raise
        else:
            return self._got(opened, text)
        return self._broken(opened, fault)

    def _got(self, opened: Opened, text: str | None) -> str | None:
        if text is not None:
            self._texts.append(text)
        elif self._claimed():
            self._end(self._call.finished(opened))
        return text

    def _claimed(self) -> bool:
        """Return whether it falls to this thread to end what is open, and no other."""
        return self.__dict__.pop("_opened", None) is not None

    def _begin(self, opened: Opened | None) -> None:
        self._opened = opened
        if opened is None:
            self._end(None)
            return
        self.provider_name = opened.candidate.handle.name
        self._next, opened.first = opened.first, ""

    def _broken(self, opened: Opened, error: ProviderError) -> str:
        """Go on with the next provider, if that is wanted and there is one."""
        so_far = self.text
        if self._restarts:
            try:
                resumed = self._call.resume(opened, error)
            except BaseException:  # somebody ends the reader
                self._end(error)
                raise
            if resumed is not None:
                self._texts.clear()
                self._begin(resumed)
                return Restart.by(self.provider_name, error.summary)
        response = self._end(error)
        raise StreamInterrupted(so_far, error, response.attempts)

    def _end(self, ending: LLMResponse | ProviderError | None) -> LLMResponse:
        self.response = self._call.conclude(self.text, ending)
        self.provider_name = self.response.provider_name
        return self.response

    def close(self) -> None:
        """Stop the answer at its provider, at once; does nothing when it is over."""
        opened = self._opened
        if opened is not None and self._claimed():
            self._end(self._call.closed(opened))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # No more than that: the collector may run where a lock is held.
        if self._opened is not None:
            self._opened.texts.cancel()


class WholeStream(LLMStream):
    """A stream whose answer is there, or will never be: it has one text, or none.

    Args:
        response: The response of the whole call.
    """

    def __init__(self, response: LLMResponse) -> None:
        self._whole = response
        self._texts = []
        self.provider_name = response.provider_name
        if not response.success:
            self.response = response

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try, the one that answered included."""
        return self._whole.attempts

    def wait(self, seconds: float) -> str | None:  # noqa: ARG002  # it is there
        """Return the whole answer, then None."""
        if self.response is not None or self._texts:
            self.close()
            return None
        self._texts.append(self._whole.content)
        return self._whole.content

    def close(self) -> None:
        """End it; nothing is under way."""
        self.response = self._whole
