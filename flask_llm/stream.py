"""What a caller reads a streamed answer from."""

import math
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self

from .errors import ProviderError, StreamInterrupted
from .origin import NOWHERE
from .fallback.result import Outcome
from .fallback.stream import Opened, StreamWalk
from .types import Attempt, LLMResponse
from .resilience.thread_pool import LeftBehind

Conclude = Callable[[Outcome, str, LLMResponse | ProviderError | None], LLMResponse]
"""Makes the response of a stream out of its walk, its text and how it ended."""


OnInterrupt = Literal["raise", "restart"]
"""What follows when an answer breaks off after some text."""


class Restart(str):
    """Marks that a stream has begun anew: what came before it is to be thrown away.

    An empty text among the others, for who asked for ``on_interrupt="restart"``.

    Attributes:
        provider: Chain entry that answers from here on.
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
        provider_name: Chain entry that answers, or was asked last.
        origin: The call that it is the answer of.
    """

    provider_name = ""
    origin = NOWHERE
    response: LLMResponse | None = None
    _opened: Opened | None = None
    _next: str | None = None

    def __init__(self, walk: StreamWalk, conclude: Conclude, *, restarts: bool) -> None:
        self._conclude = conclude
        self._walk = walk
        self._restarts = restarts
        self._texts: list[str] = []
        self._begin(walk.run())

    @property
    def text(self) -> str:
        """What has come so far, since the last `Restart`."""
        return "".join(self._texts)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try so far in order, skipped providers included."""
        return tuple(self._walk.outcome.attempts)

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
            text = self._walk.take(opened, seconds) if text is None else text
        except LeftBehind:
            return None
        except ProviderError as error:
            if not self._claimed():
                return None
            fault = self._walk.broken(opened, error)
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
            self._end(self._walk.finished(opened))
        return text

    def _claimed(self) -> bool:
        """Return whether it falls to this thread to end what is open, and no other."""
        return self.__dict__.pop("_opened", None) is not None

    def _begin(self, opened: Opened | None) -> None:
        self._opened = opened
        if opened is None:
            self._end(None)
            return
        self.provider_name = opened.turn.entry.name
        self._next, opened.first = opened.first, ""

    def _broken(self, opened: Opened, error: ProviderError) -> str:
        """Go on with the next provider, if that is wanted and there is one."""
        so_far = self.text
        if self._restarts:
            try:
                resumed = self._walk.resume(opened, error)
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
        self.response = self._conclude(self._walk.outcome, self.text, ending)
        self.provider_name = self.response.provider_name
        return self.response

    def close(self) -> None:
        """Stop the answer at its provider, at once; does nothing when it is over."""
        opened = self._opened
        if opened is not None and self._claimed():
            self._end(self._walk.closed(opened))

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
            self._opened.texts.cut()


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
