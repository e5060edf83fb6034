"""Makes the links of the chain out of the configuration."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from .config import (
    LLMConfig,
    ProviderSettings,
    Reader,
    default_api_key_name,
    setting_key,
)
from .entry import ChainEntry
from .parsers import api_key, seconds, text, url
from .providers.base import LLMProvider

Registry = Mapping[str, type[LLMProvider]]


def chain_entries(
    reader: Reader, config: LLMConfig, registry: Registry
) -> list[ChainEntry]:
    """Return the chain of an app, each entry once; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        registry: The known provider classes.
    """
    entries: dict[str, ChainEntry] = {}
    for source, written in _written(config):
        entry = _entry(reader, config, registry, source, written)
        if entry is not None:
            entries.setdefault(entry.name, entry)
    return list(entries.values())


def _written(config: LLMConfig) -> Iterator[tuple[str, Any]]:
    """Yield each entry with the configuration key that it stands in."""
    yield "LLM_PRIMARY_PROVIDER", config.primary
    for each in config.fallbacks:
        yield "LLM_FALLBACK_PROVIDERS", each


def _entry(
    reader: Reader, config: LLMConfig, registry: Registry, source: str, written: Any
) -> ChainEntry | None:
    """Return one link, or None if what is written is a fault."""
    if isinstance(written, LLMProvider):
        return ChainEntry.of(written)
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
        close = difflib.get_close_matches(name, registry, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(registry)
        raise ValueError(f"names no known provider: {name!r}{hint} (known: {known})")
    try:
        return registry[name]
    except Exception as exc:
        # A plug-in's import may raise anything.
        why = f"{type(exc).__name__}: {exc}"
        raise ValueError(f"names {name!r}, which cannot be loaded: {why}") from exc


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
    own_model_key = setting_key(name, "model")
    timeout = provider_class.default_timeout or config.timeout
    key_name, key = _api_key(reader, name, provider_class)
    takes_model = provider_class.default_model is not None
    if model and not takes_model:
        reader.faults.append(f"{source} asks for {entry!r}, but {name} takes no model")
    return ProviderSettings(
        name=name,
        entry=entry,
        api_key=key,
        api_key_name=key_name,
        model=model or reader.read(own_model_key, text, None),
        model_key=(source if model else own_model_key) if takes_model else "",
        base_url=reader.read(setting_key(name, "base_url"), url, None),
        timeout=reader.read(
            setting_key(name, "timeout"), seconds(above_zero=True), timeout
        ),
        options=_options(reader, name, provider_class),
    )


def _api_key(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> tuple[str, str]:
    """Return the name of the API key's setting, and the key or an empty text."""
    key_names = provider_class.api_key_names or (default_api_key_name(name),)
    if not provider_class.needs_key:
        return "", ""
    for key_name in key_names:
        if reader.raw(key_name) is not None:
            return key_name, reader.read(key_name, api_key, "")
    return key_names[0], ""


def _options(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> dict[str, object]:
    """Return the provider's own settings that are set, by argument name."""
    found = {
        option: reader.read(setting_key(name, option), parse, None)
        for option, parse in provider_class.options.items()
    }
    return {option: value for option, value in found.items() if value is not None}
