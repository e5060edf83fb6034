"""Makes the links of the chain out of the configuration."""

import logging
from collections.abc import Collection
from dataclasses import replace
from itertools import chain, count
from typing import Any

from ..config.parsers import (
    api_key,
    names,
    one_entry,
    seconds,
    text,
    unless_none,
    url,
    whole,
)
from ..config.reader import Reader, setting_key, unknown
from ..config.settings import LLMConfig, ProviderSettings
from ..providers.base import BrokenProvider, LLMProvider
from ..providers.registry import KEY, PluginError, Registry
from .provider_handle import ProviderHandle

log = logging.getLogger("flask_llm")

Written = tuple[str, Any]
"""A chain entry, with the key or argument in which it is written before it."""


def written_chain(
    reader: Reader, config: LLMConfig, primary: object, fallbacks: object
) -> list[Written]:
    """Return the chain as written: an argument where there is one, else the setting.

    Args:
        reader: Where faults of the arguments stay.
        config: The app's general settings.
        primary: The argument for the first entry, or None.
        fallbacks: The argument for the entries after it, or None.
    """
    head, first = "LLM_PRIMARY_PROVIDER", config.primary
    if primary is not None:
        head = "primary_provider"
        first = reader.parsed(head, one_entry, primary, first)
        reader.note("LLM_PRIMARY_PROVIDER", first, head)
    tail, rest = "LLM_FALLBACK_PROVIDERS", config.fallbacks
    if fallbacks is not None:
        tail = "fallback_providers"
        rest = reader.parsed(tail, names, fallbacks, rest)
        reader.note("LLM_FALLBACK_PROVIDERS", rest, tail)
    return [(head, first), *((tail, each) for each in rest)]


def chain_entries(
    reader: Reader,
    config: LLMConfig,
    registry: Registry,
    written: Collection[Written],
) -> list[ProviderHandle]:
    """Return the chain of an app, each entry once; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        registry: Which class a name stands for.
        written: The entries in order.
    """
    entries: dict[object, ProviderHandle] = {}
    taken = {each for _, each in written if isinstance(each, str)}
    for source, each in written:
        # By identity: a provider object need not be hashable.
        key = each if isinstance(each, str) else id(each)
        if key in entries:
            continue
        if isinstance(each, LLMProvider):
            name = _free_name(each, taken)
            taken.add(name)
            entries[key] = ProviderHandle.of(each, name)
        elif entry := _named(reader, config, registry, source, each):
            entries[key] = entry
    return list(entries.values())


def spare_entries(
    reader: Reader,
    config: LLMConfig,
    registry: Registry,
    written: Collection[Written],
) -> list[ProviderHandle]:
    """Return the endpoints outside of the chain; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        registry: Which class a name stands for.
        written: The entries of the chain.
    """
    names = [each for _, each in written if isinstance(each, str)]
    in_chain = {each.partition(":")[0] for each in names}
    spare = [name for name in registry.endpoints if name not in in_chain]
    return [_configured(reader, config, registry, KEY, name) for name in spare]


def _free_name(provider: LLMProvider, taken: Collection[str]) -> str:
    """Return a provider object's name, numbered if another has it already."""
    name = str(provider.get_provider_name())
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _named(
    reader: Reader, config: LLMConfig, registry: Registry, source: str, written: Any
) -> ProviderHandle | None:
    """Return the link that a name stands for, or None if it is a fault."""
    if not isinstance(written, str):
        kind = type(written).__name__
        reader.faults.append(f"{source} must be a provider's name, not {kind}")
        return None
    name = written.partition(":")[0]
    if name in registry:
        return _configured(reader, config, registry, source, written)
    if not registry.is_faulty(name):
        reader.faults.append(f"{source} {unknown(name, registry)}")
    return None


def _configured(
    reader: Reader, config: LLMConfig, registry: Registry, source: str, written: str
) -> ProviderHandle:
    """Return the link that a known name stands for."""
    name = written.partition(":")[0]
    try:
        provider_class = registry[name]
        key_name, key = _api_key(reader, registry, name)
        basic = ProviderSettings(name, written, key, key_name)
        settings = read_settings(reader, config, source, basic, provider_class)
    except PluginError as error:
        broken = error
    except Exception as exc:  # noqa: BLE001  # a stranger's class may raise anything
        broken = PluginError.at_start(registry.endpoints.get(name, name), exc)
    else:
        return ProviderHandle.configured(provider_class, settings)
    log.error("%s", broken)
    return ProviderHandle.of(BrokenProvider(written, str(broken)))


def read_settings(
    reader: Reader,
    config: LLMConfig,
    source: str,
    basic: ProviderSettings,
    provider_class: type[LLMProvider],
) -> ProviderSettings:
    """Read everything that concerns one chain entry; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        source: The configuration key in which the entry is written.
        basic: Its name, the entry as written, and the API key.
        provider_class: The class that states what it needs.
    """
    most = reader.read(
        setting_key(basic.name, "max_concurrency"),
        unless_none(whole(1)),
        provider_class.max_concurrency,
    )
    basic = replace(
        basic,
        max_concurrency=most,
        options=_options(reader, basic.name, provider_class),
        labels=reader.labels(basic.name, ("base_url", *provider_class.options)),
    )
    if provider_class.default_model is not None:
        return _with_model(reader, config, source, provider_class, basic)
    if ":" in basic.entry:
        reader.faults.append(
            f"{source} asks for {basic.entry!r}, but {basic.name} takes no model"
        )
    return basic


def _with_model(
    reader: Reader,
    config: LLMConfig,
    source: str,
    provider_class: type[LLMProvider],
    basic: ProviderSettings,
) -> ProviderSettings:
    """Add what only a provider with a choice of models is configured by."""
    model = basic.entry.partition(":")[2]
    keys = {
        setting: setting_key(basic.name, setting)
        for setting in ("model", "base_url", "timeout")
    }
    timeout = provider_class.default_timeout or config.timeout
    configured_model = reader.read(keys["model"], text, None)
    if configured_model is None:
        reader.note(keys["model"], provider_class.default_model)
    return replace(
        basic,
        model=model or configured_model,
        model_key=source if model else reader.label(keys["model"]),
        base_url=reader.read(keys["base_url"], url, None),
        base_url_key=reader.label(keys["base_url"]),
        timeout=reader.read(keys["timeout"], seconds(above_zero=True), timeout),
    )


def _api_key(reader: Reader, registry: Registry, name: str) -> tuple[str, str]:
    """Return where the API key is written, or can be, and the key or an empty text."""
    if not registry[name].takes_key():
        return "", ""
    found, value = reader.first(registry.api_key_names(name))
    key = "" if value is None else reader.parsed(found, api_key, value, "")
    reader.note(found, key)
    return reader.label(found), key


def _options(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> dict[str, object]:
    """Return the provider's own settings that are set, by argument name."""
    found: dict[str, object] = {}
    for option, parse in provider_class.options.items():
        others = filter(None, [provider_class.other_keys.get(option)])
        key, value = reader.first((setting_key(name, option), *others))
        if value is not None:
            found[option] = reader.parsed(key, parse, value, None)
        reader.note(key, found.get(option))
    return {option: value for option, value in found.items() if value is not None}
