"""For the tests of an app: a provider that says what it is told to."""

import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from ..config.settings import ProviderSettings
from ..factory import LLMFactory
from ..providers.base import LLMProvider
from ..resilience.clock import SYSTEM, Clock
from ..resilience.stream_reader import current_cancellation
from ..types import LLMResponse, Request

_WORD = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Delay:
    """A step of a script that takes time.

    Attributes:
        seconds: How long it takes.
        step: What happens then.
    """

    seconds: float
    step: "Step" = "ok"


Piece = str | Exception | type[Exception] | Delay
"""A part of a streamed answer: a text, an exception to raise there, or a `Delay` before
one of these."""

Step = (
    str
    | LLMResponse
    | Exception
    | type[Exception]
    | Callable[[str], str]
    | Delay
    | Sequence[Piece]
)
"""One step of a script: a text or a response to return, an exception (or its class) to
raise, a function from prompt to text, a `Delay` before one of these, or a list of the
pieces in which an answer is streamed."""


class FakeProvider(LLMProvider):
    """A provider with a script, which reaches no network and records its calls.

    An object of it can stand in a chain where a name would::

        fake = FakeProvider(QuotaError(), "spam")
        llm = LLMFactory(fake, [FakeProvider("ham", name="second")])

    or in an app's configuration: ``app.config["LLM_PRIMARY_PROVIDER"] = fake``.

    Its streams come word by word, or in the pieces that a step lists, where a `Delay`
    is a silence and an exception the end::

        FakeProvider(["Sp", Delay(20, "am"), TransientError()])

    Args:
        *script: One step for each call; the last one repeats. Without any, "ok".
        name: Its name in the chain.
        available: What `is_available` says; may be changed later.
        clock: Where a `Delay` is waited for. A stream that is closed waits no longer.

    Attributes:
        calls: What it was asked, in order: requests with their messages, `system`,
            `stop` and `schema`, but without the `timeout` of the attempt.
    """

    needs_key = False

    def __init__(
        self,
        *script: Step,
        name: str = "fake",
        available: bool = True,
        clock: Clock = SYSTEM,
    ) -> None:
        self.name = name
        self.available = available
        self.calls: list[Request] = []
        self._script = script or ("ok",)
        self._clock = clock
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> Self:
        """Make one that answers "ok", for a class registered under a name."""
        return cls(name=settings.name)

    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        """Record the call and play the next step of the script.

        Args:
            prompt: Recorded in `calls`.
            temperature: Recorded in `calls`.
            max_tokens: Recorded in `calls`.

        Returns:
            The scripted answer.

        Raises:
            Exception: The scripted one.
        """
        return _whole(self._next(Request(prompt, temperature, max_tokens)))

    def answer(self, request: Request) -> LLMResponse:
        """Record the request and play the next step of the script.

        A `generate_content` that a test has replaced is called instead.

        Args:
            request: Recorded in `calls`.

        Returns:
            The scripted answer.

        Raises:
            Exception: The scripted one.
        """
        if self._is_changed():
            return super().answer(request)
        return _whole(self._next(request))

    def stream(self, request: Request) -> Generator[str, None, LLMResponse]:
        """Record the request and play the next step of the script, piece by piece.

        A `generate_content` that a test has replaced is called instead.

        Args:
            request: Recorded in `calls`.

        Returns:
            The scripted answer.

        Raises:
            Exception: The scripted one.
        """
        played = super().stream if self._is_changed() else self._next
        return (yield from played(request))

    def get_provider_name(self) -> str:
        """Return its name in the chain."""
        return self.name

    def is_available(self) -> bool:
        """Return `available`."""
        return self.available

    def _is_changed(self) -> bool:
        own = getattr(self.generate_content, "__func__", None)
        return own is not FakeProvider.generate_content

    def _next(self, request: Request) -> Generator[str, None, LLMResponse]:
        with self._lock:
            self.calls.append(replace(request, timeout=None))
            step = self._script[min(len(self.calls), len(self._script)) - 1]
        return self._play(step, request)

    def _play(
        self, scripted: Step, request: Request
    ) -> Generator[str, None, LLMResponse]:
        step: Any = self._awaited(scripted)
        if isinstance(step, LLMResponse):
            response = replace(step, metadata=dict(step.metadata))
        elif isinstance(step, Sequence) and not isinstance(step, str):
            return (yield from self._play_pieces(step))
        else:
            text = step if isinstance(step, str) else step(request.text)
            response = LLMResponse(success=True, content=text, provider_name=self.name)
        if response.success and isinstance(response.content, str):
            yield from _WORD.findall(response.content)
        return response

    def _play_pieces(
        self, pieces: Sequence[Piece]
    ) -> Generator[str, None, LLMResponse]:
        texts = []
        for piece in pieces:
            texts.append(self._awaited(piece))
            yield texts[-1]
        return LLMResponse(
            success=True, content="".join(texts), provider_name=self.name
        )

    def _awaited(self, step: Any) -> Any:
        """Return what comes after the delays of a step; raise what is to be raised."""
        while isinstance(step, Delay):
            self._wait(step.seconds)
            step = step.step
        if isinstance(step, Exception | type):
            raise step
        return step

    def _wait(self, seconds: float) -> None:
        """Wait; in a stream only until it is closed."""
        cancellation = current_cancellation.get()
        if cancellation is None:
            self._clock.sleep(seconds)
            return
        closed = threading.Lock()
        closed.acquire()
        cancellation.on_cancel(closed.release)
        self._clock.wait(closed, seconds)


def _whole(played: Generator[str, None, LLMResponse]) -> LLMResponse:
    """Return what a step that is played to its end returns."""
    while True:
        try:
            next(played)
        except StopIteration as end:
            response: LLMResponse = end.value
            return response


class _App(Protocol):
    """A Flask app, as far as it is needed here."""

    config: Any
    extensions: dict[str, Any]


@contextmanager
def fake(
    app: "_App", *providers: str | LLMProvider, **config: Any
) -> Iterator[LLMFactory]:
    """Let an app that exists already ask other providers, as long as a test lasts.

    For an app that another module has made, whose settings nothing hears any more::

        with flask_llm.testing.fake(app, FakeProvider("spam")):
            assert client.post("/classify").json == {"label": "spam"}

    Filters, signals, pages and observers are those of the app. For one test at a time.

    Args:
        app: The app, after ``FlaskLLM(app)``.
        *providers: Whom it asks, in order; "ok" is answered if there is none.
        **config: Settings besides those of the app, such as ``LLM_MAX_RETRIES=1``.

    Returns:
        The app's factory meanwhile.

    Raises:
        RuntimeError: The app has no `FlaskLLM`.
    """
    real = app.extensions.get("llm")
    if real is None:
        raise RuntimeError("This app has no FlaskLLM yet: call FlaskLLM(app) first.")
    first, *others = providers or (FakeProvider(),)
    factory: LLMFactory = type(real)(
        first,
        others,
        config={**app.config, "LLM_STATE_URL": "memory://", **config},
        sender=app,
        filters=real.filters,
    )
    _put(app, factory)
    try:
        yield factory
    finally:
        _put(app, real)


def _put(app: "_App", factory: LLMFactory) -> None:
    app.extensions["llm"] = factory
    app.llm = factory  # type: ignore[attr-defined]  # the documented current_app.llm
