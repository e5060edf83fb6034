"""What a provider is."""

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar, Generic, Self, TypeVar

from .. import classify
from ..config import Parser, ProviderSettings
from ..config import api_key as checked_key
from ..errors import ProviderError, TransientError, UnavailableError
from ..redact import redact
from ..types import LLMResponse, Request

log = logging.getLogger("flask_llm")

T = TypeVar("T")


class LLMProvider(ABC):
    """One way to reach a model.

    The three abstract methods are the whole contract: a class with them and an
    ``__init__(self, api_key)`` can be registered and used as primary or fallback. Its
    key is read from ``<NAME>_API_KEY``. It may raise, or return a response with
    ``success=False``; both count as the same failure.

    Attributes:
        api_key_names: Configuration keys that may hold its key, the first set one
            wins; empty means ``<NAME>_API_KEY``.
        needs_key: Whether it is unavailable without a key.
        default_model: Model used unless configured; None for a provider whose model
            cannot be chosen by configuration.
        default_timeout: Seconds for one attempt instead of `LLM_TIMEOUT`.
        options: Parsers of its own settings by argument name of `__init__`; the
            setting `context` of a provider "local" is read from LLM_LOCAL_CONTEXT.
    """

    api_key_names: ClassVar[tuple[str, ...]] = ()
    needs_key: ClassVar[bool] = True
    default_model: ClassVar[str | None] = None
    default_timeout: ClassVar[float | None] = None
    options: ClassVar[Mapping[str, Parser[Any]]] = {}

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
    def from_config(cls, settings: ProviderSettings) -> Self:
        """Make the provider from its settings; the place for a richer `__init__`.

        Called on first use, once in each process.
        """
        return cls(settings.api_key)  # type: ignore[call-arg]  # the documented __init__

    def unavailable_reason(self) -> str:
        """Return what is missing while `is_available` says False."""
        return "not available"

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error that an exception out of `generate_content` means."""
        return classify.from_exception(exc)


class SdkProvider(LLMProvider):
    """A provider on top of an SDK: translate, call, translate back.

    A subclass states its facts, then says how to connect, how to send a request and
    how to read the answer. An SDK's exception never leaves: it is translated into a
    `ProviderError` that holds copied text only.

    Args:
        api_key: The provider's key.
        model: Model instead of the default one.
        base_url: Address instead of the provider's own.
        timeout: Seconds that the connection may be silent.

    Raises:
        ValueError: The key holds what no HTTP header can carry.

    Attributes:
        name: The provider's identifier.
        module: The module whose presence says that the SDK is installed.
        requirement: What to `pip install` for it.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    requirement: ClassVar[str]

    def __init__(
        self,
        api_key: str = "",
        *,
        model: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._api_key = checked_key(api_key) if api_key.strip() else ""
        self.model = model or self.default_model or ""
        self.base_url = base_url
        self.timeout = timeout
        self._client = PerProcess(self._connect_if_available)

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> Self:
        """Make the provider from its settings."""
        return cls(
            settings.api_key,
            model=settings.model,
            base_url=settings.base_url,
            timeout=settings.timeout,
            **settings.options,
        )

    def generate_content(
        self, prompt: str, temperature: float = 0.0, max_tokens: int = 1024
    ) -> LLMResponse:
        """Ask the model once.

        Args:
            prompt: The text to send.
            temperature: Randomness, from 0.0 upwards.
            max_tokens: The most tokens that the answer may have.

        Returns:
            The answer.

        Raises:
            ProviderError: There is none; the subclass says why.
        """
        request = Request(prompt, temperature, max_tokens)
        try:
            return self._read(self._send(self._client.get(), request))
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their own trees
            error = explained(self, exc)
        # Outside the except block: the SDK's exception must not hang on as __context__,
        # since its request holds the key.
        detail = redact(error.detail, [self._api_key])
        raise error.copy(provider=self.name, detail=detail)

    def get_provider_name(self) -> str:
        """Return the provider's identifier."""
        return self.name

    def is_available(self) -> bool:
        """Return whether the SDK is installed and the key is there."""
        return installed(self.module) and bool(self._api_key or not self.needs_key)

    def unavailable_reason(self) -> str:
        """Return what is missing: the package, with its pip line, or the key."""
        if not installed(self.module):
            return f"{self.module} is not installed: pip install {self.requirement}"
        return "no API key"

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error; an SDK that trips over an answer means a malformed one."""
        error = classify.from_exception(exc)
        if type(error) is ProviderError and isinstance(exc, _STUMBLES):
            return TransientError(type(exc).__name__, reason=classify.MALFORMED)
        return error

    def _connect_if_available(self) -> Any:
        """Connect, unless there is no key: some SDKs would look for one elsewhere."""
        if not self.is_available():
            raise UnavailableError(reason=self.unavailable_reason())
        return self._connect()

    @abstractmethod
    def _connect(self) -> Any:
        """Return the SDK's client, its own retries switched off. Opens nothing yet."""

    @abstractmethod
    def _send(self, client: Any, request: Request) -> Any:
        """Call the SDK once."""

    @abstractmethod
    def _read(self, answer: Any) -> LLMResponse:
        """Check the shape of the SDK's answer and return it as ours.

        Raises:
            ProviderError: The answer is none that a caller can be given.
        """


def explained(provider: LLMProvider, exc: Exception) -> ProviderError:
    """Return what a provider makes of an exception, even if its own hook fails."""
    try:
        return provider.explain(exc)
    except Exception:  # noqa: BLE001  # whatever a server sent may trip a hook
        return classify.from_exception(exc)


_STUMBLES = (ValueError, TypeError, AttributeError, LookupError, StopIteration)


class PerProcess(Generic[T]):
    """An object made on first use, once in each process.

    A client used before `fork` shares its sockets with the child, which can then read
    another process's answer. So the child makes its own, and the inherited one is kept
    untouched: collecting it might close what the parent still uses.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """Return this process's object."""
        pid = os.getpid()
        try:
            return self._made[pid]
        except KeyError:
            # Two threads may both make one; the first to store it wins. A lock would
            # have to survive fork and gevent's patching.
            return self._made.setdefault(pid, self._make())


@cache
def not_sent(parameter: str, model: str) -> str:
    """Return the warning that a model does not take a parameter; log it once a model.

    Args:
        parameter: Name of the argument, e.g. "temperature".
        model: The model that would refuse it, or answer worse.
    """
    log.warning("%s is not sent to %s, which takes none", parameter, model)
    return f"{parameter} is not sent to {model}, which takes none"


@cache
def installed(module: str) -> bool:
    """Return whether a module could be imported, without importing it."""
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
