"""One link of the chain: a provider under the name that the configuration gives it."""

from collections.abc import Callable

from . import classify
from .config import ProviderSettings
from .errors import (
    BY_KIND,
    AuthError,
    BadAnswerError,
    ModelNotFoundError,
    ProviderError,
    UnavailableError,
)
from .process import PerProcess
from .providers.base import LLMProvider, explained
from .redact import redact
from .types import LLMResponse, Request

# A provider's own words, cut: some put a whole web page into an error.
_LONGEST_DETAIL = 300


class ChainEntry:
    """A provider of the chain, made on first use, once in each process.

    Args:
        name: The entry as written; its name in status, logs and responses.
        make: Makes the provider.
        settings: What it is configured to be; None for a provider object handed in.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], LLMProvider],
        settings: ProviderSettings | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._provider = PerProcess(make)

    @classmethod
    def of(cls, provider: LLMProvider) -> "ChainEntry":
        """Return the entry for a provider object handed in."""
        return cls(provider.get_provider_name(), lambda: provider)

    @classmethod
    def configured(
        cls, provider_class: type[LLMProvider], settings: ProviderSettings
    ) -> "ChainEntry":
        """Return the entry for a provider class and its settings."""
        return cls(
            settings.entry, lambda: provider_class.from_config(settings), settings
        )

    @property
    def provider(self) -> LLMProvider:
        """The provider itself."""
        return self._provider.get()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that must not appear in any text."""
        return (self.settings.api_key,) if self.settings else ()

    def unavailable(self) -> UnavailableError | None:
        """Return why the provider cannot be asked at all, or None if it can."""
        try:
            if self.provider.is_available():
                return None
            reason, advice = self.provider.unavailable_reason(), ""
        except Exception as exc:  # noqa: BLE001  # a stranger's __init__ may raise anything
            reason, advice = f"cannot be set up: {type(exc).__name__}", ""
        settings = self.settings
        if settings and settings.api_key_name and not settings.api_key:
            reason, advice = "no API key", f"set {settings.api_key_name}"
        return UnavailableError(reason=reason, advice=advice, provider=self.name)

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
            response = self.provider.generate_content(
                request.prompt,
                temperature=request.temperature,
                max_tokens=request.max_tokens,
            )
            fault = _fault(response)
        except Exception as exc:  # noqa: BLE001  # the promise: never raises for a provider
            fault = explained(self.provider, exc)
        if fault is None:
            return response
        raise self._presentable(fault, secrets)

    def _presentable(
        self, error: ProviderError, secrets: tuple[str, ...]
    ) -> ProviderError:
        """Return a copy that may be logged and shown: one line, no key, with advice."""
        return error.copy(
            provider=self.name,
            reason=_line(error.reason, secrets),
            detail=_line(error.detail, secrets),
            advice=error.advice or self._advice(error),
        )

    def _advice(self, error: ProviderError) -> str:
        """Return which configuration key to look at, where one is to blame."""
        if self.settings is None:
            return ""
        if isinstance(error, AuthError) and self.settings.api_key_name:
            return f"check {self.settings.api_key_name}"
        if isinstance(error, ModelNotFoundError) and self.settings.model_key:
            return f"set {self.settings.model_key}"
        return ""


def _fault(response: object) -> ProviderError | None:
    """Return what keeps a provider's response from being an answer, or None."""
    if not isinstance(response, LLMResponse):
        kind = type(response).__name__
        return BadAnswerError(reason=f"returned {kind} instead of an LLMResponse")
    # A stranger's provider may fill the fields with anything.
    content: object = response.content
    metadata: object = response.metadata
    if not isinstance(metadata, dict):
        return BadAnswerError(reason=f"metadata is {type(metadata).__name__}, no dict")
    if not response.success:
        return _returned_error(response)
    if not isinstance(content, str) or not content.strip():
        return BadAnswerError(reason="empty answer")
    return None


def _returned_error(response: LLMResponse) -> ProviderError:
    """Return the error of a failed response, by its kind or else by its text."""
    message = str(response.error or "")
    kind = BY_KIND.get(response.metadata.get("error_kind") or "")
    return kind(message) if kind else classify.from_text(message)


def _line(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text on one line, without keys and of bearable length."""
    line = " ".join(redact(text, secrets).split())
    return line if len(line) <= _LONGEST_DETAIL else line[: _LONGEST_DETAIL - 1] + "…"
