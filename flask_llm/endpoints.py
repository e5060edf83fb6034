"""Endpoints under names of their own: two keys, two regions, another server.

``LLM_PROVIDERS = {"claude-eu": {"provider": "claude", "base_url": …}}`` makes
"claude-eu" a name like any other. What its entry leaves open is looked up under the
name's own keys: `LLM_CLAUDE_EU_MODEL`, `CLAUDE_EU_API_KEY`.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .config.parsers import shown, table
from .config.reader import Reader, default_api_key_name, setting_key
from .providers.registry import PluginError, ProviderClass, Registry, is_name

KEY = "LLM_PROVIDERS"

_OF_MODELS = ("model", "base_url", "timeout")


class Directory(Mapping[str, ProviderClass]):
    """Which provider class a name stands for in one app: its endpoints, then all.

    Args:
        registry: The provider classes that every app knows.
        endpoints: Those of this app's LLM_PROVIDERS, or why one cannot be used.
        faulty: Names of LLM_PROVIDERS with faults that the reader knows; None if it
            could not be read at all.
    """

    def __init__(
        self,
        registry: Registry,
        endpoints: Mapping[str, ProviderClass | PluginError],
        faulty: Collection[str] | None = (),
    ) -> None:
        self._registry = registry
        self._endpoints = endpoints
        self._faulty = faulty

    @classmethod
    def read(cls, reader: Reader, registry: Registry) -> "Directory":
        """Return the names of an app, the endpoints' settings put into the reader.

        Args:
            reader: Where LLM_PROVIDERS is looked up; faults stay with it.
            registry: The provider classes that every app knows.
        """
        if reader.raw(KEY) is None:
            return cls(registry, {})
        written = reader.read(KEY, table("endpoints by name"), None)
        if written is None:
            return cls(registry, {}, None)
        found: dict[str, ProviderClass | PluginError] = {}
        taken = _taken(registry)
        for name, settings in written.items():
            if faults := [*_faults(registry, taken, name, settings)]:
                reader.faults += (f"{KEY} {fault}" for fault in faults)
            else:
                found[name] = _endpoint(reader, registry, name, settings)
            taken.setdefault(default_api_key_name(str(name)), str(name))
        return cls(registry, found, {*map(str, written)} - {*found})

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

    @property
    def endpoints(self) -> Collection[str]:
        """The names of the app's endpoints."""
        return self._endpoints.keys()

    def is_faulty(self, name: str) -> bool:
        """Return whether a name is unknown for a fault that has been told already."""
        return name not in self and (self._faulty is None or name in self._faulty)

    def api_key_names(self, name: str) -> tuple[str, ...]:
        """Return the configuration keys that may hold a provider's API key."""
        names = () if name in self._endpoints else self[name].api_key_names
        return tuple(names) or (default_api_key_name(name),)


def _taken(registry: Registry) -> dict[str, str]:
    """Return which provider each API key belongs to, as far as is known."""
    taken = {default_api_key_name(name): name for name in registry}
    for name, provider_class in registry.own():
        for key in provider_class.api_key_names:
            taken.setdefault(key, name)
    return taken


def _faults(
    registry: Registry, taken: Mapping[str, str], name: object, settings: object
) -> Iterator[str]:
    """Yield why an endpoint cannot be one."""
    if not (isinstance(name, str) and is_name(name)):
        yield f"has the name {shown(name)}: use letters, digits, - _ and . only"
    elif name in registry:
        yield f"has the name {name!r}, which is a provider's already"
    elif other := taken.get(default_api_key_name(name)):
        yield (
            f"has the name {shown(name)}, which has configuration keys of"
            f" {shown(other)}: choose another one"
        )
    if not isinstance(settings, Mapping):
        yield f"must have a dict of settings for {shown(name)}"
        return
    provider = settings.get("provider")
    if not isinstance(provider, str) or provider not in registry:
        known = ", ".join(registry)
        yield (
            f"must name a provider for {shown(name)}, not {shown(provider)}"
            f" (known: {known})"
        )


def _endpoint(
    reader: Reader, registry: Registry, name: str, settings: Mapping[Any, Any]
) -> ProviderClass | PluginError:
    """Return an endpoint's class, its settings put where its own keys are looked up."""
    provider = settings["provider"]
    try:
        provider_class = registry[provider]
        keys = _keys(name, provider_class)
    except PluginError as error:
        return error
    except Exception as exc:  # noqa: BLE001  # a stranger's takes_key() may raise anything
        return PluginError.at_start(provider, exc)
    for setting, value in settings.items():
        if setting in keys:
            reader.put(keys[setting], value, f"{KEY}[{name!r}][{setting!r}]")
        elif setting != "provider":
            reader.faults.append(f"{KEY} {_unknown(name, setting, keys)}")
    if "api_key" in keys:
        addresses = (keys.get("base_url", ""), setting_key(provider, "base_url"))
        if reader.first(addresses)[1] is None:
            _share_key(reader, keys["api_key"], provider, provider_class)
    return provider_class


def _share_key(
    reader: Reader, key: str, provider: str, provider_class: ProviderClass
) -> None:
    """Use the provider's API key where the endpoint has none.

    Only where both have the usual address: no key may go where it does not belong.
    """
    if reader.raw(key) is None:
        names = provider_class.api_key_names or (default_api_key_name(provider),)
        found, value = reader.first(tuple(names))
        reader.put(key, value, f"{key} or {found}" if value is None else found)


def _keys(name: str, provider_class: ProviderClass) -> dict[str, str]:
    """Return the configuration key under which each setting is looked up."""
    of_models = () if provider_class.default_model is None else _OF_MODELS
    settings = ("max_concurrency", *of_models, *provider_class.options)
    keys = {setting: setting_key(name, setting) for setting in settings}
    if provider_class.takes_key():
        keys["api_key"] = default_api_key_name(name)
    return keys


def _unknown(name: str, setting: object, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(str(setting), allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return (
        f"has an unknown setting {shown(setting)} for {shown(name)}{hint}"
        f" (known: provider, {', '.join(sorted(allowed))})"
    )
