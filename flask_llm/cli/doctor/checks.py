"""What a check is, what it may look at, and how long."""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from ...config.prices import TokenPrice
from ...config.settings import Observing
from ...errors import MARK, redact, text_of
from ...factory import LLMFactory
from ...fallback.provider_handle import ProviderHandle, provider_name
from ...providers.base import LLMProvider
from ...providers.registry import PluginError
from ...resilience.clock import SYSTEM
from ...resilience.thread_pool import Abandoned, ThreadPool

Level = Literal["ok", "note", "warning", "error"]

# What an app that cannot start may tell of keys that only its own code knows.
_SECRET = re.compile(
    r"(?<=://)\S+(?=@)"  # a user and a password in an address
    r"|(?<=password=)[^\s&]+"
    r"|\b(?:sk-|gsk_|xai-|AIza|AQ\.)[\w.-]{8,}"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        area: The part of the app that it belongs to.
        subject: What was looked at: a provider, a setting, a package.
        message: What there is to say of it.
        advice: What to do about it; empty if there is nothing to do.
    """

    level: Level
    area: str
    subject: str
    message: str
    advice: str = ""

    def cleaned(self, secrets: Collection[str]) -> "Finding":
        """Return a copy without keys and passwords, each text on one line."""
        return replace(
            self,
            subject=_clean(self.subject, secrets),
            message=_clean(self.message, secrets),
            advice=_clean(self.advice, secrets),
        )


def guarded(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; its failure is one more finding."""
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001  # it calls third-party providers
        message = f"could not be checked: {described(exc)}"
        yield Finding("warning", "doctor", what, message)


def _clean(text: str, secrets: Collection[str]) -> str:
    return " ".join(_SECRET.sub(MARK, redact(text, secrets)).split())


_SECRET_NAME = re.compile(r"(key|secret|token|password)$", re.IGNORECASE)

# Also of a key that is malformed: in quotes, with a space, pasted with half a sentence.
_KEY_LIKE = re.compile(r"[\w.+/=-]{8,}", re.ASCII)


@dataclass(frozen=True)
class CheckContext:
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
    def entries(self) -> list[ProviderHandle]:
        """The providers of the chain."""
        return list(self.factory.entries) if self.factory else []

    @property
    def spare(self) -> list[ProviderHandle]:
        """The endpoints of LLM_PROVIDERS outside of the chain."""
        return list(self.factory.spare) if self.factory else []

    @property
    def able(self) -> list[ProviderHandle]:
        """The providers of the chain that could be asked."""
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


def described(error: BaseException) -> str:
    """Return what was raised, in words."""
    return f"{type(error).__name__}: {text_of(error)}"


def fault_of(
    work: Callable[[], object],
    patience_s: float,
    describe: Callable[[Exception], str] = described,
) -> str:
    """Return what keeps something from being done; empty if it is done.

    Args:
        work: Does it, in a thread that is abandoned if it hangs.
        patience_s: Seconds for it.
        describe: Says what it has raised.
    """
    try:
        ThreadPool(SYSTEM).call(work, patience_s)
    except Abandoned:
        return f"nothing within {patience_s:g} s"
    except Exception as error:  # noqa: BLE001  # drivers raise what they like
        return describe(error)
    return ""
