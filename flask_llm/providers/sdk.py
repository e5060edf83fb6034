"""What the providers on top of an SDK have in common: their client, and its errors."""

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from . import classify
from ..config.settings import ProviderSettings
from ..errors import ProviderError, TimedOutError, TransientError, UnavailableError
from ..packages import installed
from ..config.parsers import api_key as checked_key
from ..process import PerProcess
from ..config.reader import setting_key
from ..redact import hidden_in, redact
from ..wording import MALFORMED
from .base import NO_KEY, NO_LIST, LLMProvider, explained
from .parameters import Parameters

T = TypeVar("T")

# How SDKs fail when an answer has a shape that they did not expect.
_STUMBLES = (ValueError, TypeError, AttributeError, LookupError, StopIteration)


class SdkProvider(LLMProvider):
    """A provider on top of an SDK: its facts, its client and its errors.

    An SDK's exception never leaves: it is translated into a `ProviderError` that holds
    copied text only. How a model is asked is told by the subclass `ChatProvider`.

    Args:
        api_key: The provider's key.
        model: Model instead of the default one.
        base_url: Address instead of the provider's own.
        timeout: Seconds that one attempt may take.

    Raises:
        ValueError: The key holds what no HTTP header can carry.

    Attributes:
        name: The provider's identifier; an endpoint of LLM_PROVIDERS has its own.
        module: The module whose presence says that the SDK is installed.
        distribution: The SDK's name on PyPI.
        requirement: What to `pip install` for it.
        renames: Other names of parameters, tried if a model refuses the first.
        ended: What to say of an SDK whose support has ended, and how to leave it.
    """

    name: str
    module: ClassVar[str]
    distribution: ClassVar[str] = ""
    requirement: ClassVar[str]
    renames: ClassVar[Mapping[str, str]] = MappingProxyType({})
    ended: ClassVar[str] = ""

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
        self._parameters = Parameters(self.model, self._refused(), self.renames)
        self._labels: Mapping[str, str] = {}
        self._client = PerProcess(self._connect_if_available)

    @classmethod
    def from_config(cls, settings: ProviderSettings) -> "SdkProvider":
        """Make the provider from its settings."""
        provider = cls(
            settings.api_key,
            model=settings.model,
            base_url=settings.base_url,
            timeout=settings.timeout,
            **settings.options,
        )
        provider.name = settings.name
        provider._labels = settings.labels
        return provider

    def list_models(self) -> list[str]:
        """Return the models that the provider offers for this key.

        Asks the provider's own list, which takes at most `timeout` seconds and costs
        nothing.

        Raises:
            ProviderError: There is no list; the subclass says why.
        """
        return sorted(self._ask(self._list))

    def _ask(
        self,
        ask: Callable[[Any], T],
        sent: Mapping[str, Any] = MappingProxyType({}),
    ) -> T:
        """Return what a function gets out of the client, or raise our own error.

        Args:
            ask: Calls the SDK.
            sent: The optional parameters that the request carries.
        """
        try:
            return ask(self._connected())
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their trees
            error = self._failure(exc, sent)
        # Outside the except block: the SDK's exception must not hang on as __context__,
        # since its request holds the key.
        raise error

    def _connected(self) -> Any:
        """Return the SDK's client, or raise our own error."""
        try:
            return self._client.get()
        except Exception as exc:  # noqa: BLE001  # an SDK's constructor may raise anything
            error = _unconnected(exc)
        raise error

    def _failure(self, exc: Exception, sent: Mapping[str, Any]) -> ProviderError:
        """Return our own error for an SDK's, to be raised outside its except block.

        Args:
            exc: What the SDK raised.
            sent: The optional parameters that the request carried.
        """
        error = self._parameters.learn(sent, explained(self, exc), exc)
        detail = redact(error.detail, self._secrets())
        error.__traceback__ = None  # would tie it to the SDK's frames, in a cycle
        return error.copy(provider=self.name, detail=detail)

    def warm_up(self, *, full: bool) -> None:
        """Import the SDK, which takes about a second, and connect.

        Args:
            full: Whether to make this process's client too.
        """
        self._import()
        if full:
            self._client.get()

    def get_provider_name(self) -> str:
        """Return the provider's identifier."""
        return self.name

    def is_available(self) -> bool:
        """Return whether the SDK is installed and all is set up."""
        return installed(self.module) and not self._lacks()

    def unavailable_reason(self) -> str:
        """Return what is missing: the package, with its pip line, or a setting."""
        if not installed(self.module):
            name = self.distribution or self.module
            return f"{name} is not installed: pip install {self.requirement}"
        return self._lacks()

    def setting(self, name: str) -> str:
        """Return where one of its settings is written, or can be, for an advice."""
        return self._labels.get(name) or setting_key(self.name, name)

    def explain(self, exc: Exception) -> ProviderError:
        """Return the error; an SDK that trips over an answer means a malformed one."""
        error = classify.from_exception(exc)
        if type(error) is ProviderError and isinstance(exc, _STUMBLES):
            return TransientError(type(exc).__name__, reason=MALFORMED)
        return error

    def _connect_if_available(self) -> Any:
        """Connect, unless there is no key: some SDKs would look for one elsewhere."""
        if not self.is_available():
            raise UnavailableError(reason=self.unavailable_reason())
        return self._connect()

    def _secrets(self) -> list[str]:
        """Return what must be in no text: the key, and what an address may hold."""
        return [self._api_key, *hidden_in(self.base_url)]

    def _lacks(self) -> str:
        """Return what is not set up, without which it cannot be asked; or ""."""
        return NO_KEY if self._needs_key() and not self._api_key else ""

    def _needs_key(self) -> bool:
        """Return whether it cannot be asked without a key, set up as it is."""
        return self.needs_key

    def _import(self) -> Any:
        """Import the SDK and return its module."""
        return import_module(self.module)

    @abstractmethod
    def _connect(self) -> Any:
        """Return the SDK's client, its own retries switched off. Opens nothing yet."""

    def _refused(self) -> Collection[str]:
        """Return the optional parameters that the model is known not to take."""
        return ()

    def _in_time(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items of a list that comes in pages, for at most `timeout` seconds.

        Raises:
            TimedOutError: It goes on for longer.
        """
        stop = time.monotonic() + self.timeout
        for each in items:
            if time.monotonic() > stop:
                raise TimedOutError("the list has too many pages")
            yield each

    def _list(self, client: Any) -> list[str]:  # noqa: ARG002  # a subclass's
        """Return the models that the provider offers, by the names it takes."""
        raise UnavailableError(reason=NO_LIST)


def _unconnected(exc: Exception) -> ProviderError:
    """Return the error for a client that could not even be made."""
    if isinstance(exc, ProviderError):
        return exc
    return UnavailableError(exc, reason=f"cannot be set up ({type(exc).__name__})")
