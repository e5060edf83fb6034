"""What the commands want to know of a link of the chain; nobody is asked for it."""

from .fallback.provider_handle import ChainEntry
from .providers.base import LLMProvider

def provider_name(entry: ChainEntry) -> str:
    """Return the provider's name, without the model of the chain entry."""
    return entry.settings.name if entry.settings else entry.name


def provider_of(entry: ChainEntry) -> LLMProvider | None:
    """Return the provider; None if it cannot be made, which `unavailable` explains."""
    try:
        return entry.provider
    except Exception:  # noqa: BLE001  # a stranger's __init__ may raise anything
        return None


def model_of(entry: ChainEntry) -> str:
    """Return the model that is asked; empty if it has none, or does not tell."""
    model: object = getattr(provider_of(entry), "model", None)
    return model if isinstance(model, str) else ""
