"""Which provider class a name stands for.

The providers of this package enter by the door that is open to everybody's: the
entry-point group `flask_llm.providers`. A class is imported when it is first asked for.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from importlib.metadata import EntryPoint, distributions
from typing import Any

from ..errors import LLMError, text_of
from .base import LLMProvider
from ..config.reader import key_part

GROUP = "flask_llm.providers"

_OWN = __name__.partition(".")[0] + "."
_NAMES = "use letters, digits, - _ and ."

log = logging.getLogger("flask_llm")

ProviderClass = type[LLMProvider]


class PluginError(LLMError):
    """A plug-in's entry point does not lead to a provider class that can be used."""

    @classmethod
    def at_start(cls, name: str, exc: Exception) -> "PluginError":
        """Return the error for a class that failed while its settings were read.

        Its words stay out: they may repeat a setting that is secret.
        """
        return cls(f"provider {name!r} cannot be configured ({type(exc).__name__})")


class Registry(MutableMapping[str, ProviderClass]):
    """Provider classes by name; those of entry points are imported on first use.

    Attributes:
        left_out: A sentence for each plug-in that cannot have its name.
    """

    def __init__(self) -> None:
        self._entries: dict[str, EntryPoint | ProviderClass] | None = None
        self.left_out: list[str] = []

    def __getitem__(self, name: str) -> ProviderClass:
        """Return the class of a name.

        Raises:
            KeyError: Nobody has registered the name.
            PluginError: A plug-in has, but cannot be loaded.
        """
        found = self._all()[name]
        if not isinstance(found, type):  # a backport has entry points of its own
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

    def own(self) -> Iterator[tuple[str, ProviderClass]]:
        """Yield this package's classes by name; no plug-in is imported for it."""
        for name, found in [*self._all().items()]:
            place = getattr(found, "value", getattr(found, "__module__", ""))
            if place.startswith(_OWN):
                with suppress(PluginError):  # a stranger's may claim to be ours
                    yield name, self[name]

    def _all(self) -> dict[str, EntryPoint | ProviderClass]:
        if self._entries is None:
            self._entries = {**self._named(_published())}
        return self._entries

    def _named(self, found: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
        """Return entry points by name; nobody takes a name that another one has."""
        entries: dict[str, EntryPoint] = {}
        for each in sorted(found, key=lambda each: not each.value.startswith(_OWN)):
            if not is_name(each.name):
                self._leave_out(each, _NAMES)
                continue
            # Two names with the same configuration keys are one name.
            first = entries.setdefault(key_part(each.name), each)
            if (first.name, first.value) != (each.name, each.value):
                self._leave_out(each, f"{origin(first)} has the name")
        return {each.name: each for each in entries.values()}

    def _leave_out(self, entry: EntryPoint, why: str) -> None:
        self.left_out.append(f"{origin(entry)} is left out: {why}")
        log.warning("%s", self.left_out[-1])


def _published() -> Iterator[EntryPoint]:
    """Yield the group's entry points of all installed packages.

    `importlib.metadata.entry_points` would parse those of every other group too, which
    takes as long again as to read them.
    """
    for package in distributions():
        if GROUP in (package.read_text("entry_points.txt") or ""):
            yield from package.entry_points.select(group=GROUP)


def _loaded(entry: EntryPoint) -> ProviderClass:
    """Return the class that an entry point leads to."""
    try:
        return checked(entry.load())
    except (Exception, SystemExit) as exc:
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
        ValueError: It does not inherit from `LLMProvider`, lacks one of its methods, or
            states a fact in a wrong way.
    """
    if not (
        isinstance(provider_class, type) and issubclass(provider_class, LLMProvider)
    ):
        raise ValueError("Must inherit from LLMProvider")
    if missing := ", ".join(sorted(provider_class.__abstractmethods__)):
        raise ValueError(f"{provider_class.__name__} must define {missing}")
    for fact, (is_right, wanted) in _FACTS.items():
        if not is_right(getattr(provider_class, fact)):
            raise ValueError(f"{provider_class.__name__}.{fact} must be {wanted}")
    return provider_class


def _are_names(value: object) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(each, str) and each for each in value
    )


def _are_parsers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(option, str) and callable(parse) for option, parse in value.items()
    )


def _is_number(value: object, *kinds: type) -> bool:
    """Return whether a value is a number of a kind, and more than 0."""
    plain = isinstance(value, kinds) and not isinstance(value, bool)
    return plain and 0 < value < math.inf  # type: ignore[operator]  # kinds of numbers


_FACTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "api_key_names": (_are_names, "a tuple of configuration keys"),
    "options": (_are_parsers, "a dict of parsers by argument name"),
    "default_model": (
        lambda value: value is None or isinstance(value, str),
        "None or a text",
    ),
    "default_timeout": (
        lambda value: value is None or _is_number(value, int, float),
        "None, or seconds, more than 0",
    ),
    "max_concurrency": (
        lambda value: value is None or _is_number(value, int),
        "None, or 1 or more",
    ),
}
"""What a class states of itself: whether a value will do, and what would."""
