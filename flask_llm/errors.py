"""Everything that can go wrong with a provider, and what follows from it.

::

    LLMError
    ├── ConfigurationError        the app's configuration is wrong; raised at start
    ├── StreamInterrupted         a stream broke off after some text; for the caller
    └── ProviderError             a provider did not answer; kind "unknown"
        ├── QuotaError            429                        → next provider
        │   ├── OwnLimitError     LLM_<PROVIDER>_RATE        → not asked
        │   └── UsedUpError       a day's quota, the credit  → long cooldown, ERROR log
        ├── TransientError        connection, 5xx            → again, then next provider
        │   ├── TimedOutError     no answer in time          → the same, if patient
        │   └── UnreachableError  no connection at all       → the same
        ├── AuthError             the key is refused         → next provider, ERROR log
        ├── ModelNotFoundError    unknown or retired model   → next provider
        ├── ContextLengthError    the prompt is too long     → next provider
        ├── InvalidRequestError   any other refusal          → next provider
        │   └── ParameterError    a parameter is not taken   → at once without it
        ├── ContentBlockedError   refusal, safety block      → stop, unless configured
        ├── BadAnswerError        no usable text             → next provider
        │   └── SchemaError       not the JSON asked for     → once more, told why
        ├── BusyError             too many calls at once     → next provider
        ├── DeadlineError         the call's time is up      → stop
        ├── ClosedError           the caller went away       → stop, no error
        ├── CoolingDownError      circuit open               → not asked
        └── UnavailableError      no key, no package         → not asked

Each class answers for itself what follows (`retryable`, `fallbackable`, `cooldown`, …),
so that the chain holds no list of classes. The errors hold copied text and numbers
only, never an SDK's exception, whose request carries the key; they can be pickled.
"""

import base64
import json
import logging
import re
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar, Self
from urllib.parse import quote, quote_plus, unquote, urlsplit


def encodable(text: str) -> str:
    """Return a text with U+FFFD for each half of a character, and no pair of halves.

    JSON can tell a character in two halves (surrogates), and be cut between them. A
    text with one of them cannot be encoded, so no view could return it.

    Args:
        text: The text of a model.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        halves = text.encode("utf-16-le", "surrogatepass")
        return halves.decode("utf-16-le", "replace")
    return text


def text_of(value: object) -> str:
    """Return `str(value)`, or the name of its type where `__str__` itself fails."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # it is a third party's
        return type(value).__name__


# Control characters, but for tab and line feed; and what turns the direction of text.
_STEERING = dict.fromkeys(
    [
        *(each for each in range(0x20) if each not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    ]
)


def harmless(text: str) -> str:
    """Return a text without what would steer a terminal, or turn its direction.

    Args:
        text: The text of a provider or a model.
    """
    return text.translate(_STEERING)


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
        at_once: Whether the request has been changed, so that no wait is needed.
        silent: Whether the provider gave no answer in time.
        trips: Whether repeated failures of this kind open the provider's circuit.
        cooldown: Seconds that the circuit is open after a single one.
        alive: Whether it shows that the provider works, though not for this request.
        of_model: Whether it is the model's word, the same under any key and address.
        asked: Whether the provider was asked at all.
        meaning: What a long cooldown means for the developer.
        remedy: What the developer can do where there is no `advice`.
        severity: Level of the log line that tells of it.
        reason: A few words of ours, safe in any log.
        advice: What the developer can do, e.g. "set LLM_CLAUDE_MODEL".
        detail: The provider's own words.
        provider: Name of the provider that failed.
        status: HTTP status, if there was one.
        retry_after: Seconds after which the provider wants to be asked again.
        usage: Tokens of an answer that came and was no good, as in the metadata.
    """

    kind: ClassVar[str] = "unknown"
    retryable: ClassVar[bool] = False
    fallbackable: ClassVar[bool] = True
    at_once: ClassVar[bool] = False
    silent: ClassVar[bool] = False
    trips: ClassVar[bool] = False
    cooldown: ClassVar[float] = 0.0
    alive: ClassVar[bool] = False
    of_model: ClassVar[bool] = False
    asked: ClassVar[bool] = True
    meaning: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    severity: ClassVar[int] = logging.WARNING

    # On the class, so that a subclass with an __init__ of its own has them too.
    detail: str = ""
    reason: str = "failed"
    advice: str = ""
    provider: str = ""
    status: int | None = None
    retry_after: float | None = None
    usage: dict[str, int] | None = None

    _copied: ClassVar[tuple[str, ...]] = (
        *("detail", "reason", "advice", "provider", "status", "retry_after", "usage"),
    )

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
        for name in self._copied:
            setattr(twin, name, changes.get(name, getattr(self, name)))
        twin.args = (twin.detail,)
        return twin


class QuotaError(ProviderError):
    """A rate limit, a used-up quota or an exhausted credit (429, 402)."""

    kind = "quota"
    trips = True
    remedy = "if this happens often, raise the provider's limit"
    reason = "quota exceeded"


class OwnLimitError(QuotaError):
    """The app's own limit (`LLM_<PROVIDER>_RATE`) leaves no room: nobody was asked."""

    asked = False
    trips = False
    remedy = ""
    reason = "our own limit"
    severity = logging.INFO


class UsedUpError(QuotaError):
    """A quota that minutes do not bring back: a day's, the credit, a spend limit."""

    cooldown = 3600.0
    meaning = "a day's quota or the credit is used up"
    remedy = "raise the limit or add credit at the provider"


class TransientError(ProviderError):
    """A fault that often passes: lost connection, 5xx, malformed body."""

    kind = "transient"
    retryable = True
    trips = True
    remedy = "just wait, it is tried again by itself"
    reason = "temporary failure"


class TimedOutError(TransientError):
    """The provider said nothing, or not enough, in the time that it had."""

    silent = True
    remedy = "if this happens often, raise its timeout"
    reason = "timeout"


class UnreachableError(TransientError):
    """There was no connection: nobody listens, or there is no such host."""

    remedy = "see whether this machine reaches the provider"
    reason = "connection error"


class AuthError(ProviderError):
    """The key is missing rights, revoked or malformed (401, 403)."""

    kind = "auth"
    cooldown = 300.0
    severity = logging.ERROR
    remedy = "check its API key"
    reason = "API key rejected"


class AccessDeniedError(AuthError):
    """The provider does not let this request in, and does not say why (403).

    It may be the key, but the prompt, the place or a firewall as well: nobody else's
    calls suffer for a single one.
    """

    cooldown = 0.0
    trips = True
    severity = logging.WARNING
    remedy = "see whether its API key may do this, or its rules forbid the prompt"
    reason = "access denied"


class ModelNotFoundError(ProviderError):
    """The model is unknown to the provider, or retired (404)."""

    kind = "model_not_found"
    cooldown = 300.0
    remedy = "choose another model"
    reason = "model not found"


class ContextLengthError(ProviderError):
    """The prompt does not fit into the model's context."""

    kind = "context_length"
    alive = True
    of_model = True
    reason = "prompt too long"


class InvalidRequestError(ProviderError):
    """The provider refuses the request as it is (any other 4xx)."""

    kind = "invalid_request"
    alive = True
    reason = "request rejected"


class ParameterError(InvalidRequestError):
    """The model does not take a parameter; the provider leaves it out from now on."""

    retryable = True
    at_once = True


class ContentBlockedError(ProviderError):
    """The model or a safety filter declined to answer.

    By default another provider is not asked: shopping a refusal around is a decision
    for the developer (`LLM_FALLBACK_ON_BLOCKED`).
    """

    kind = "content_blocked"
    alive = True
    of_model = True
    fallbackable = False
    reason = "content blocked"


class BadAnswerError(ProviderError):
    """An answer came, but holds no usable text."""

    kind = "bad_answer"
    alive = True
    reason = "no usable answer"


class SchemaError(BadAnswerError):
    """An answer came, but is not the JSON that was asked for.

    Attributes:
        answer: The text.
        correctable: Whether the model may get it right if it is told what is wrong;
            not if the answer is cut.
    """

    reason = "answer does not match the schema"
    answer: str = ""
    correctable: bool = False

    _copied = (*ProviderError._copied, "answer", "correctable")  # noqa: SLF001  # its base

    def __init__(
        self,
        detail: object = "",
        *,
        answer: str = "",
        correctable: bool = False,
        **rest: Any,
    ) -> None:
        super().__init__(detail, **rest)
        self.answer = answer
        self.correctable = correctable


class BusyError(ProviderError):
    """As many calls as allowed are under way (`LLM_<PROVIDER>_MAX_CONCURRENCY`)."""

    kind = "busy"
    asked = False
    reason = "busy"


class DeadlineError(ProviderError):
    """The time for the whole call is up (`LLM_DEADLINE`)."""

    kind = "deadline"
    fallbackable = False
    asked = False
    reason = "deadline passed"


class ClosedError(ProviderError):
    """The caller closed a stream before its end; a failure of nobody."""

    kind = "closed"
    fallbackable = False
    severity = logging.INFO
    reason = "closed by the caller"


class CoolingDownError(ProviderError):
    """The circuit is open: the provider said until when, or failed repeatedly."""

    kind = "cooldown"
    asked = False
    reason = "cooling down"


class UnavailableError(ProviderError):
    """The provider is not set up here: no key, no package, no model file."""

    kind = "unavailable"
    asked = False
    reason = "not available"


class StreamInterrupted(LLMError):  # noqa: N818  # it says what has happened
    """A stream broke off after some of its text had been handed out.

    Attributes:
        text: What had come until then; no complete answer.
        error: Why it broke off.
        attempts: Every try of this call in order, as in `LLMResponse.attempts`.
    """

    def __init__(
        self, text: str, error: ProviderError, attempts: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(f"{error.provider} broke off its answer: {error}")
        self.text = text
        self.error = error
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.error, self.attempts)


BY_KIND: dict[str, type[ProviderError]] = {
    cls.kind: cls for cls in ProviderError.__subclasses__()
}
"""The class of each `kind` that is known."""


MARK = "[redacted]"

# A shorter "key" is a test's stand-in: replacing every "k" would only garble the text.
_SHORTEST = 6


# What begins the keys of several providers, and tells nothing of one.
_PUBLIC = re.compile(
    r"(?:[a-z]{2,6}[-_])*(?:ant-)?(?:api\d\d-|proj-|svcacct-)?|AIza", re.I
)

_PART = 12  # characters of a key that are as good as the whole


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every one of `secrets` replaced by "[redacted]".

    Also where one is percent-encoded, escaped, in base64 or in other case, or is cut
    behind its first characters.

    Args:
        text: Anything that may reach a log, a response or a page.
        secrets: Keys known to the app; those under six characters are left alone.
    """
    # Longest first: one key may begin with another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MARK)
            if text:
                text = _without_forms(text, secret)
    return text


def _without_forms(text: str, secret: str) -> str:
    """Return a text without a secret that stands there in another form."""
    for form in _forms(secret):
        if form in text:
            text = text.replace(form, MARK)
    if len(secret) < _PART or not re.search(r"\d", secret):
        return text  # a word, which may stand anywhere in another case
    folded, lower = secret.lower(), text.lower()
    if len(folded) == len(secret) and len(lower) == len(text) and folded in lower:
        text = _cut_out(text, lower, folded)
    return _without_part(text, secret)


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as addresses, JSON and headers may write it."""
    data = secret.encode("utf-8", "replace")
    # Whatever stands before it moves the groups of base64: its middle is the same.
    packed = [base64.b64encode(b"\0" * shift + data).decode() for shift in range(3)]
    cores = [
        each[4 if at else 0 : len(each) // 4 * 4 - 4] for at, each in enumerate(packed)
    ]
    urlsafe = [each.translate({43: "-", 47: "_"}) for each in cores]
    escaped = json.dumps(secret)[1:-1]
    written = (
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        escaped,
        escaped.replace("/", "\\/"),
    )
    found = {*written, secret.encode("unicode_escape").decode(), *cores, *urlsafe}
    return tuple(each for each in found - {secret} if len(each) >= _SHORTEST)


def _cut_out(text: str, lower: str, folded: str) -> str:
    parts, at = [], 0
    while (found := lower.find(folded, at)) >= 0:
        parts += [text[at:found], MARK]
        at = found + len(folded)
    return "".join([*parts, text[at:]])


def _without_part(text: str, secret: str) -> str:
    """Return a text without the beginning of a secret that was cut."""
    public = _PUBLIC.match(secret)
    begun = (public.end() if public else 0) + _PART
    if begun >= len(secret) or secret[:begun] not in text:
        return text
    for end in range(len(secret) - 1, begun - 1, -1):
        text = text.replace(secret[:end], MARK)
    return text


def hidden_in(url: str | None) -> list[str]:
    """Return what may be secret in an address: a user, a password, a path, a query."""
    parts = urlsplit(url or "")
    hidden = [parts.username, parts.password, parts.query]
    hidden += [unquote(parts.username or ""), unquote(parts.password or "")]
    # A part of a path is one if it looks like a token; "completions" is none.
    hidden += re.findall(r"[^/]{16,}", parts.path)
    return sorted({each for each in hidden if each and len(each) >= _SHORTEST})


_REASONS = {kind: error.reason for kind, error in BY_KIND.items()}
_REASONS[ProviderError.kind] = ProviderError.reason


def reason(kind: str) -> str:
    """Return our words for the kind of an error: "quota exceeded".

    Args:
        kind: One that is known, or any word: a usage log may hold a later version's.
    """
    return _REASONS.get(kind) or kind.replace("_", " ")


_MAX_CAUSES = 5  # an exception may be its own cause


def causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exception and what it was raised from."""
    each: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if each is not None:
            yield each
            each = each.__cause__ or each.__context__


def let_through(exc: BaseException) -> None:
    """Raise what the handler of a signal has raised, if that is what was caught.

    The time limit of a job, in Celery's or RQ's workers, is a plain exception that
    comes out of whatever is under way. It is its caller's, and no failure of a
    provider, a filter or a receiver: whoever catches exceptions of all kinds asks here.

    Args:
        exc: What was caught.

    Raises:
        BaseException: What the handler has raised.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # Python runs the handlers of signals nowhere else
    handlers = set(map(_code_of, map(signal.getsignal, signal.valid_signals())))
    for each in causes(exc):
        frames = (frame for frame, _ in traceback.walk_tb(each.__traceback__))
        if any(frame.f_code in handlers for frame in frames):
            raise each


def _code_of(handler: object) -> object:
    """Return the code of a signal's handler, a function or a method; else itself."""
    return getattr(getattr(handler, "__func__", handler), "__code__", handler)
