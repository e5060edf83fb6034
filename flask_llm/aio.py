"""The factory's calls for coroutines, such as Flask's async views.

Flask runs each async view in a loop of its own, which ends with the request, and a
client of an async SDK would be bound to the first of them. So a thread makes the very
call that code without a loop makes: every provider works, and what a call knows of its
app, its request and its limits is the same. The threads are not those of the loop's
executor, for which a loop waits at its end.
"""

import math
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import copy_context
from functools import partial, wraps
from inspect import Signature, signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from .resilience.clock import SYSTEM
from .line import Line, callers_line
from .stream import LLMStream
from .types import Attempt, LLMResponse
from .resilience.thread_pool import Workers

if TYPE_CHECKING:
    from asyncio import Future

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_WORKERS = Workers(SYSTEM)


class AsyncLLMStream(AsyncIterator[str]):
    """A streamed answer for coroutines: an `LLMStream` for ``async for``.

    Use it in an ``async with`` block, or call `aclose`. A task that is cancelled while
    it waits for a text closes the stream: it stops at its provider at once.
    """

    def __init__(self, stream: LLMStream, line: Line) -> None:
        self._stream = stream
        self._line = line
        # A thread that was left by its task may still be at it.
        self._in_use = threading.Lock()

    @classmethod
    async def opened(cls, function: Callable[[], LLMStream]) -> Self:
        """Return the stream that a function returns.

        Args:
            function: Asks for the stream; called in a thread.
        """
        line = Line()
        return cls(await _cuttable(line, function), line)

    @property
    def response(self) -> LLMResponse | None:
        """The answer of the whole call when there is no text to come, else None."""
        return self._stream.response

    @property
    def text(self) -> str:
        """What has come so far, since the last `Restart`."""
        return self._stream.text

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try so far in order, skipped providers included."""
        return self._stream.attempts

    @property
    def provider_name(self) -> str:
        """Chain entry that answers, or was asked last."""
        return self._stream.provider_name

    async def __anext__(self) -> str:
        """Return the next text.

        Raises:
            StopAsyncIteration: There is no more.
            StreamInterrupted: The answer has broken off after some text.
        """
        text = await _cuttable(self._line, self._next)
        if text is None:
            raise StopAsyncIteration
        return text

    async def aclose(self) -> None:
        """Stop the answer at its provider, at once; does nothing when it is over."""
        if self.response is None:
            self._line.cut()
            await _in_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _next(self) -> str | None:
        with self._in_use:
            text = self._stream.wait(math.inf)
            if text is None:  # it is over, or somebody has cut it
                self._stream.close()
            return text

    def _close(self) -> None:
        with self._in_use:
            self._stream.close()


def awaited(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Return a method for coroutines that does what another one does.

    Args:
        method: What a thread shall call. It runs to its end even if its task is
            cancelled, which stops waiting for it at once.
    """

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_thread(partial(_own(self, method), *args, **kwargs))

    return _told(call, "Do the same for a coroutine", signature(method))


def streamed(
    method: Callable[Concatenate[S, P], LLMStream],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, AsyncLLMStream]]:
    """Return a method for coroutines that streams what another one does.

    Args:
        method: What a thread shall call. A task that is cancelled meanwhile stops it.
    """

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncLLMStream:
        function = partial(_own(self, method), *args, **kwargs)
        return await AsyncLLMStream.opened(function)

    shape = signature(method).replace(return_annotation=AsyncLLMStream)
    return _told(call, "Return an `AsyncLLMStream`", shape)


def _own(owner: S, method: Callable[Concatenate[S, P], T]) -> Callable[P, T]:
    """Return a method of an object, which its class may have changed."""
    own: Callable[P, T] = getattr(owner, method.__name__)
    return own


def _told(function: Callable[P, T], does: str, shape: Signature) -> Callable[P, T]:
    """Give a wrapper a name, a text and a signature of its own."""
    name = function.__name__
    function.__name__ = f"{name}_async"
    function.__qualname__ = f"{function.__qualname__}_async"
    function.__signature__ = shape  # type: ignore[attr-defined]  # where inspect looks
    function.__doc__ = f"{does}: with the arguments of `{name}`, to be awaited."
    return function


async def _cuttable(line: Line, function: Callable[[], T]) -> T:
    """Return what a function returns; cut a stream that it waits for when cancelled."""

    def call() -> T:
        callers_line.set(line)
        return function()

    try:
        return await _in_thread(call)
    except BaseException:
        line.cut()
        raise


class _Ending(Generic[T]):
    """How a function has ended."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._error: BaseException | None = None
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001  # it is the task's
            self._error = error

    def result(self) -> T:
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._value
        finally:
            del error  # else it and this frame would hold each other


async def _in_thread(function: Callable[[], T]) -> T:
    """Return what a function returns that a thread calls in a copy of this context."""
    import asyncio  # takes 12 ms, which an app without a loop need not spend

    loop = asyncio.get_running_loop()
    ended: Future[_Ending[T]] = loop.create_future()

    def run() -> None:
        # If the loop has ended this raises, in a thread where nobody hears it.
        loop.call_soon_threadsafe(_hand_over, ended, _Ending(function))

    try:
        _WORKERS.start(run)
    except RuntimeError:  # no more threads: better late than never
        copy_context().run(run)
    return (await ended).result()


def _hand_over(ended: "Future[_Ending[T]]", ending: _Ending[T]) -> None:
    if not ended.cancelled():
        ended.set_result(ending)
