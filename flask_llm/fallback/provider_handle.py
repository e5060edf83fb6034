"""One provider of the chain: asks it, judges its answer, cleans its error."""

import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from operator import attrgetter, methodcaller
from typing import TypeVar

from ..config.settings import ProviderSettings, fingerprint
from ..errors import (
    BY_KIND,
    AccessDeniedError,
    AuthError,
    BadAnswerError,
    BusyError,
    ContentBlockedError,
    CoolingDownError,
    DeadlineError,
    ModelNotFoundError,
    ProviderError,
    UnavailableError,
    UnreachableError,
    encodable,
    harmless,
    hidden_in,
    let_through,
    redact,
    text_of,
)
from ..providers import classify
from ..providers.answers import (
    cut_at,
    spoken,
    texts,
    until,
    visible,
    whole_characters,
    without_thoughts,
)
from ..providers.base import (
    NO_KEY,
    NOT_AVAILABLE,
    LLMProvider,
    explained,
)
from ..resilience.clock import PerProcess
from ..types import LLMResponse, Request
from .logs import lines_of, log, log_line

E = TypeVar("E", bound=ProviderError)


T = TypeVar("T")


# What a provider object handed in is trusted with; its own timeout is not known.
_USUAL_TIMEOUT_S = 30.0

# What a provider says that has nothing better to say than that its key is missing.
_NO_KEY = {NO_KEY, NOT_AVAILABLE}


class ProviderHandle:
    """A provider of the chain, made on first use, once in each process.

    Args:
        name: Its name as written, which is its name in status, logs and responses.
        make: Makes the provider.
        settings: What it is configured to be; None for a provider object handed in.
        max_concurrency: The most calls at once in a process; None for no limit.
        model: What is asked there, to tell that two providers ask the same model.

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
        self.name = name if name.isascii() else encodable(name)
        self.settings = settings
        self.max_concurrency = max_concurrency
        self._connected = PerProcess(self._connect)
        self.model = model or object()
        self.model_name: str | None = None
        self.timeout = settings.timeout if settings else _USUAL_TIMEOUT_S
        self.circuit_key = settings.fingerprint() if settings else name
        self._provider = PerProcess(make)
        self._told: str | None = None

    @classmethod
    def of(cls, provider: LLMProvider, name: str = "") -> "ProviderHandle":
        """Return the handle of a provider object handed in."""
        limit: object = provider.max_concurrency
        if limit is not None and not (isinstance(limit, int) and limit > 0):
            kind = type(provider).__name__
            raise TypeError(f"{kind}.max_concurrency must be None, or 1 or more")
        handle = cls(
            name or provider.get_provider_name(),
            lambda: provider,
            max_concurrency=limit,
        )
        handle.circuit_key = fingerprint(handle.name, type(provider), *handle.secrets)
        model = getattr(provider, "model", None)
        if isinstance(model, str):
            handle.model_name = encodable(type(provider).shown_model(model)) or None
        return handle

    @classmethod
    def configured(
        cls, provider_class: type[LLMProvider], settings: ProviderSettings
    ) -> "ProviderHandle":
        """Return the handle of a provider class and its settings."""
        model = settings.model or provider_class.default_model
        handle = cls(
            settings.entry,
            lambda: provider_class.from_config(settings),
            settings,
            settings.max_concurrency,
            (provider_class, model, settings.base_url) if model else None,
        )
        if model:
            shown = provider_class.shown_model(model)
            handle.model_name = shown if shown.isascii() else encodable(shown)
        return handle

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
        except Exception as exc:  # noqa: BLE001  # a third party's attribute may be anything
            let_through(exc)
            return self.timeout

    @property
    def streams(self) -> bool:
        """Whether its answers come piece by piece."""
        return type(self.provider).stream is not LLMProvider.stream

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that must not appear in any text."""
        if self.settings:
            key, address = self.settings.api_key, self.settings.base_url
            return (key, *hidden_in(address)) if address else (key,)
        # An object handed in keeps its key where the documents' example keeps it.
        keys = (getattr(self.provider, n, None) for n in ("api_key", "_api_key"))
        return tuple(key for key in keys if isinstance(key, str))

    def unavailable(self) -> UnavailableError | None:
        """Return why the provider cannot be asked at all, or None if it can."""
        advice = ""
        try:
            if self._provider.get().is_available():
                return None
            reason = text_of(self.provider.unavailable_reason())
            no_key = self._lacks_key() and reason in _NO_KEY
        except BaseException as exc:  # a third party's __init__ may raise anything
            # Nothing is waited for here: a SystemExit is the provider's own.
            if _is_for_the_caller(exc) and not isinstance(exc, SystemExit):
                raise
            let_through(exc)
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
        self._make_ready(lambda provider: provider.warm_up(full=full))

    def connect(self) -> None:
        """Make the client ready once in a process: what is sent next leaves at once."""
        self._connected.get()

    def _connect(self) -> bool:
        try:
            self.provider.warm_up(full=True)
        except Exception as exc:  # noqa: BLE001  # it will fail again where it matters
            let_through(exc)
        return True

    def prepare(self) -> None:
        """Make its SDK and its client ready; whatever goes wrong is logged only."""
        self._make_ready(lambda provider: provider.prepare())

    def _make_ready(self, step: Callable[[LLMProvider], None]) -> None:
        if self.unavailable():
            return
        try:
            step(self.provider)
        except Exception as exc:  # noqa: BLE001  # it will fail again where it matters
            error = self._presentable(explained(self.provider, exc), self.secrets)
            line = "%s cannot be warmed up: %s"
            log_line(logging.WARNING, line, self.name, error, provider=self.name)

    def list_models(self) -> list[str]:
        """Return the models that the provider offers.

        Raises:
            ProviderError: It cannot be asked, or did not answer; holds no key.
        """
        try:
            # Perhaps it lacks a model only, which the list would tell.
            return self.provider.list_models()
        except Exception as exc:  # noqa: BLE001  # a third party's may raise anything
            let_through(exc)
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
        answer: LLMResponse | ProviderError
        try:
            provider = self._provider.get()
            if type(provider).format_prompt is not LLMProvider.format_prompt:
                request = provider.format_prompt(request)
            answer = judged(provider.answer(request), request)
        except BaseException as exc:  # noqa: BLE001  # raised again if not the provider's
            answer = self._fault(exc, secrets)
        if not isinstance(answer, ProviderError):
            return answer
        # Its traceback would tie it to this very frame, in a cycle.
        raise self._presentable(answer.with_traceback(None), secrets)

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
            answer = judged(response, request, streamed=True)
        except BaseException as exc:  # noqa: BLE001  # as in `ask`
            answer = self._fault(exc, secrets)
        if not isinstance(answer, ProviderError):
            return answer
        raise self._presentable(answer.with_traceback(None), secrets)

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
        pieces = spoken(whole_characters(told))
        return visible(until(pieces, request.stop) if request.stop else pieces)

    def _fault(self, exc: BaseException, secrets: tuple[str, ...]) -> ProviderError:
        """Return what an exception out of a provider means; raise what is not its."""
        let_through(exc)
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
            log_line(
                logging.DEBUG, line, self.name, told, provider=self.name, model=model
            )

    def _presentable(self, error: E, secrets: tuple[str, ...]) -> E:
        return presentable(error, self.name, self.settings, secrets)


def _is_for_the_caller(exc: BaseException) -> bool:
    """Return whether somebody wants to end the caller's thread or greenlet."""
    if isinstance(exc, KeyboardInterrupt | SystemExit | GeneratorExit):
        return True
    return type(exc).__module__.partition(".")[0] in {"gevent", "greenlet"}


def provider_name(handle: ProviderHandle) -> str:
    """Return the provider's name, without the model that the configuration may add."""
    return handle.settings.name if handle.settings else handle.name


def provider_of(handle: ProviderHandle) -> LLMProvider | None:
    """Return the provider; None if it cannot be made, which `unavailable` explains."""
    try:
        return handle.provider
    except Exception as exc:  # noqa: BLE001  # a third party's __init__ may raise anything
        let_through(exc)
        return None


def model_of(handle: ProviderHandle) -> str:
    """Return the model that is asked; empty if it has none, or does not tell."""
    model: object = getattr(provider_of(handle), "model", None)
    return model if isinstance(model, str) else ""


# What providers call an answer that a filter stopped half-way.
_BLOCKED = {"content_filter", "safety", "refusal"}

# What another factory says of all its providers, where one stands in this chain.
_SAID_OF_A_CHAIN = {BusyError, CoolingDownError, DeadlineError}


def judged(
    response: object, request: Request, *, streamed: bool = False
) -> LLMResponse | ProviderError:
    """Return a provider's answer as a caller may get it, or why it is none.

    It can be encoded, and ends before the first of the stop texts.

    Args:
        response: What the provider has returned, whatever that is.
        request: What was asked.
        streamed: Whether its text has been handed out already, piece by piece.
    """
    if type(response) is not LLMResponse and not isinstance(response, LLMResponse):
        kind = type(response).__name__
        return BadAnswerError(reason=f"returned {kind} instead of an LLMResponse")
    metadata: object = response.metadata
    if type(metadata) is not dict and not isinstance(metadata, dict):
        return BadAnswerError(reason=f"metadata is {type(metadata).__name__}, no dict")
    if response.success:
        answer = _judged_text(response, request, streamed=streamed)
    else:
        answer = _returned_error(response)
    if isinstance(answer, ProviderError):
        answer.usage = response.usage_told
    return answer


def _judged_text(
    response: LLMResponse, request: Request, *, streamed: bool
) -> LLMResponse | ProviderError:
    """Return a response that claims success, with the text that a caller may get."""
    content: object = response.content  # a third party may put anything there
    if streamed and not content:
        content = "streamed"
    if type(content) is not str and not isinstance(content, str):
        return BadAnswerError(reason=f"content is {type(content).__name__}, no text")
    if not content.strip():
        return BadAnswerError(reason="empty answer")
    finish = response.metadata.get("finish_reason")
    if finish != "stop" and str(finish).lower() in _BLOCKED:
        return ContentBlockedError(reason="answer cut by a content filter")
    if "<think>" in content and not streamed:
        return _spoken(response, content, request.stop)
    if streamed or (content.isascii() and not request.stop):
        return response
    return _shown(response, content, request.stop)


def _spoken(
    response: LLMResponse, content: str, stops: Sequence[str]
) -> LLMResponse | ProviderError:
    """Return an answer without the thinking that a server has left in front of it."""
    try:
        text = without_thoughts(content, response.metadata.get("finish_reason"))
    except BadAnswerError as error:
        return error.with_traceback(None)
    if not text.strip():
        return BadAnswerError(reason="empty answer")
    return _shown(replace(response, content=text), text, stops)


def _shown(
    response: LLMResponse, content: str, stops: Sequence[str]
) -> LLMResponse | ProviderError:
    """Return an answer that can be encoded, up to the first of the stop texts."""
    whole = encodable(content)
    text = cut_at(whole, stops)
    if text == content:
        return response
    if not text.strip():
        return BadAnswerError(reason="empty answer")
    finish = {} if text == whole else {"finish_reason": "stop"}
    return replace(response, content=text, metadata=response.metadata | finish)


def _returned_error(response: LLMResponse) -> ProviderError:
    """Return the error of a failed response, by its kind or else by its text."""
    message = text_of(response.error or "")
    named = response.metadata.get("error_kind")
    kind = BY_KIND.get(named) if isinstance(named, str) else None
    if kind in _SAID_OF_A_CHAIN:
        return ProviderError(message)
    return kind(message) if kind else classify.from_text(message)


# A provider's own words, cut: some put a whole web page into an error.
_LONGEST_DETAIL = 300


def presentable(
    error: E, name: str, settings: ProviderSettings | None, secrets: tuple[str, ...]
) -> E:
    """Return a copy that may be logged and shown.

    Args:
        error: What a provider raised or returned.
        name: The provider, as the configuration names it.
        settings: What it is configured to be, for the advice which key to look at.
        secrets: What must be in no text.
    """
    try:
        return error.copy(
            provider=name,
            reason=_line(error.reason, secrets),
            detail=_line(error.detail, secrets),
            advice=error.advice or _advice(error, settings),
            status=error.status if isinstance(error.status, int) else None,
            retry_after=_seconds(error.retry_after),
        )
    except Exception:  # noqa: BLE001  # a third party's subclass, with ideas of its own
        why = f"failed ({type(error).__name__})"
        return ProviderError(reason=why, provider=name)  # type: ignore[return-value]  # a base of E


def _advice(error: ProviderError, settings: ProviderSettings | None) -> str:
    """Return which configuration key to look at, where one is to blame."""
    if settings is None or isinstance(error, AccessDeniedError):
        return ""  # nobody knows whether it is the key
    if isinstance(error, AuthError) and "@" in (settings.base_url or ""):
        return f"check {settings.base_url_key}"  # its user is sent, and no key
    if isinstance(error, AuthError) and settings.api_key_name:
        return f"{'check' if settings.api_key else 'set'} {settings.api_key_name}"
    if isinstance(error, UnreachableError) and settings.base_url:
        return f"check {settings.base_url_key}"
    if isinstance(error, ModelNotFoundError) and settings.model_key:
        return _of_model(settings, error.detail)
    return ""


def _of_model(settings: ProviderSettings, detail: str) -> str:
    """Return what to change if there is no such model, or no such address."""
    if not settings.base_url:
        return f"set {settings.model_key}"
    if "model" in detail.lower():
        return f"set {settings.model_key}, or check {settings.base_url_key}"
    # A server that does not speak of models may not know the path either.
    return f"check {settings.base_url_key}, or set {settings.model_key}"


def _seconds(value: object) -> float | None:
    """Return a third party's retry_after, such as a header's text, as a number."""
    try:
        seconds = float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None


def _line(text: object, secrets: tuple[str, ...]) -> str:
    """Return a text that can be encoded, on one line, without keys and not too long."""
    line = harmless(" ".join(redact(encodable(text_of(text)), secrets).split()))
    return line if len(line) <= _LONGEST_DETAIL else line[: _LONGEST_DETAIL - 1] + "…"
