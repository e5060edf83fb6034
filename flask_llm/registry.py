"""Which provider class a name stands for.

The providers of this package enter by the door that is open to everybody's: the
entry-point group `flask_llm.providers`. A class is imported when it is first asked for.
"""

import logging
import re
from collections.abc import Iterable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import LLMError, text_of
from .providers.base import LLMProvider

GROUP = "flask_llm.providers"

_OWN = __name__.partition(".")[0] + "."
_NAMES = "use letters, digits, - _ and ."

log = logging.getLogger("flask_llm")

ProviderClass = type[LLMProvider]


class PluginError(LLMError):
    """A plug-in's entry point does not lead to a provider class."""


class Registry(MutableMapping[str, ProviderClass]):
    """Provider classes by name; those of entry points are imported on first use."""

    def __init__(self) -> None:
        self._entries: dict[str, EntryPoint | ProviderClass] | None = None

    def __getitem__(self, name: str) -> ProviderClass:
        """Return the class of a name.

        Raises:
            KeyError: Nobody has registered the name.
            PluginError: A plug-in has, but cannot be loaded.
        """
        found = self._all()[name]
        if isinstance(found, EntryPoint):
            found = self._all()[name] = _loaded(found)
        return found

    def __setitem__(self, name: str, provider_class: ProviderClass) -> None:
        if not is_name(name):
            raise ValueError(f"{name!r} is no name: {_NAMES}")
        self._all()[name] = checked(provider_class)

    def __delitem__(self, name: str) -> None:
        del self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()  # the inherited one would import the class

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, EntryPoint | ProviderClass]:
        if self._entries is None:
            self._entries = {**_by_name(entry_points(group=GROUP))}
        return self._entries


def _by_name(found: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    """Return entry points by name; nobody takes a name that another one has."""
    entries: dict[str, EntryPoint] = {}
    for each in sorted(found, key=lambda each: not each.value.startswith(_OWN)):
        if not is_name(each.name):
            log.warning("%s is left out: %s", origin(each), _NAMES)
        elif (first := entries.setdefault(each.name, each)).value != each.value:
            log.warning("%s is left out: %s has the name", origin(each), origin(first))
    return entries


def _loaded(entry: EntryPoint) -> ProviderClass:
    """Return the class that an entry point leads to."""
    try:
        return checked(entry.load())
    except Exception as exc:
        # A stranger's import may raise anything.
        why = f"{type(exc).__name__}: {text_of(exc)}"
        raise PluginError(f"{origin(entry)} cannot be loaded: {why}") from exc


def origin(entry: EntryPoint) -> str:
    """Return what a text calls a plug-in: its name, and the package that brings it."""
    source = f" of {entry.dist.name}" if entry.dist else ""
    return f"provider plug-in {entry.name!r}{source}"


def is_name(name: object) -> bool:
    """Return whether a provider's name could stand in the configuration."""
    return isinstance(name, str) and bool(re.fullmatch(r"[\w.-]+", name))


def checked(provider_class: Any) -> ProviderClass:
    """Return the class if it is a provider.

    Raises:
        ValueError: It does not inherit from `LLMProvider`, or lacks one of its methods.
    """
    if not (
        isinstance(provider_class, type) and issubclass(provider_class, LLMProvider)
    ):
        raise ValueError("Must inherit from LLMProvider")
    if missing := ", ".join(sorted(provider_class.__abstractmethods__)):
        raise ValueError(f"{provider_class.__name__} must define {missing}")
    return provider_class
