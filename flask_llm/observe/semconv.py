"""What OpenTelemetry's conventions for generative AI call things.

After github.com/open-telemetry/semantic-conventions-genai as of autumn 2026, where they
are still in development.
"""

from dataclasses import dataclass
from typing import Self

from ..fallback.provider_handle import ChainEntry
from ..links import provider_name, provider_of

# By the name of a provider's class; the last two have no well-known name.
_PROVIDERS = {
    "claude": "anthropic",
    "cohere": "cohere",
    "gemini": "gcp.gemini",
    "genai": "gcp.gemini",
    "openai": "openai",
    "vertex": "gcp.vertex_ai",
    "ollama": "ollama",
    "local": "local",
}

_GOOGLES = ("gemini", "genai", "vertex")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the conventions want to know of a chain entry.

    Attributes:
        provider: `gen_ai.provider.name`; a stranger's is its own name.
        operation: `gen_ai.operation.name`.
        remote: Whether the model is outside of this process.
    """

    provider: str
    operation: str
    remote: bool

    @classmethod
    def of(cls, entry: ChainEntry) -> Self:
        """Return the facts of an entry, which makes its provider if nobody has."""
        classes = type(provider_of(entry)).__mro__
        names = (vars(each).get("name") for each in classes)
        own = next((each for each in names if each in tuple(_PROVIDERS)), "")
        return cls(
            _PROVIDERS.get(own, provider_name(entry)),
            "generate_content" if own in _GOOGLES else "chat",
            remote=own != "local",
        )
