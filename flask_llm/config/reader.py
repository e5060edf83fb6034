"""Reads settings from app.config, then the environment; collects all faults.

So a `.env` file works; blank means unset.
"""

import difflib
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigurationError, encodable, hidden_in, redact
from ..resilience.limits import Rate
from .parsers import Parser, shown

log = logging.getLogger("flask_llm")

T = TypeVar("T")

PREFIX = "LLM_"
DEFAULT = "default"

# How alike a typo and a key are, from 0 to 1; the models of two providers are less.
_ALIKE = 0.85

_ambient: Callable[[], Mapping[str, Any]] = dict


def use_ambient(source: Callable[[], Mapping[str, Any]]) -> None:
    """Say where an `LLMFactory()` without arguments finds its configuration.

    Called by the Flask extension, so that the layers below need no Flask.
    """
    global _ambient  # noqa: PLW0603  # one hook, set once at import
    _ambient = source


def _unwrapped(value: Any) -> Any:
    """Return what pydantic's SecretStr or a member of an Enum holds, or the value."""
    if isinstance(value, Enum):
        return value.value
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


class Reader:
    """Looks keys up, parses them, and collects every fault on the way.

    Args:
        mapping: The app's configuration, or None for the ambient one.

    Attributes:
        faults: What is wrong, a sentence each.
        warnings: What is odd, a sentence each.
        settings: Each setting that was read, as it is in force.
    """

    def __init__(self, mapping: Mapping[str, Any] | None = None) -> None:
        self._mapping = _ambient() if mapping is None else mapping
        self._put: dict[str, Any] = {}
        self._labels: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._known: set[str] = set()
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.settings: dict[str, Setting] = {}

    def read(self, key: str, parse: Parser[T], default: T, unset: str = DEFAULT) -> T:
        """Return the parsed value of a key, or the default if it is unset or faulty.

        Args:
            key: The setting.
            parse: What makes a value of a text.
            default: The value if it is unset.
            unset: Where the default comes from.
        """
        value = self.raw(key)
        found = default if value is None else self.parsed(key, parse, value, default)
        self.note(key, found, self._sources.get(key, unset))
        return found

    def note(self, key: str, value: Any, source: str = "") -> None:
        """Remember what is in force.

        Args:
            key: The setting.
            value: Its parsed value.
            source: Where it comes from; if this is empty, where it was found.
        """
        source = source or self._sources.get(key, DEFAULT)
        self.settings[key] = Setting(key, value, source)

    def parsed(self, key: str, parse: Parser[T], value: Any, default: T) -> T:
        """Return `value` parsed; a fault is noted under `key` and gives `default`."""
        try:
            return parse(value)
        except ConfigurationError as several:
            faults: Iterable[object] = several.faults
        except (ValueError, TypeError) as fault:  # a third party's may raise both
            faults = [fault]
        self.faults += (f"{self.label(key)} {fault}" for fault in faults)
        return default

    def put(self, key: str, value: Any, label: str) -> None:
        """Say what is found under `key`, before any other source.

        Args:
            key: The key under which it is looked up.
            value: What is found; blank means unset, as everywhere.
            label: Where it is written, for the texts of faults.
        """
        self._put[key] = value
        self._labels[key] = label

    def label(self, key: str) -> str:
        """Return where the value of `key` is written, or can be."""
        return self._labels.get(key, key)

    def labels(self, provider: str, settings: Iterable[str]) -> dict[str, str]:
        """Return where those of a provider's settings are written that were `put`."""
        keys = {setting: setting_key(provider, setting) for setting in settings}
        return {s: self._labels[k] for s, k in keys.items() if k in self._labels}

    def raw(self, key: str) -> Any:
        """Return what the app or the environment says of `key`; None if blank."""
        return self.first((key,))[1]

    def first(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        """Return the first of several keys that is set, and its value.

        What was `put` comes first, then the app's own, then the environment's. If none
        is set: the first key and None.
        """
        self._known.update(keys)
        values = {"": self._put, "app.config": self._mapping, "environment": os.environ}
        for source, mapping in values.items():
            for key in keys:
                value = _unwrapped(mapping.get(key))
                if value is not None and str(value).strip():
                    self._sources[key] = source or self.label(key)
                    return key, value
        return keys[0], None

    def finish(self, in_use: Mapping[str, str], others: Iterable[str]) -> None:
        """Raise for the faults found, and warn of keys that are never read.

        Args:
            in_use: Providers whose keys have all been looked up, and where the API key
                of each is written, or can be.
            others: Further providers; their own keys are no typos.

        Raises:
            ConfigurationError: At least one key is wrong.
        """
        if self.faults:
            raise ConfigurationError(list(dict.fromkeys(self.faults)))
        own = {_own_prefix(name): api_key for name, api_key in in_use.items()}
        foreign = {_own_prefix(name) for name in others} - own.keys()
        for key in sorted(self._unread()):
            # LLM_CLAUDE_EU_MODLE is the endpoint's, not the provider's.
            fitting = filter(key.startswith, {*own, *foreign})
            prefix = max(fitting, key=len, default="")
            if prefix not in foreign:
                self._warn(key, prefix, own.get(prefix, ""))

    def _unread(self) -> set[str]:
        """Return the LLM_ keys of app and environment that were never looked up."""
        present = {*map(str, self._mapping), *os.environ}
        return {key for key in present - self._known if key.startswith(PREFIX)}

    def _warn(self, key: str, own: str, api_key: str) -> None:
        """Warn of an unknown key; the environment serves other programs too."""
        if meant := self._meant(key, own, api_key):
            self.warnings.append(f"Unknown setting {key}: did you mean {meant}?")
        elif own or key in self._mapping:
            self.warnings.append(f"Unknown setting {key}")
        else:
            return
        log.warning("%s", self.warnings[-1])

    def _meant(self, key: str, own: str, api_key: str) -> str:
        """Return the key that an unknown one may be a typo of, or ""."""
        if key == f"{own}API_KEY":
            return api_key
        # A provider's setting is never meant for another provider.
        known = (each for each in self._known if each.startswith(own))
        return closest(key, known, _ALIKE)


def setting_key(provider: str, setting: str) -> str:
    """Return the key of a provider's setting, e.g. LLM_CLAUDE_MODEL."""
    return f"{_own_prefix(provider)}{setting.upper()}"


def default_api_key_name(provider: str) -> str:
    """Return the key that holds a provider's API key by default."""
    return f"{key_part(provider)}_API_KEY"


def _own_prefix(provider: str) -> str:
    """Return how the keys of a provider's settings begin, e.g. LLM_CLAUDE_."""
    return f"{PREFIX}{key_part(provider)}_"


def key_part(provider: str) -> str:
    """Return what stands for a provider in its keys; two names may have the same."""
    return re.sub(r"\W", "_", provider).upper()


_PROVIDERS = {
    "anthropic": "claude",
    "google": "gemini",
    "google-genai": "genai",
    "vertexai": "vertex",
}
"""The provider that a maker's or a package's name may stand for."""

_MODELS = {
    "gpt-": "openai",
    "claude-": "claude",
    "gemini-": "gemini",
    "command-": "cohere",
}
"""The provider whose models have names that begin so."""


def unknown(name: str, known: Iterable[str]) -> str:
    """Return a fault, the second half of a sentence that begins with a key.

    Args:
        name: A name that is not registered.
        known: Those that are.
    """
    if re.search(r"[\s;|\[\]]", name):
        return f"must be names separated by commas, not {shown(name)}"
    known = list(known)
    return (
        f"names no known provider: {shown(name)}{_hint(name, known)}"
        f" (known: {', '.join(known)}; register your own before)"
    )


def _hint(name: str, known: list[str]) -> str:
    """Return which provider may be meant, or "" where that cannot be said."""
    lower = name.lower()
    # "gemini-3" is like "gemini", but a model of it.
    others = (each for each in known if not lower.startswith(f"{each}-"))
    if meant := _PROVIDERS.get(lower) or closest(lower, others, 0.7):
        return f"; did you mean {meant!r}?"
    for start, provider in _MODELS.items():
        if lower.startswith(start):
            return f"; a model? write {provider}:{name}"
    return ""


def closest(name: object, known: Iterable[str], alike: float = 0.6) -> str:
    """Return the known name that an unknown one may be a typo of, or "".

    Args:
        name: What was written.
        known: The names that exist.
        alike: How alike both must be, from 0 to 1.
    """
    return next(iter(difflib.get_close_matches(str(name), [*known], 1, alike)), "")


_SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASS(WORD|WD|PHRASE)?S?(_|$)|PWD|CREDENTIAL|AUTH|HEADER|COOKIE"
    r"|SIGNATURE"
)
_NUMBER_NAME = re.compile(r"(TOKENS|TIMEOUT|TOKEN_RATE)$")
# A text that may be an address with a password in it; "name:model@date" is none.
_ADDRESS = re.compile(r"//|:.*[:/].*@", re.DOTALL)
_FLAGS = {True: "on", False: "off"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force.

    Attributes:
        key: Its name.
        value: Its parsed value; never shown as it is.
        source: Where it comes from: "app.config", "environment", "default", a preset,
            an argument's name, or where it is written in LLM_PROVIDERS.
    """

    key: str
    value: Any = field(repr=False)
    source: str

    @property
    def is_secret(self) -> bool:
        """Whether no more may be shown than whether it is set.

        Of a plug-in's settings only the names say so; a number of tokens is no secret.
        """
        numbers = float | int | Rate | None
        if _NUMBER_NAME.search(self.key) and isinstance(self.value, numbers):
            return False
        return bool(_SECRET_NAME.search(self.key))

    def shown(self, secrets: Collection[str]) -> dict[str, Any]:
        """Return what a page may show of it; no text of it holds one of `secrets`."""
        return {
            "key": self.key,
            "value": redact(encodable(self._value()), secrets),
            "source": self.source,
            "secret": self.is_secret,
        }

    def _value(self) -> str:
        if self.value is None and self.source != DEFAULT:
            return "none"
        if self.value is None or self.value == "":
            return "not set"
        return "set" if self.is_secret else _text(self.value)


def shown_address(url: str) -> str:
    """Return an address without its user, password, query and whatever looks secret.

    Of one that cannot be read, or that others may read otherwise, only that it is set.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "set"
    if url.count("@") > parts.netloc.count("@"):
        return "set"  # a password with a slash ends what is taken for the host
    user = "…@" if "@" in parts.netloc else ""
    query = "?…" if parts.query or parts.fragment else ""
    path = redact(parts.path, hidden_in(url))
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{path}{query}"


def _text(value: Any) -> str:
    """Return a value as text; of an object only what it is: its text may be secret."""
    if isinstance(value, bool):
        return _FLAGS[value]
    if isinstance(value, int | float):
        return format(value, ".12g")
    if isinstance(value, Rate):
        return str(value)
    if isinstance(value, str):
        return shown_address(value) if _ADDRESS.search(value) else value
    if isinstance(value, Mapping | list | tuple):
        return ", ".join(map(_text, value)) or "none"
    # A provider object in the chain.
    named = getattr(value, "get_provider_name", lambda: type(value).__name__)
    return str(named())
