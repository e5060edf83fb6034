"""Which models the providers of an app offer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .fallback.provider_handle import ChainEntry
from .errors import ProviderError
from .factory import LLMFactory
from .links import model_of, provider_name

@dataclass(frozen=True, slots=True)
class Offer:
    """What one provider offers for the app's key.

    Attributes:
        provider: Its name in the configuration.
        configured: The models that the app asks it for.
        models: All that it offers.
        error: Why it tells none; holds no key.
    """

    provider: str
    configured: list[str]
    models: list[str]
    error: str | None = None

    def is_configured(self, model: str) -> bool:
        """Return whether the app asks for this model, perhaps by another name."""
        return any(_is(model, each) for each in self.configured)

    @property
    def not_offered(self) -> list[str]:
        """The models that the app asks for and the provider does not list."""
        return [
            each
            for each in self.configured
            if not any(_is(model, each) for model in self.models)
        ]


def offers(
    factory: LLMFactory, config: Mapping[str, Any], name: str | None = None
) -> list[Offer]:
    """Ask the providers of the chain, or one of any name, which models they offer.

    Args:
        factory: The app's factory.
        config: The app's configuration.
        name: A provider or an endpoint, in the chain or not; None for all of the chain.

    Raises:
        ConfigurationError: There is no provider of that name.
    """
    by_name: dict[str, list[ChainEntry]] = {}
    for entry in factory.entries:
        by_name.setdefault(provider_name(entry), []).append(entry)
    if name is not None:
        others = by_name.get(name) or LLMFactory(name, [], config=config).entries
        by_name = {name: list(others)}
    return [_offer(each, entries) for each, entries in by_name.items()]


def _is(model: str, configured: str) -> bool:
    """Return whether a model of a list is the configured one, by whatever name."""
    names = {model, f"models/{model}", model.removesuffix(":latest")}
    return configured in names or PurePath(configured).name == f"{model}.gguf"


def _offer(name: str, entries: Sequence[ChainEntry]) -> Offer:
    """Ask the first of some links that differ in their models only."""
    configured = [model for entry in entries if (model := model_of(entry))]
    try:
        return Offer(name, configured, entries[0].list_models())
    except ProviderError as error:
        return Offer(name, configured, [], str(error))
