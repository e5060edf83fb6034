"""Which provider class a name stands for.

The providers of this package enter by the door that is open to everybody's: the
entry-point group `flask_llm.providers`. A class is imported when it is first asked for.
"""

import re
from collections.abc import Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .providers.base import LLMProvider

GROUP = "flask_llm.providers"

ProviderClass = type[LLMProvider]


class Registry(MutableMapping[str, ProviderClass]):
    """Provider classes by name; those of entry points are imported on first use."""

    def __init__(self) -> None:
        self._entries: dict[str, EntryPoint | ProviderClass] | None = None

    def __getitem__(self, name: str) -> ProviderClass:
        found = self._all()[name]
        if isinstance(found, EntryPoint):
            found = self._all()[name] = checked(found.load())
        return found

    def __setitem__(self, name: str, provider_class: ProviderClass) -> None:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"{name!r} is no name: use letters, digits, - _ and .")
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
            self._entries = {each.name: each for each in entry_points(group=GROUP)}
        return self._entries


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
