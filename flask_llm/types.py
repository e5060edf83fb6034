"""The words of a conversation with a model: what is asked, and what comes back."""

from dataclasses import dataclass, field
from typing import Any, Self, TypeGuard

from .errors import BY_KIND, ProviderError
from .request import Request, require

__all__ = ["Attempt", "LLMResponse", "Request", "Usage", "counted", "require"]

# More than all of its providers write in a day.
_TOO_MANY = 10**12


def _is_count(told: object) -> TypeGuard[int]:
    """Return whether a number of tokens can be one."""
    return type(told) is int and 0 <= told < _TOO_MANY


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the provider counted for one answer.

    Attributes:
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
        total_tokens: What the provider adds up, hidden thinking included.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, told: object) -> Self | None:
        """Return what somebody says of tokens; None if it makes no sense."""
        try:
            usage = cls(**told)  # type: ignore[arg-type]  # that is what is tried
        except TypeError:  # none, or in a shape of the provider's own
            return None
        counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens)
        return usage if all(_is_count(each) for each in counts) else None


def counted(taken: object, given: object) -> dict[str, int] | None:
    """Return the `usage` of `LLMResponse.metadata`; None unless both are numbers.

    Args:
        taken: Tokens of the prompt.
        given: Tokens of the answer, hidden thinking included.
    """
    if not (_is_count(taken) and _is_count(given)):
        return None
    return {
        "input_tokens": taken,
        "output_tokens": given,
        "total_tokens": taken + given,
    }


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one provider, or the reason why it was skipped.

    Attributes:
        provider: Chain entry, as written in the configuration.
        outcome: "success", or the kind of the error, e.g. "quota".
        latency_s: Seconds that the try took; of a stream until its last text, the time
            included that its reader took.
        error: What went wrong, without the provider's own words.
        status: HTTP status, if there was one.
        retry_after_s: Seconds after which the provider wants to be asked again.
        usage: The tokens of the answer, as in `LLMResponse.metadata`, also where the
            answer was rejected; None if there was none, or they were not counted.
        model: The model that answered, or was to answer; None if that is not known.
        started_s: Seconds from the call's beginning until this.
        skipped: Whether the provider was not asked at all.
        cost_usd: What the tokens cost, in US dollars; None if that is not known, or
            there were none.
        cost_note: Why the cost of an answer is not known.
    """

    provider: str
    outcome: str
    latency_s: float = 0.0
    error: str | None = None
    status: int | None = None
    retry_after_s: float | None = None
    usage: dict[str, int] | None = None
    model: str | None = None
    started_s: float = 0.0
    skipped: bool = False
    cost_usd: float | None = None
    cost_note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; ten times as fast as `dataclasses.asdict`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class LLMResponse:
    """The answer to one call: text, or the reason why there is none.

    Attributes:
        success: Whether `content` holds an answer.
        content: The model's text; empty on failure.
        provider_name: Chain entry that answered, or was asked last.
        error: Why there is no answer; None on success.
        metadata: Plain data, fit for JSON. A response of
            `LLMFactory.generate_content` always has the keys `model`, `usage`
            (`input_tokens`, `output_tokens`, `total_tokens`), `finish_reason`
            ("stop" or "length"), `request_id`, `latency_s` (seconds, waits included),
            `attempts`, `warnings`, `error_kind`, `call_id`, `purpose`, `cost_usd` (US
            dollars) and `cost_note`, which says why the cost is not known; what is not
            known is None. Usage and cost are those of all attempts together.
        parsed: The answer to a call with a `schema`: an object of the pydantic model,
            or what the JSON says.
    """

    success: bool
    content: str
    provider_name: str
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parsed: Any = None

    def __post_init__(self) -> None:
        # The documented default is None, and providers pass it on.
        self.metadata = self.metadata or {}

    @property
    def model(self) -> str | None:
        """The model that answered, as its provider names it."""
        return self.metadata.get("model")

    @property
    def usage(self) -> Usage | None:
        """The tokens counted, or None where the provider tells none."""
        return Usage.of(self.metadata.get("usage"))

    @property
    def usage_told(self) -> dict[str, int] | None:
        """What the metadata say of the tokens, if that is what they should say."""
        return None if self.usage is None else self.metadata["usage"]

    @property
    def cost_usd(self) -> float | None:
        """What the whole call has cost in US dollars; None if that is not known."""
        told = self.metadata.get("cost_usd")
        return told if isinstance(told, float) else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try of this call in order, skipped providers included."""
        return tuple(Attempt(**each) for each in self.metadata.get("attempts", ()))

    def unwrap(self) -> str:
        """Return the text, or raise.

        Returns:
            `content`.

        Raises:
            ProviderError: There is no answer; the subclass tells the `error_kind`.
        """
        if self.success:
            return self.content
        kind = self.metadata.get("error_kind") or ProviderError.kind
        error = BY_KIND.get(kind, ProviderError)
        raise error(self.error or "", reason="", provider=self.provider_name)
