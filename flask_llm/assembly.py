"""Makes the links of the chain out of the configuration."""

import difflib
import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain, count
from typing import Any

from .config import LLMConfig, ProviderSettings
from .endpoints import Directory
from .entry import ChainEntry
from .parsers import api_key, seconds, shown, text, unless_none, url, whole
from .providers.base import LLMProvider
from .providers.broken import BrokenProvider
from .reader import Reader, setting_key
from .registry import PluginError

log = logging.getLogger("flask_llm")

Written = tuple[str, Any]
"""A chain entry, with the key or argument in which it is written before it."""


def chain_entries(
    reader: Reader,
    config: LLMConfig,
    directory: Directory,
    written: Iterable[Written],
) -> list[ChainEntry]:
    """Return the chain of an app, each entry once; faults stay with the reader.

    Args:
        reader: Where the keys are looked up.
        config: The app's general settings.
        directory: Which class a name stands for.
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
        elif entry := _configured(reader, config, directory, source, each):
            entries[key] = entry
    return list(entries.values())


def _free_name(provider: LLMProvider, taken: Collection[str]) -> str:
    """Return a provider object's name, numbered if another has it already."""
    name = str(provider.get_provider_name())
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _configured(
    reader: Reader, config: LLMConfig, directory: Directory, source: str, written: Any
) -> ChainEntry | None:
    """Return the link that a name stands for, or None if it is a fault."""
    if fault := _fault(directory, written):
        reader.faults.append(f"{source} {fault}")
        return None
    name = written.partition(":")[0]
    try:
        provider_class = directory[name]
    except PluginError as error:
        log.error("%s", error)  # noqa: TRY400  # the text says it all
        return ChainEntry.of(BrokenProvider(written, str(error)))
    key_name, key = _api_key(reader, directory, name)
    basic = ProviderSettings(name, written, key, key_name)
    settings = read_settings(reader, config, source, basic, provider_class)
    return ChainEntry.configured(provider_class, settings)


def _fault(directory: Directory, written: Any) -> str | None:
    """Return why an entry names no provider, or None if it does."""
    if not isinstance(written, str):
        return f"must be a provider's name, not {type(written).__name__}"
    name = written.partition(":")[0]
    return None if name in directory else _unknown(name, directory)


def _unknown(name: str, directory: Directory) -> str:
    """Return what to say of a name that nobody has registered."""
    if re.search(r"[\s;|\[\]]", name):
        return f"must be names separated by commas, not {shown(name)}"
    close = difflib.get_close_matches(name, directory, n=1, cutoff=0.7)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    known = ", ".join(directory)
    return (
        f"names no known provider: {shown(name)}{hint}"
        f" (known: {known}; register your own before)"
    )


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
    basic = replace(basic, max_concurrency=most)
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
    return replace(
        basic,
        model=model or configured_model,
        model_key=source if model else reader.label(keys["model"]),
        base_url=reader.read(keys["base_url"], url, None),
        base_url_key=reader.label(keys["base_url"]),
        timeout=reader.read(keys["timeout"], seconds(above_zero=True), timeout),
        options=_options(reader, basic.name, provider_class),
    )


def _api_key(reader: Reader, directory: Directory, name: str) -> tuple[str, str]:
    """Return where the API key is written, or can be, and the key or an empty text."""
    if not directory[name].takes_key():
        return "", ""
    found, value = reader.first(directory.api_key_names(name))
    key = "" if value is None else reader.parsed(found, api_key, value, "")
    return reader.label(found), key


def _options(
    reader: Reader, name: str, provider_class: type[LLMProvider]
) -> dict[str, object]:
    """Return the provider's own settings that are set, by argument name."""
    found = {
        option: reader.read(setting_key(name, option), parse, None)
        for option, parse in provider_class.options.items()
    }
    return {option: value for option, value in found.items() if value is not None}
