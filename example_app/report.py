"""How an answer came about, in words for people."""

from dataclasses import dataclass

from flask_llm import LLMResponse

TINY_MODEL = (
    "Answered by the tiny model that comes with this demo: a real one, but small enough"
    " to be wrong often. With an API key in .env, a large model answers instead."
)

TINY = "SmolLM2-135M"
"""What its name begins with."""


@dataclass(frozen=True, slots=True)
class Report:
    """Who answered, and what it took.

    Attributes:
        success: Whether there is an answer.
        error: Why there is none.
        provider: The chain entry that answered.
        model: The model that answered, if known.
        tokens: Tokens of prompt and answer, if counted.
        seconds: How long it took, waits included.
        attempts: What each provider said before the answer, one line each.
        warnings: What the provider could not do as asked.
        cut: Whether the answer ends because it may not be longer.
        incomplete: Whether a provider lacks something here, such as its key.
        note: What to know about the model; empty for an ordinary one.
    """

    success: bool
    error: str
    provider: str
    model: str
    tokens: str
    seconds: str
    attempts: tuple[str, ...]
    warnings: tuple[str, ...]
    cut: bool
    incomplete: bool
    note: str

    @classmethod
    def of(cls, response: LLMResponse) -> "Report":
        """Describe a response."""
        failed = [each for each in response.attempts if each.outcome != "success"]
        return cls(
            success=response.success,
            error=response.error or "",
            provider=response.provider_name,
            model=response.model or "",
            tokens=_tokens(response),
            seconds=f"{response.metadata.get('latency_s', 0.0):.2f} s",
            attempts=tuple(f"{each.provider}: {each.error}" for each in failed),
            warnings=tuple(response.metadata.get("warnings", ())),
            cut=response.metadata.get("finish_reason") == "length",
            incomplete=any(each.outcome == "unavailable" for each in failed),
            note=TINY_MODEL if _is_tiny(response) else "",
        )

    @property
    def facts(self) -> str:
        """Model, tokens and seconds, as far as they are known."""
        return " · ".join(
            each for each in (self.model, self.tokens, self.seconds) if each
        )


def _tokens(response: LLMResponse) -> str:
    usage = response.usage
    return f"{usage.input_tokens} + {usage.output_tokens} tokens" if usage else ""


def _is_tiny(response: LLMResponse) -> bool:
    provider = response.provider_name.partition(":")[0]
    return provider == "local" and (response.model or "").startswith(TINY)
