"""What a provider is, and one that cannot be used."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from datetime import date
from inspect import signature
from typing import Any, ClassVar, NamedTuple

from ..config.parsers import Parser
from ..config.settings import ProviderSettings
from ..errors import (
    InvalidRequestError,
    ProviderError,
    UnavailableError,
    let_through,
)
from ..types import LLMResponse, Request
from . import classify

log = logging.getLogger("flask_llm")

NO_KEY = "no API key"
"""Why a provider without its key is unavailable; the chain adds which one to set."""

NO_LIST = "cannot list its models"
"""Why a provider does not tell which models it has."""

NOT_AVAILABLE = "not available"
"""What a provider says that does not know why it is unavailable."""


class Retirement(NamedTuple):
    """The end of a model, as the provider's SDK knows it.

    Attributes:
        on: The day on which it is switched off.
        successor: The model to use instead, if one is named.
    """

    on: date
    successor: str | None = None


class LLMProvider(ABC):
    """One way to reach a model.

    The three abstract methods are the whole contract: a class with them and an
    ``__init__(self, api_key)`` can be registered and used as primary or fallback. Its
    key is read from ``<NAME>_API_KEY``. It may raise, or return a response with
    ``success=False``; both count as the same failure.

    Attributes:
        api_key_names: Configuration keys that may hold its key, the first set one
            wins; empty means ``<NAME>_API_KEY``.
        needs_key: Whether it is unavailable without a key. One that needs none, but
            has `api_key_names`, is given a key that is set.
        default_model: Model used unless configured; None for a provider whose model
            cannot be chosen by configuration.
        default_timeout: Seconds for one attempt instead of `LLM_TIMEOUT`.
        max_concurrency: The most calls at once in a process; None for no limit.
        address: Its own address, asked unless a `base_url` is configured. What its
            tokens cost is looked up by it; without one that is not known.
        options: Parsers of its own settings by argument name of `__init__`; the
            setting `context` of a provider "local" is read from LLM_LOCAL_CONTEXT.
        other_keys: A second configuration key of some `options`, where a convention
            has one: GOOGLE_CLOUD_PROJECT for the `project` of a provider "vertex".
        longest_attempt: The most seconds that an attempt may take, where that can be
            more than its timeout; else 0.
    """

    api_key_names: ClassVar[tuple[str, ...]] = ()
    needs_key: ClassVar[bool] = True
    default_model: ClassVar[str | None] = None
    default_timeout: ClassVar[float | None] = None
    max_concurrency: ClassVar[int | None] = None
    options: ClassVar[Mapping[str, Parser[Any]]] = {}
    other_keys: ClassVar[Mapping[str, str]] = {}
    address: str = ""
    longest_attempt: float = 0.0

    @abstractmethod
    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        """Ask the model once.

        Args:
            prompt: The text to send.
            temperature: Randomness, from 0.0 upwards.
            max_tokens: The most tokens that the answer may have.

        Returns:
            The answer, or a response with ``success=False`` and the `error`.
        """

    @abstractmethod
    def get_provider_name(self) -> str:
        """Return the provider's identifier."""

    @abstractmethod
    def is_available(self) -> bool:
        """Return whether the provider is configured. Must not use the network."""

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> "LLMProvider":
        """Make the provider from its settings; the place for a richer `__init__`.

        Called on first use, once in each process. As it is, it passes the key on where
        the class needs one or one is set; then by name the `options` that are set, and
        of a class with a `default_model` the model, the address and the timeout, as far
        as `__init__` takes them.

        Raises:
            TypeError: `__init__` does not take what is configured.
        """
        key = (settings.api_key,) if cls.needs_key or settings.api_key else ()
        return cls(*key, **{**_of_models(cls, settings), **settings.options})

    @classmethod
    def takes_key(cls) -> bool:
        """Return whether it has an API key, perhaps one that it can do without."""
        return cls.needs_key or bool(cls.api_key_names)

    @classmethod
    def shown_model(cls, model: str) -> str:
        """Return the name of a model for logs, metrics and pages.

        As it is, the model itself; for a provider whose model is a file on a disk.
        """
        return model

    def answer(self, request: Request) -> LLMResponse:
        """Make one attempt; the place for a provider that can do more than a text.

        As it is, it calls `generate_content` with the conversation as one text, which
        tells what schema the answer must have. `request.stop` need not be heeded: the
        chain cuts answers there.

        Args:
            request: What is asked for, and how long the attempt may take.

        Returns:
            The answer, or a response with ``success=False`` and the `error`.

        Raises:
            InvalidRequestError: There is a picture in the conversation.
        """
        if request.images:
            raise InvalidRequestError(reason="takes no images")
        return self.generate_content(
            request.instructed().text,
            temperature=request.temperature,
            max_tokens=request.max_tokens,
        )

    def stream(self, request: Request) -> Generator[str, None, LLMResponse]:
        """Make one attempt, handing out the text piece by piece.

        A generator: it yields texts, and returns the response when the answer is
        complete, as the provider's own end marker tells; its `content` may be empty. It
        raises where it is not. Closing it must close the connection.

        As it is, it yields the whole of what `answer` returns.

        Args:
            request: What is asked for; its `timeout` is how long the provider may be
                silent.

        Returns:
            What is known of the answer, or a response with ``success=False``.
        """
        response = self.answer(request)
        if getattr(response, "success", False):  # a third party may return anything
            yield response.content
        return response

    def format_prompt(self, request: Request) -> Request:
        """Return the request as this provider shall be asked; a hook for subclasses.

        Called before each attempt. A class of the three-method contract that wants the
        conversation in a form of its own returns
        ``replace(request, prompt="...", system="")``. As it is, nothing changes.

        Args:
            request: What the caller asks for, after the prompt filters.
        """
        return request

    def warm_up(self, *, full: bool) -> None:  # noqa: B027  # most need none
        """Do ahead what the first call would wait for; called only if available.

        As it is, it does nothing. It may raise, which the caller only logs.

        Args:
            full: Whether to prepare everything. Otherwise only what a process may do
                before it forks: imports, but no clients.
        """

    def prepare(self) -> None:  # noqa: B027  # most need none
        """Do ahead what a first call waits for in this process, in the background.

        Called once the process has had its first answer, whoever gave it; so a switch
        to this provider is quick. It must neither use the network nor load a model. As
        it is, it does nothing. It may raise, which is only logged.
        """

    def patience(self) -> float:
        """Return the most seconds that the next attempt may take; 0 for its timeout.

        As it is, `longest_attempt`; for a provider whose first call takes longer.
        """
        return self.longest_attempt

    def list_models(self) -> list[str]:
        """Return the models that may be asked for.

        As it is, it raises.

        Raises:
            ProviderError: The provider cannot tell.
        """
        raise UnavailableError(reason=NO_LIST)

    def retirement(self) -> Retirement | None:
        """Return when its model ends, as far as is known here. Uses no network."""
        return None

    def is_free(self) -> bool:
        """Return whether nobody sends a bill for its tokens.

        As it is, False; for a model that runs on a machine of the app's own.
        """
        return False

    def unavailable_reason(self) -> str:
        """Return what is missing while `is_available` says False."""
        return NOT_AVAILABLE

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error that an exception out of an attempt means."""
        return classify.from_exception(exc)


def _of_models(cls: type[LLMProvider], settings: ProviderSettings) -> dict[str, Any]:
    """Return what else of the settings the `__init__` of a class takes, by name."""
    if cls.default_model is None:
        return {}
    parameters = signature(cls.__init__).parameters  # not of a __new__
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    found = {"model": settings.model, "base_url": settings.base_url}
    found = {name: value for name, value in found.items() if value is not None}
    for name in found:
        if name not in parameters and not takes_all:
            raise TypeError(f"{cls.__name__} takes no {name}, but one is configured")
    if "timeout" in parameters or takes_all:
        return {**found, "timeout": settings.timeout}
    return found


def explained(provider: LLMProvider, exc: Exception) -> ProviderError:
    """Return what a provider makes of an exception, even if its own hook fails."""
    for hook in (provider.explain, classify.from_exception):
        try:
            error = hook(exc)
        except Exception as second:  # noqa: BLE001  # a third party's may do anything
            let_through(second)
            log.debug("explain() failed with %s", type(second).__name__)
        else:
            if isinstance(error, ProviderError):
                return error
    return ProviderError(reason=f"failed ({type(exc).__name__})")


class BrokenProvider(LLMProvider):
    """A provider that is never available, so that the app runs on with the others.

    Args:
        name: The provider, as the configuration names it.
        why: What is wrong with the plug-in.
    """

    needs_key = False

    def __init__(self, name: str, why: str) -> None:
        self._name = name
        self._why = why

    def generate_content(self, *_: object, **__: object) -> LLMResponse:
        """Raise, since there is nobody to ask.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError(reason=self._why)

    def get_provider_name(self) -> str:
        """Return the name in the configuration."""
        return self._name

    def is_available(self) -> bool:
        """Return False."""
        return False

    def unavailable_reason(self) -> str:
        """Return what is wrong with the plug-in."""
        return self._why
