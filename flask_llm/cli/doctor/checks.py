"""What the doctor looks at: one app, or what is left of it."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...fallback.provider_handle import ChainEntry
from ...factory import LLMFactory
from ...links import provider_name
from ...observing import Observing
from ...config.prices import TokenPrice
from ...providers.base import LLMProvider
from ...providers.registry import PluginError

_SECRET_NAME = re.compile(r"(key|secret|token|password)$", re.IGNORECASE)

# Also of a key that is malformed: in quotes, with a space, pasted with half a sentence.
_KEY_LIKE = re.compile(r"[\w.+/=-]{8,}", re.ASCII)


@dataclass(frozen=True)
class Subject:
    """An app as far as it could be started.

    Attributes:
        today: The day on which the models' ends are judged.
        factory: The app's factory; None if there is none.
        config: The app's configuration.
        debug: Whether the app runs in debug mode.
        guarded: Whether the app says who may see its closed routes.
        root: The folder that the app is in.
        instance: Its instance folder.
        folder: The folder that the server is started in.
        error: What kept the app from starting.
    """

    today: date
    factory: LLMFactory | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    debug: bool = False
    guarded: bool = False
    root: Path | None = None
    instance: str = ""
    folder: Path = field(default_factory=Path.cwd)
    error: BaseException | None = None

    @property
    def entries(self) -> list[ChainEntry]:
        """The links of the chain."""
        return list(self.factory.entries) if self.factory else []

    @property
    def spare(self) -> list[ChainEntry]:
        """The endpoints of LLM_PROVIDERS outside of the chain."""
        return list(self.factory.spare) if self.factory else []

    @property
    def able(self) -> list[ChainEntry]:
        """The links of the chain that could be asked."""
        return [entry for entry in self.entries if entry.unavailable() is None]

    @property
    def observing(self) -> Observing:
        """What of the calls is watched."""
        if self.factory is None:
            return Observing(dashboard=False)
        return self.factory.config.observing

    @property
    def own_prices(self) -> Mapping[str, TokenPrice]:
        """The app's own prices."""
        return self.factory.config.prices if self.factory else {}

    def others(self) -> Iterator[tuple[str, type[LLMProvider] | PluginError]]:
        """Yield the providers outside the chain: the class, or why there is none."""
        registry = LLMFactory.PROVIDER_REGISTRY
        for name in set(registry) - {provider_name(entry) for entry in self.entries}:
            try:
                yield name, registry[name]
            except PluginError as error:
                yield name, error

    def secrets(self) -> set[str]:
        """Return every text that must not be printed."""
        links = (*self.entries, *self.spare)
        keys = {key for entry in links for key in entry.secrets}
        return keys | {*_secrets_in(os.environ), *_secrets_in(self.config)}


def _secrets_in(mapping: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of settings that are named like keys, also of inner ones."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str):
            if _SECRET_NAME.search(str(name)):
                yield from (value.strip(), *_KEY_LIKE.findall(value))
            yield from _secrets_of_text(value)


def _secrets_of_text(value: str) -> Iterator[str]:
    """Yield what is secret in an address, or in the JSON of settings."""
    if value.lstrip().startswith("{"):
        try:
            inner = json.loads(value)
        except ValueError:
            yield from _KEY_LIKE.findall(value)
        else:
            yield from _secrets_in(inner)
    elif "://" in value:
        password = _password(value)
        yield from (password, unquote(password))


def _password(url: str) -> str:
    try:
        return urlsplit(url.strip()).password or ""
    except ValueError:
        return ""
