"""What can go wrong, and what follows from it.

::

    LLMError
    ├── ConfigurationError        the app's configuration is wrong; raised at start
    └── ProviderError             a provider did not answer; kind "unknown"
        ├── QuotaError            429, used-up credit        → next provider
        ├── TransientError        timeout, connection, 5xx   → again, then next provider
        ├── AuthError             the key is refused         → next provider, ERROR log
        ├── ModelNotFoundError    unknown or retired model   → next provider
        ├── ContextLengthError    the prompt is too long     → next provider
        ├── InvalidRequestError   any other refusal          → next provider
        ├── ContentBlockedError   refusal, safety block      → stop, unless configured
        ├── BadAnswerError        no usable text             → next provider
        └── UnavailableError      no key, no package         → next provider

Each class answers for itself what the chain does next (`retryable`, `fallbackable`),
so that the chain holds no list of classes. The errors hold copied text and numbers
only, never an SDK's exception, whose request carries the key; they can be pickled.
"""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar, Self


def text_of(value: object) -> str:
    """Return `str(value)`, or the name of its type where `__str__` itself fails."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # it is a stranger's
        return type(value).__name__


class LLMError(Exception):
    """Base of every error of this package."""


class ConfigurationError(LLMError, ValueError):
    """The configuration is wrong.

    Attributes:
        faults: One sentence for each fault, each naming its key.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        return f"Flask-LLM cannot work with this configuration:\n{lines}"


class ProviderError(LLMError):
    """A provider did not answer, and nothing more precise is known.

    Attributes:
        kind: The word for it in `metadata["error_kind"]` and in `Attempt.outcome`.
        retryable: Whether the same provider may be asked again in this call.
        fallbackable: Whether the next provider may be asked.
        severity: Level of the log line that tells of it.
        reason: A few words of ours, safe in any log.
        advice: What the developer can do, e.g. "set LLM_CLAUDE_MODEL".
        detail: The provider's own words.
        provider: Chain entry that failed.
        status: HTTP status, if there was one.
        retry_after: Seconds after which the provider wants to be asked again.
    """

    kind: ClassVar[str] = "unknown"
    retryable: ClassVar[bool] = False
    fallbackable: ClassVar[bool] = True
    severity: ClassVar[int] = logging.WARNING

    # On the class, so that a subclass with an __init__ of its own has them too.
    detail: str = ""
    reason: str = "failed"
    advice: str = ""
    provider: str = ""
    status: int | None = None
    retry_after: float | None = None

    def __init__(
        self,
        detail: object = "",
        *,
        reason: str | None = None,
        advice: str = "",
        provider: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = text_of(detail)
        super().__init__(self.detail)
        if reason is not None:
            self.reason = reason
        self.advice = advice
        self.provider = provider
        self.status = status
        self.retry_after = retry_after

    @property
    def summary(self) -> str:
        """The reason with its advice: "model not found (set LLM_CLAUDE_MODEL)"."""
        return f"{self.reason} ({self.advice})" if self.advice else self.reason

    def __str__(self) -> str:
        return ": ".join(part for part in (self.summary, self.detail) if part)

    def copy(self, **changes: Any) -> Self:
        """Return a fresh error of the same class, with some attributes changed.

        A provider may raise one and the same object in many threads, and its traceback
        holds the provider's variables: what leaves the chain is always a copy.
        """
        twin = type(self).__new__(type(self))  # a subclass may have another __init__
        for name in ("detail", "reason", "advice", "provider", "status", "retry_after"):
            setattr(twin, name, changes.get(name, getattr(self, name)))
        twin.args = (twin.detail,)
        return twin


class QuotaError(ProviderError):
    """A rate limit, a used-up quota or an exhausted credit (429, 402)."""

    kind = "quota"
    reason = "quota exceeded"


class TransientError(ProviderError):
    """A fault that often passes: timeout, lost connection, 5xx, malformed body."""

    kind = "transient"
    retryable = True
    reason = "temporary failure"


class AuthError(ProviderError):
    """The key is missing rights, revoked or malformed (401, 403)."""

    kind = "auth"
    severity = logging.ERROR
    reason = "API key rejected"


class ModelNotFoundError(ProviderError):
    """The model is unknown to the provider, or retired (404)."""

    kind = "model_not_found"
    reason = "model not found"


class ContextLengthError(ProviderError):
    """The prompt does not fit into the model's context."""

    kind = "context_length"
    reason = "prompt too long"


class InvalidRequestError(ProviderError):
    """The provider refuses the request as it is (any other 4xx)."""

    kind = "invalid_request"
    reason = "request rejected"


class ContentBlockedError(ProviderError):
    """The model or a safety filter declined to answer.

    By default another provider is not asked: shopping a refusal around is a decision
    for the developer (`LLM_FALLBACK_ON_BLOCKED`).
    """

    kind = "content_blocked"
    fallbackable = False
    reason = "content blocked"


class BadAnswerError(ProviderError):
    """An answer came, but holds no usable text."""

    kind = "bad_answer"
    reason = "no usable answer"


class UnavailableError(ProviderError):
    """The provider is not set up here: no key, no package, no model file."""

    kind = "unavailable"
    reason = "not available"


BY_KIND: dict[str, type[ProviderError]] = {
    cls.kind: cls for cls in ProviderError.__subclasses__()
}
"""The class of each `kind` that is known."""
