"""One link of the chain: a provider under the name that the configuration gives it."""

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from operator import attrgetter, methodcaller
from typing import TypeVar

from ..config.settings import ProviderSettings, fingerprint
from ..errors import ProviderError, UnavailableError, encodable, text_of
from .logs import lines_of, log, tell
from ..pieces import cut_at, texts, until, visible, whole_characters
from ..presentable import presentable
from ..process import PerProcess
from ..providers.base import NO_KEY, NOT_AVAILABLE, LLMProvider, explained
from ..redact import hidden_in, redact
from ..types import LLMResponse, Request
from ..verdict import fault_of, fault_of_stream

# What a provider object handed in is trusted with; its own timeout is not known.
_USUAL_TIMEOUT_S = 30.0

# What a provider says that has nothing better to say than that its key is missing.
_NO_KEY = {NO_KEY, NOT_AVAILABLE}

E = TypeVar("E", bound=ProviderError)


class ChainEntry:
    """A provider of the chain, made on first use, once in each process.

    Args:
        name: The entry as written; its name in status, logs and responses.
        make: Makes the provider.
        settings: What it is configured to be; None for a provider object handed in.
        max_concurrency: The most calls at once in a process; None for no limit.
        model: What is asked there, to tell that two links ask the same model.

    Attributes:
        model_name: The model that is asked; None where only its provider knows it.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], LLMProvider],
        settings: ProviderSettings | None = None,
        max_concurrency: int | None = None,
        model: object = None,
    ) -> None:
        self.name = encodable(name)
        self.settings = settings
        self.max_concurrency = max_concurrency
        self.model = model or object()
        self.model_name: str | None = None
        self.timeout = settings.timeout if settings else _USUAL_TIMEOUT_S
        self.circuit_key = settings.fingerprint() if settings else name
        self._provider = PerProcess(make)
        self._told: str | None = None

    @classmethod
    def of(cls, provider: LLMProvider, name: str = "") -> "ChainEntry":
        """Return the entry for a provider object handed in."""
        most: object = provider.max_concurrency
        if most is not None and not (isinstance(most, int) and most > 0):
            kind = type(provider).__name__
            raise TypeError(f"{kind}.max_concurrency must be None, or 1 or more")
        entry = cls(
            name or provider.get_provider_name(),
            lambda: provider,
            max_concurrency=most,
        )
        entry.circuit_key = fingerprint(entry.name, type(provider), *entry.secrets)
        model = getattr(provider, "model", None)
        if isinstance(model, str):
            entry.model_name = encodable(type(provider).shown_model(model)) or None
        return entry

    @classmethod
    def configured(
        cls, provider_class: type[LLMProvider], settings: ProviderSettings
    ) -> "ChainEntry":
        """Return the entry for a provider class and its settings."""
        model = settings.model or provider_class.default_model
        entry = cls(
            settings.entry,
            lambda: provider_class.from_config(settings),
            settings,
            settings.max_concurrency,
            (provider_class, model, settings.base_url) if model else None,
        )
        if model:
            entry.model_name = encodable(provider_class.shown_model(model))
        return entry

    @property
    def provider(self) -> LLMProvider:
        """The provider itself."""
        return self._provider.get()

    @property
    def longest_attempt(self) -> float:
        """The most seconds that an attempt may take."""
        return self._at_least_timeout(attrgetter("longest_attempt"))

    @property
    def patience(self) -> float:
        """The most seconds that the next attempt may take."""
        return self._at_least_timeout(methodcaller("patience"))

    def _at_least_timeout(self, told: Callable[[LLMProvider], float]) -> float:
        try:
            return max(self.timeout, float(told(self.provider)))
        except Exception:  # noqa: BLE001  # a stranger's attribute may be anything
            return self.timeout

    @property
    def streams(self) -> bool:
        """Whether its answers come piece by piece."""
        return type(self.provider).stream is not LLMProvider.stream

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that must not appear in any text."""
        if self.settings:
            return (self.settings.api_key, *hidden_in(self.settings.base_url))
        # An object handed in keeps its key where the documents' example keeps it.
        keys = (getattr(self.provider, n, None) for n in ("api_key", "_api_key"))
        return tuple(key for key in keys if isinstance(key, str))

    def unavailable(self) -> UnavailableError | None:
        """Return why the provider cannot be asked at all, or None if it can."""
        advice = ""
        try:
            if self.provider.is_available():
                return None
            reason = text_of(self.provider.unavailable_reason())
            no_key = self._lacks_key() and reason in _NO_KEY
        except BaseException as exc:  # a stranger's __init__ may raise anything
            # Nothing is waited for here: a SystemExit is the provider's own.
            if _is_for_the_caller(exc) and not isinstance(exc, SystemExit):
                raise
            reason = f"cannot be set up: {type(exc).__name__}: {text_of(exc)}"
            # An __init__ of other arguments would not work with a key either.
            no_key = self._lacks_key() and not isinstance(exc, TypeError)
        if self.settings and no_key:
            reason, advice = "no API key", f"set {self.settings.api_key_name}"
        error = UnavailableError(reason=reason, advice=advice)
        return self._presentable(error, self.secrets)

    def _lacks_key(self) -> bool:
        settings = self.settings
        return bool(settings and settings.api_key_name and not settings.api_key)

    def warm_up(self, *, full: bool) -> None:
        """Make the provider ready; whatever goes wrong is logged only."""
        if self.unavailable():
            return
        try:
            self.provider.warm_up(full=full)
        except Exception as exc:  # noqa: BLE001  # it will fail again where it matters
            error = self._presentable(explained(self.provider, exc), self.secrets)
            line = "%s cannot be warmed up: %s"
            tell(logging.WARNING, line, self.name, error, provider=self.name)

    def list_models(self) -> list[str]:
        """Return the models that the provider offers.

        Raises:
            ProviderError: It cannot be asked, or did not answer; holds no key.
        """
        try:
            # Perhaps it lacks a model only, which the list would tell.
            return self.provider.list_models()
        except Exception as exc:  # noqa: BLE001  # a stranger's may raise anything
            fault = self.unavailable() or explained(self.provider, exc)
        raise self._presentable(fault.with_traceback(None), self.secrets)

    def is_news(self, error: UnavailableError) -> bool:
        """Return whether this is the first time in this process that it is told."""
        known = self._told == error.summary
        self._told = error.summary
        return not known

    def ask(self, request: Request, secrets: tuple[str, ...] = ()) -> LLMResponse:
        """Ask the provider once.

        Args:
            request: What to ask.
            secrets: Keys to take out of whatever text comes back as an error.

        Returns:
            A response that holds text.

        Raises:
            ProviderError: There is none, whether the provider raised or returned it.
        """
        try:
            provider = self.provider
            response = provider.answer(provider.format_prompt(request))
            fault = fault_of(response)
            if fault is None:
                response = _shown(response, request)
                fault = fault_of(response)
        except BaseException as exc:  # noqa: BLE001  # raised again if not the provider's
            fault = self._fault(exc, secrets)
        if fault is None:
            return response
        # Its traceback would tie it to this very frame, in a cycle.
        raise self._presentable(fault.with_traceback(None), secrets)

    def stream(
        self, request: Request, secrets: tuple[str, ...] = ()
    ) -> Generator[str, None, LLMResponse]:
        """Ask the provider once, and hand out its answer piece by piece.

        Args:
            request: What to ask.
            secrets: Keys to take out of whatever text comes back as an error.

        Returns:
            What is known of an answer that is complete and held text.

        Raises:
            ProviderError: There is none, or it is incomplete.
        """
        try:
            with closing(self._pieces(request)) as pieces:
                told = yield from pieces
            response = self._unsaid(request) if told is None else told
            fault = fault_of_stream(response)
        except BaseException as exc:  # noqa: BLE001  # as in `ask`
            fault = self._fault(exc, secrets)
        if fault is None:
            return response
        raise self._presentable(fault.with_traceback(None), secrets)

    def _unsaid(self, request: Request) -> LLMResponse:
        """Return the response of a stream that has told nothing of itself.

        It was left at a stop text, or is of a generator that returns nothing.
        """
        known = {"finish_reason": "stop"} if request.stop else {}
        return LLMResponse(
            success=True, content="", provider_name=self.name, metadata=known
        )

    def _pieces(self, request: Request) -> Generator[str, None, LLMResponse | None]:
        """Return what the provider streams, as far as a reader shall see it."""
        provider = self.provider
        told = texts(provider.stream(provider.format_prompt(request)))
        pieces = whole_characters(told)
        return visible(until(pieces, request.stop) if request.stop else pieces)

    def _fault(self, exc: BaseException, secrets: tuple[str, ...]) -> ProviderError:
        """Return what an exception out of a provider means; raise what is not its."""
        if isinstance(exc, Exception):
            self._trace(exc, secrets)
            return explained(self.provider, exc)
        if _is_for_the_caller(exc):
            raise exc
        # asyncio's CancelledError, a panic of a library in Rust.
        return ProviderError(reason=f"failed ({type(exc).__name__})")

    def _trace(self, exc: Exception, secrets: tuple[str, ...]) -> None:
        """Leave the traceback of a provider's exception in the log, at DEBUG level."""
        if log.isEnabledFor(logging.DEBUG):
            told = redact(lines_of(exc), secrets)
            line, model = "%s raised\n%s", self.model_name
            tell(logging.DEBUG, line, self.name, told, provider=self.name, model=model)

    def _presentable(self, error: E, secrets: tuple[str, ...]) -> E:
        return presentable(error, self.name, self.settings, secrets)


def _is_for_the_caller(exc: BaseException) -> bool:
    """Return whether somebody wants to end the caller's thread or greenlet."""
    if isinstance(exc, KeyboardInterrupt | SystemExit | GeneratorExit):
        return True
    return type(exc).__module__.partition(".")[0] in {"gevent", "greenlet"}


def _shown(response: LLMResponse, request: Request) -> LLMResponse:
    """Return an answer that can be encoded, up to the first of the stop texts."""
    whole = encodable(response.content)
    content = cut_at(whole, request.stop)
    if content == response.content:
        return response
    finish = {} if content == whole else {"finish_reason": "stop"}
    return replace(response, content=content, metadata=response.metadata | finish)
