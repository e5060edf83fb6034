"""Endpoints under names of their own: two keys, two regions, another server.

``LLM_PROVIDERS = {"claude-eu": {"provider": "claude", "base_url": …}}`` makes
"claude-eu" a name like any other. What its entry leaves open is looked up under the
name's own keys: `LLM_CLAUDE_EU_MODEL`, `CLAUDE_EU_API_KEY`.
"""

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from .parsers import shown
from .providers.base import LLMProvider
from .reader import Reader, default_api_key_name, setting_key
from .registry import PluginError, is_name

KEY = "LLM_PROVIDERS"

_OF_MODELS = ("model", "base_url", "timeout")

ProviderClass = type[LLMProvider]
Classes = Mapping[str, ProviderClass]


class Directory(Classes):
    """Which provider class a name stands for in one app: its endpoints, then all.

    Args:
        registry: The provider classes that every app knows.
        endpoints: Those of this app's LLM_PROVIDERS, or why one cannot be used.
    """

    def __init__(
        self, registry: Classes, endpoints: Mapping[str, ProviderClass | PluginError]
    ) -> None:
        self._registry = registry
        self._endpoints = endpoints

    @classmethod
    def read(cls, reader: Reader, registry: Classes) -> "Directory":
        """Return the names of an app, the endpoints' settings put into the reader.

        Args:
            reader: Where LLM_PROVIDERS is looked up; faults stay with it.
            registry: The provider classes that every app knows.
        """
        found: dict[str, ProviderClass | PluginError] = {}
        written: dict[str, Mapping[str, Any]] = {}
        for name, settings in reader.read(KEY, _objects, written).items():
            try:
                found[name] = _endpoint(reader, registry, name, settings)
            except ValueError as fault:
                reader.faults.append(f"{KEY} {fault}")
            except PluginError as error:
                found[name] = error
        return cls(registry, found)

    def __getitem__(self, name: str) -> ProviderClass:
        found = self._endpoints.get(name) or self._registry[name]
        if isinstance(found, PluginError):
            raise found
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._endpoints or name in self._registry

    def __iter__(self) -> Iterator[str]:
        yield from self._endpoints
        yield from self._registry

    def __len__(self) -> int:
        return len(self._endpoints) + len(self._registry)

    def api_key_names(self, name: str) -> tuple[str, ...]:
        """Return the configuration keys that may hold a provider's API key."""
        names = () if name in self._endpoints else self[name].api_key_names
        return names or (default_api_key_name(name),)


def _objects(value: Any) -> dict[str, Mapping[str, Any]]:
    """Parse a mapping of mappings, or the JSON of one. No fault repeats the value."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as fault:
            where = getattr(fault, "pos", 0)
            raise ValueError(f"is no valid JSON (at character {where})") from None
    if not isinstance(value, Mapping):
        raise ValueError("must be a dict of endpoints by name, or the JSON of one")
    for name, settings in value.items():
        if not isinstance(settings, Mapping):
            raise ValueError(f"must have a dict of settings for {shown(name)}")
    return dict(value)


def _endpoint(
    reader: Reader, registry: Classes, name: Any, settings: Mapping[str, Any]
) -> ProviderClass:
    """Return an endpoint's class, its settings put where its own keys are looked up."""
    if not is_name(name):
        raise ValueError(
            f"has the name {shown(name)}: use letters, digits, - _ and . only"
        )
    if name in registry:
        raise ValueError(f"has the name {name!r}, which is a provider's already")
    provider = settings.get("provider")
    if not isinstance(provider, str) or provider not in registry:
        known = ", ".join(registry)
        raise ValueError(
            f"must name a provider for {name!r}, not {shown(provider)} (known: {known})"
        )
    provider_class = registry[provider]
    keys = _keys(name, provider_class)
    for setting, value in settings.items():
        if setting in keys:
            reader.put(keys[setting], value, f"{KEY}[{name!r}][{setting!r}]")
        elif setting != "provider":
            raise ValueError(_unknown(name, setting, keys))
    if "api_key" in keys and reader.raw(keys.get("base_url", "")) is None:
        _share_key(reader, keys["api_key"], provider, provider_class)
    return provider_class


def _share_key(
    reader: Reader, key: str, provider: str, provider_class: ProviderClass
) -> None:
    """Use the provider's API key where the endpoint has none, nor another address."""
    if reader.raw(key) is None:
        names = provider_class.api_key_names or (default_api_key_name(provider),)
        found, value = reader.first(names)
        if value is not None:
            reader.put(key, value, found)


def _keys(name: str, provider_class: ProviderClass) -> dict[str, str]:
    """Return the configuration key under which each setting is looked up."""
    settings: Iterable[str] = ("max_concurrency",)
    if provider_class.default_model is not None:
        settings = (*settings, *_OF_MODELS, *provider_class.options)
    keys = {setting: setting_key(name, setting) for setting in settings}
    if provider_class.takes_key():
        keys["api_key"] = default_api_key_name(name)
    return keys


def _unknown(name: str, setting: object, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(str(setting), allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return (
        f"has an unknown setting {shown(setting)} for {name!r}{hint}"
        f" (known: provider, {', '.join(sorted(allowed))})"
    )
