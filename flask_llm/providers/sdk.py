"""What the providers on top of an SDK have in common."""

import logging
import sys
from abc import abstractmethod
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar, Self

from .. import classify
from ..config import ProviderSettings
from ..errors import (
    InvalidRequestError,
    ProviderError,
    TransientError,
    UnavailableError,
)
from ..parsers import api_key as checked_key
from ..process import PerProcess
from ..redact import redact
from ..types import LLMResponse, Request
from ..wording import MALFORMED
from .base import LLMProvider, explained

log = logging.getLogger("flask_llm")

# How SDKs fail when an answer has a shape that they did not expect.
_STUMBLES = (ValueError, TypeError, AttributeError, LookupError, StopIteration)


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
            TypeError: An argument has the wrong type.
        """
        request = Request(prompt, temperature, max_tokens)
        if request.fault is not None:
            raise InvalidRequestError(reason=request.fault, provider=self.name)
        try:
            return self._read(self._send(self._client.get(), request))
        except Exception as exc:  # noqa: BLE001  # SDKs raise far outside their own trees
            error = explained(self, exc)
        # Outside the except block: the SDK's exception must not hang on as __context__,
        # since its request holds the key.
        detail = redact(error.detail, [self._api_key])
        error.__traceback__ = None  # would tie it to this very frame, in a cycle
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
            return TransientError(type(exc).__name__, reason=MALFORMED)
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


def temperature_not_sent(model: str) -> str:
    """Return the warning for an answer of a model that takes no temperature."""
    return f"temperature is not sent to {model}, which takes none"


@cache
def log_temperature_not_sent(model: str) -> None:
    """Tell the log, once for each model and process, what the answers' warnings say.

    Only for callers who asked for a temperature: everybody else would wonder why.
    """
    log.warning("%s", temperature_not_sent(model))


@cache
def installed(module: str) -> bool:
    """Return whether a module could be imported, without importing it."""
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
