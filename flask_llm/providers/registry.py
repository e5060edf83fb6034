"""Provider classes by name: entry points, registered ones, and LLM_PROVIDERS.

The providers of this package enter by the door that is open to everybody's: the
entry-point group `flask_llm.providers`. A class is imported when it is first asked for.

``LLM_PROVIDERS = {"claude-eu": {"provider": "claude", "base_url": …}}`` makes
"claude-eu" a name like any other. What is left open there is looked up under the
name's own keys: `LLM_CLAUDE_EU_MODEL`, `CLAUDE_EU_API_KEY`.
"""

import logging
import math
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import suppress
from importlib.metadata import EntryPoint, distributions
from typing import Any

from ..config.parsers import mapping, shown
from ..config.reader import (
    Reader,
    closest,
    default_api_key_name,
    key_part,
    setting_key,
)
from ..errors import LLMError, text_of
from .base import LLMProvider

GROUP = "flask_llm.providers"
KEY = "LLM_PROVIDERS"

_OWN = __name__.partition(".")[0] + "."
_NAMES = "use letters, digits, - _ and ."
_OF_ALL = ("max_concurrency", "rate", "token_rate", "limit_group", "tags", "weight")
_OF_MODELS = ("model", "base_url", "timeout")

log = logging.getLogger("flask_llm")

ProviderClass = type[LLMProvider]
Entries = dict[str, EntryPoint | ProviderClass]


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

    Args:
        entries: What is known already; otherwise the entry points are looked up.

    Attributes:
        endpoints: Names that the LLM_PROVIDERS of one app adds, and their providers.
        left_out: A sentence for each plug-in that cannot have its name.
    """

    def __init__(self, entries: Entries | None = None) -> None:
        self._entries = entries
        self._faulty: Collection[str] | None = ()
        self.endpoints: dict[str, str] = {}
        self.left_out: list[str] = []

    def __getitem__(self, name: str) -> ProviderClass:
        """Return the class of a name.

        Raises:
            KeyError: Nobody has registered the name.
            PluginError: A plug-in has, but cannot be loaded.
        """
        name = self.endpoints.get(name, name)
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
        # The inherited one would import the class.
        return name in self.endpoints or name in self._all()

    def __iter__(self) -> Iterator[str]:
        yield from self.endpoints
        yield from sorted(self._all())

    def __len__(self) -> int:
        return len(self.endpoints) + len(self._all())

    def of_app(self, reader: Reader) -> "Registry":
        """Return these classes, with the endpoints of an app above them.

        Args:
            reader: Where LLM_PROVIDERS is looked up; the endpoints' settings are put
                into it, and faults stay with it.
        """
        layer = Registry(self._all())
        if reader.raw(KEY) is not None:
            layer.read_endpoints(reader)
        return layer

    def read_endpoints(self, reader: Reader) -> None:
        """Add the endpoints of LLM_PROVIDERS.

        Args:
            reader: Where they are looked up.
        """
        written = reader.read(KEY, mapping("endpoints by name"), None)
        taken = _taken(self)
        found: dict[str, str] = {}
        for name, settings in (written or {}).items():
            if faults := [*_faults(self, taken, name, settings)]:
                reader.faults += (f"{KEY} {fault}" for fault in faults)
            else:
                found[name] = settings["provider"]
                _put(reader, self, name, settings)
            taken.setdefault(default_api_key_name(str(name)), str(name))
        self.endpoints = found
        self._faulty = None if written is None else {*map(str, written)} - {*found}

    def is_faulty(self, name: str) -> bool:
        """Return whether a name is unknown for a fault that the reader has already."""
        return name not in self and (self._faulty is None or name in self._faulty)

    def api_key_names(self, name: str) -> tuple[str, ...]:
        """Return the configuration keys that may hold a provider's API key."""
        names = () if name in self.endpoints else self[name].api_key_names
        return tuple(names) or (default_api_key_name(name),)

    def own(self) -> Iterator[tuple[str, ProviderClass]]:
        """Yield this package's classes by name; no plug-in is imported for it."""
        for name, found in [*self._all().items()]:
            module = getattr(found, "value", getattr(found, "__module__", ""))
            if module.startswith(_OWN):
                with suppress(PluginError):  # a third party's may claim to be ours
                    yield name, self[name]

    def _all(self) -> Entries:
        if self._entries is None:
            self._entries = {**self._named(_published())}
        return self._entries

    def _named(self, found: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
        """Return entry points by name; none takes a name that another one has."""
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
        # A third party's import may raise anything.
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


def _taken(registry: Registry) -> dict[str, str]:
    """Return which provider each API key belongs to, as far as is known."""
    taken = {default_api_key_name(name): name for name in registry}
    for name, provider_class in registry.own():
        for key in provider_class.api_key_names:
            taken.setdefault(key, name)
    return taken


def _faults(
    registry: Registry, taken: Mapping[str, str], name: object, settings: object
) -> Iterator[str]:
    """Yield why an endpoint cannot be one."""
    if not (isinstance(name, str) and is_name(name)):
        yield f"has the name {shown(name)}: use letters, digits, - _ and . only"
    elif name in registry:
        yield f"has the name {name!r}, which is a provider's already"
    elif other := taken.get(default_api_key_name(name)):
        yield (
            f"has the name {shown(name)}, which has configuration keys of"
            f" {shown(other)}: choose another one"
        )
    if not isinstance(settings, Mapping):
        yield f"must have a dict of settings for {shown(name)}"
        return
    provider = settings.get("provider")
    if not isinstance(provider, str) or provider not in registry:
        known = ", ".join(registry)
        yield (
            f"must name a provider for {shown(name)}, not {shown(provider)}"
            f" (known: {known})"
        )


def _put(
    reader: Reader, registry: Registry, name: str, settings: Mapping[Any, Any]
) -> None:
    """Put an endpoint's settings where its own keys are looked up."""
    provider = settings["provider"]
    try:
        provider_class = registry[provider]
        keys = _keys(name, provider_class)
    except Exception:  # noqa: BLE001  # a third party's class: the chain says why
        return
    for setting, value in settings.items():
        if setting in keys:
            reader.put(keys[setting], value, f"{KEY}[{name!r}][{setting!r}]")
        elif setting != "provider":
            reader.faults.append(f"{KEY} {_unknown(name, setting, keys)}")
    if "api_key" in keys:
        addresses = (keys.get("base_url", ""), setting_key(provider, "base_url"))
        if reader.first(addresses)[1] is None:
            _share_key(reader, keys["api_key"], provider, provider_class)


def _share_key(
    reader: Reader, key: str, provider: str, provider_class: ProviderClass
) -> None:
    """Use the provider's API key where the endpoint has none.

    Only where both have the usual address: no key may go where it does not belong.
    """
    if reader.raw(key) is None:
        names = provider_class.api_key_names or (default_api_key_name(provider),)
        found, value = reader.first(tuple(names))
        reader.put(key, value, f"{key} or {found}" if value is None else found)


def _keys(name: str, provider_class: ProviderClass) -> dict[str, str]:
    """Return the configuration key under which each setting is looked up."""
    of_models = () if provider_class.default_model is None else _OF_MODELS
    settings = (*_OF_ALL, *of_models, *provider_class.options)
    keys = {setting: setting_key(name, setting) for setting in settings}
    if provider_class.takes_key():
        keys["api_key"] = default_api_key_name(name)
    return keys


def _unknown(name: str, setting: object, allowed: Collection[str]) -> str:
    close = closest(setting, allowed)
    hint = f"; did you mean {close!r}?" if close else ""
    return (
        f"has an unknown setting {shown(setting)} for {shown(name)}{hint}"
        f" (known: provider, {', '.join(sorted(allowed))})"
    )
