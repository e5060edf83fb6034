"""Makes the links of the chain out of the configuration."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import chain, count
from typing import Any

from .config import LLMConfig, ProviderSettings
from .entry import ChainEntry
from .parsers import api_key, seconds, shown, text, unless_none, url, whole
from .providers.base import LLMProvider
from .reader import Reader, default_api_key_name, setting_key

Registry = Mapping[str, type[LLMProvider]]


Written = tuple[str, Any]
"""A chain entry, with the key or argument in which it is written before it."""


def chain_entries(
    reader: Reader,
    config: LLMConfig,
    registry: Registry,
    written: Iterable[Written],
) -> list[ChainEntry]:
    """Return the chain of an app, each entry once; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        registry: The known provider classes.
        written: The entries in order.
    """
    entries: dict[object, ChainEntry] = {}
    written = list(written)
    taken = {each for _, each in written if isinstance(each, str)}
    for source, each in written:
        # By identity: a provider object need not be hashable.
        key = each if isinstance(each, str) else id(each)
        if key in entries:
            continue
        if isinstance(each, LLMProvider):
            name = _free_name(each, taken)
            taken.add(name)
            entries[key] = ChainEntry.of(each, name)
        elif entry := _configured(reader, config, registry, source, each):
            entries[key] = entry
    return list(entries.values())


def _free_name(provider: LLMProvider, taken: Collection[str]) -> str:
    """Return a provider object's name, numbered if another has it already."""
    name = str(provider.get_provider_name())
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _configured(
    reader: Reader, config: LLMConfig, registry: Registry, source: str, written: Any
) -> ChainEntry | None:
    """Return the link that a name stands for, or None if it is a fault."""
    try:
        provider_class = _provider_class(registry, written)
    except ValueError as fault:
        reader.faults.append(f"{source} {fault}")
        return None
    settings = read_settings(reader, config, source, written, provider_class)
    return ChainEntry.configured(provider_class, settings)


def _provider_class(registry: Registry, written: Any) -> type[LLMProvider]:
    """Return the class that an entry names; a ValueError says what is wrong."""
    if not isinstance(written, str):
        raise ValueError(f"must be a provider's name, not {type(written).__name__}")
    name = written.partition(":")[0]
    if name not in registry:
        raise ValueError(_unknown(name, registry))
    try:
        return registry[name]
    except Exception as exc:
        # A plug-in's import may raise anything.
        why = f"{type(exc).__name__}: {exc}"
        raise ValueError(f"names {name!r}, which cannot be loaded: {why}") from exc


def _unknown(name: str, registry: Registry) -> str:
    """Return what to say of a name that nobody has registered."""
    if re.search(r"[\s;|\[\]]", name):
        return f"must be names separated by commas, not {shown(name)}"
    close = difflib.get_close_matches(name, registry, n=1, cutoff=0.7)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    known = ", ".join(registry)
    return (
        f"names no known provider: {shown(name)}{hint}"
        f" (known: {known}; register your own before)"
    )


def read_settings(
    reader: Reader,
    config: LLMConfig,
    source: str,
    entry: str,
    provider_class: type[LLMProvider],
) -> ProviderSettings:
    """Read everything that concerns one chain entry; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        source: The configuration key in which the entry is written.
        entry: The entry as written: "claude" or "claude:claude-haiku-5-5".
        provider_class: The class that states what it needs.
    """
    name, _, model = entry.partition(":")
    key_name, key = _api_key(reader, name, provider_class)
    most = reader.read(
        setting_key(name, "max_concurrency"),
        unless_none(whole(1)),
        provider_class.max_concurrency,
    )
    basic = ProviderSettings(name, entry, key, key_name, max_concurrency=most)
    if provider_class.default_model is not None:
        return _with_model(reader, config, source, model, provider_class, basic)
    if model:
        reader.faults.append(f"{source} asks for {entry!r}, but {name} takes no model")
    return basic


def _with_model(
    reader: Reader,
    config: LLMConfig,
    source: str,
    model: str,
    provider_class: type[LLMProvider],
    basic: ProviderSettings,
) -> ProviderSettings:
    """Add what only a provider with a choice of models is configured by."""
    keys = {
        setting: setting_key(basic.name, setting)
        for setting in ("model", "base_url", "timeout")
    }
    timeout = provider_class.default_timeout or config.timeout
    configured_model = reader.read(keys["model"], text, None)
    return replace(
        basic,
        model=model or configured_model,
        model_key=source if model else keys["model"],
        base_url=reader.read(keys["base_url"], url, None),
        base_url_key=keys["base_url"],
        timeout=reader.read(keys["timeout"], seconds(above_zero=True), timeout),
        options=_options(reader, basic.name, provider_class),
    )


def _api_key(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> tuple[str, str]:
    """Return the name of the API key's setting, and the key or an empty text."""
    if not provider_class.needs_key:
        return "", ""
    names = provider_class.api_key_names or (default_api_key_name(name),)
    found, value = reader.first(names)
    return found, "" if value is None else reader.parsed(found, api_key, value, "")


def _options(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> dict[str, object]:
    """Return the provider's own settings that are set, by argument name."""
    found = {
        option: reader.read(setting_key(name, option), parse, None)
        for option, parse in provider_class.options.items()
    }
    return {option: value for option, value in found.items() if value is not None}
