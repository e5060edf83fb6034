"""Makes the providers of the chain out of the configuration."""

import logging
from collections.abc import Callable, Collection
from functools import partial
from itertools import chain, count
from typing import Any

from ..config.parsers import (
    api_key,
    one_provider,
    providers,
    seconds,
    tags,
    text,
    unless_none,
    url,
    weight,
    whole,
)
from ..config.reader import Reader, setting_key, unknown
from ..config.settings import LLMConfig, ProviderSettings
from ..providers.base import BrokenProvider, LLMProvider
from ..providers.registry import KEY, PluginError, Registry
from ..resilience.limits import rate
from .provider_handle import ProviderHandle

log = logging.getLogger("flask_llm")

Written = tuple[str, Any]
"""One of the chain, with the key or argument in which it is written before it."""


_NO_TAGS: frozenset[str] = frozenset()


class ChainBuilder:
    """Makes the providers of one app; what is wrong stays with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        registry: Which class a name stands for.
    """

    def __init__(self, reader: Reader, config: LLMConfig, registry: Registry) -> None:
        self._reader = reader
        self._config = config
        self._registry = registry

    def written(self, primary: object, fallbacks: object) -> list[Written]:
        """Return the chain as written: an argument where there is one, or the setting.

        Args:
            primary: The argument for the first provider, or None.
            fallbacks: The argument for the providers after it, or None.
        """
        reader = self._reader
        head, first = "LLM_PRIMARY_PROVIDER", self._config.primary
        if primary is not None:
            head = "primary_provider"
            first = reader.parsed(head, one_provider, primary, first)
            reader.note("LLM_PRIMARY_PROVIDER", first, head)
        tail, others = "LLM_FALLBACK_PROVIDERS", self._config.fallbacks
        if fallbacks is not None:
            tail = "fallback_providers"
            others = reader.parsed(tail, providers, fallbacks, others)
            reader.note("LLM_FALLBACK_PROVIDERS", others, tail)
        return [(head, first), *((tail, each) for each in others)]

    def chain(self, written: Collection[Written]) -> list[ProviderHandle]:
        """Return the chain of the app, each provider once.

        Args:
            written: The providers in order.
        """
        found: dict[object, ProviderHandle] = {}
        taken = {each for _, each in written if isinstance(each, str)}
        for label, each in written:
            # By identity: a provider object need not be hashable.
            key = each if isinstance(each, str) else id(each)
            if key in found:
                continue
            if isinstance(each, LLMProvider):
                name = _free_name(each, taken)
                taken.add(name)
                found[key] = ProviderHandle.of(each, name)
            elif handle := self._named(label, each):
                found[key] = handle
        return list(found.values())

    def spare(self, written: Collection[Written]) -> list[ProviderHandle]:
        """Return the endpoints outside of the chain.

        Args:
            written: The providers of the chain.
        """
        in_chain = {
            each.partition(":")[0] for _, each in written if isinstance(each, str)
        }
        spare = [each for each in self._registry.endpoints if each not in in_chain]
        return [self._configured(KEY, name) for name in spare]

    def _named(self, label: str, written: Any) -> ProviderHandle | None:
        """Return the provider that a name stands for, or None if it is a fault."""
        if not isinstance(written, str):
            kind = type(written).__name__
            self._reader.faults.append(f"{label} must be a provider's name, not {kind}")
            return None
        name = written.partition(":")[0]
        if name in self._registry:
            return self._configured(label, written)
        if not self._registry.is_faulty(name):
            self._reader.faults.append(f"{label} {unknown(name, self._registry)}")
        return None

    def _configured(self, label: str, written: str) -> ProviderHandle:
        """Return the provider that a known name stands for."""
        name = written.partition(":")[0]
        try:
            provider_class = self._registry[name]
            settings = self._settings(label, written, provider_class)
        except PluginError as error:
            broken = error
        except Exception as exc:  # noqa: BLE001  # a third party's class may raise anything
            provider = self._registry.endpoints.get(name, name)
            broken = PluginError.at_start(provider, exc)
        else:
            return ProviderHandle.configured(provider_class, settings)
        log.error("%s", broken)
        return ProviderHandle.of(BrokenProvider(written, str(broken)))

    def _settings(
        self, label: str, written: str, provider_class: type[LLMProvider]
    ) -> ProviderSettings:
        """Read everything that concerns one provider of the chain."""
        reader = self._reader
        name, colon, model = written.partition(":")
        key_of = partial(setting_key, name)
        key_name, key = self._api_key(name, provider_class)
        limit, most = unless_none(whole(1)), provider_class.max_concurrency
        settings: dict[str, Any] = {
            "max_concurrency": reader.read(key_of("max_concurrency"), limit, most),
            **self._limits(key_of),
            "options": self._options(key_of, provider_class),
            "labels": reader.labels(name, ("base_url", *provider_class.options)),
        }
        if provider_class.default_model is not None:
            settings |= self._of_models(key_of, label, model, provider_class)
        elif colon:
            fault = f"{label} asks for {written!r}, but {name} takes no model"
            reader.faults.append(fault)
        return ProviderSettings(name, written, key, key_name, **settings)

    def _limits(self, key_of: Callable[[str], str]) -> dict[str, Any]:
        """Return how much an account may be asked for, and for what."""
        read = self._reader.read
        return {
            "rate": read(key_of("rate"), unless_none(rate), None),
            "token_rate": read(key_of("token_rate"), unless_none(rate), None),
            "limit_group": read(key_of("limit_group"), text, ""),
            "tags": read(key_of("tags"), tags, _NO_TAGS),
            "weight": read(key_of("weight"), weight, 1.0),
        }

    def _of_models(
        self,
        key_of: Callable[[str], str],
        label: str,
        model: str,
        provider_class: type[LLMProvider],
    ) -> dict[str, Any]:
        """Return the settings of a provider with a choice of models."""
        reader = self._reader
        timeout = provider_class.default_timeout or self._config.timeout
        configured = reader.read(key_of("model"), text, None)
        if configured is None:
            reader.note(key_of("model"), provider_class.default_model)
        return {
            "model": model or configured,
            "model_key": label if model else reader.label(key_of("model")),
            "base_url": reader.read(key_of("base_url"), url, None),
            "base_url_key": reader.label(key_of("base_url")),
            "max_answer_bytes": self._config.max_answer_bytes,
            "timeout": reader.read(
                key_of("timeout"), seconds(above_zero=True), timeout
            ),
        }

    def _api_key(self, name: str, provider_class: type[LLMProvider]) -> tuple[str, str]:
        """Return where the API key is written, or can be, and the key or ""."""
        if not provider_class.takes_key():
            return "", ""
        found, value = self._reader.first(self._registry.api_key_names(name))
        key = "" if value is None else self._reader.parsed(found, api_key, value, "")
        self._reader.note(found, key)
        return self._reader.label(found), key

    def _options(
        self, key_of: Callable[[str], str], provider_class: type[LLMProvider]
    ) -> dict[str, object]:
        """Return the provider's own settings that are set, by argument name."""
        found: dict[str, object] = {}
        for option, parse in provider_class.options.items():
            others = filter(None, [provider_class.other_keys.get(option)])
            key, value = self._reader.first((key_of(option), *others))
            if value is not None:
                found[option] = self._reader.parsed(key, parse, value, None)
            self._reader.note(key, found.get(option))
        return {option: value for option, value in found.items() if value is not None}


def _free_name(provider: LLMProvider, taken: Collection[str]) -> str:
    """Return a provider object's name, numbered if another has it already."""
    name = str(provider.get_provider_name())
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)
