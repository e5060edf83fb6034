"""Every configuration key, read once, with all faults told at once.

A key is looked up in the app's configuration first and then in the environment, so that
a `.env` file works; blank means unset.
"""

import difflib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .circuit import BreakerPolicy
from .errors import ConfigurationError
from .parsers import (
    Parser,
    entry,
    flag,
    fraction,
    names,
    one_of,
    seconds,
    unless_none,
    url_prefix,
    whole,
)
from .retry import PRESETS, RetryPolicy
from .state.urls import state_url

log = logging.getLogger("flask_llm")

T = TypeVar("T")

PREFIX = "LLM_"

# How alike a typo and a key are, from 0 to 1; the models of two providers are less.
_ALIKE = 0.85

_ambient: Callable[[], Mapping[str, Any]] = dict


def use_ambient(source: Callable[[], Mapping[str, Any]]) -> None:
    """Say where an `LLMFactory()` without arguments finds its configuration.

    Called by the Flask extension, so that the layers below need no Flask.
    """
    global _ambient  # noqa: PLW0603  # one hook, set once at import
    _ambient = source


class Reader:
    """Looks keys up, parses them, and collects every fault on the way.

    Args:
        mapping: The app's configuration, or None for the ambient one.
    """

    def __init__(self, mapping: Mapping[str, Any] | None = None) -> None:
        self._mapping = _ambient() if mapping is None else mapping
        self._known: set[str] = set()
        self.faults: list[str] = []

    def read(self, key: str, parse: Parser[T], default: T) -> T:
        """Return the parsed value of `key`, or `default` if unset or faulty."""
        value = self.raw(key)
        return default if value is None else self.parsed(key, parse, value, default)

    def parsed(self, key: str, parse: Parser[T], value: Any, default: T) -> T:
        """Return `value` parsed; a fault is noted under `key` and gives `default`."""
        try:
            return parse(value)
        except ValueError as fault:
            self.faults.append(f"{key} {fault}")
            return default

    def raw(self, key: str) -> Any:
        """Return what the app or the environment says of `key`; None if blank."""
        return self.first((key,))[1]

    def first(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        """Return the first of several keys that is set, and its value.

        The app's own come before those of the environment. If none is set: the first
        key and None.
        """
        self._known.update(keys)
        for source in (self._mapping, os.environ):
            for key in keys:
                value = source.get(key)
                if value is not None and str(value).strip():
                    return key, value
        return keys[0], None

    def finish(self, in_chain: Iterable[str], others: Iterable[str]) -> None:
        """Raise for the faults found, and warn of keys that nobody reads.

        Args:
            in_chain: Providers of the chain, whose keys have all been looked up.
            others: Further providers; their own keys are no typos.

        Raises:
            ConfigurationError: At least one key is wrong.
        """
        if self.faults:
            raise ConfigurationError(self.faults)
        foreign = tuple(map(_own_prefix, others))
        for key in sorted(self._unread()):
            if not key.startswith(foreign):
                self._warn(key, tuple(map(_own_prefix, in_chain)))

    def _unread(self) -> set[str]:
        """Return the LLM_ keys of app and environment that were never looked up."""
        present = {*map(str, self._mapping), *os.environ}
        return {key for key in present - self._known if key.startswith(PREFIX)}

    def _warn(self, key: str, prefixes: tuple[str, ...]) -> None:
        """Warn of an unknown key; the environment serves other programs too."""
        own = next((each for each in prefixes if key.startswith(each)), "")
        # A provider's setting is never meant for another provider.
        meant = [known for known in self._known if known.startswith(own)]
        close = difflib.get_close_matches(key, meant, n=1, cutoff=_ALIKE)
        if close:
            log.warning("Unknown setting %s: did you mean %s?", key, close[0])
        elif own or key in self._mapping:
            log.warning("Unknown setting %s", key)


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """The settings of one app that concern no single provider.

    Attributes:
        primary: First chain entry: a name, "name:model", or a provider object.
        fallbacks: The entries after it.
        retry: How long to insist on one provider: the preset's numbers, as changed.
        deadline: Seconds for a whole call; None for no limit.
        breaker: When a provider rests, and for how long.
        state_url: Where the circuits are kept.
        warm_up: What is made ready before the first call: "off", "import" or "full".
        timeout: Seconds for one attempt.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        url_prefix: Path under which the blueprint is registered.
    """

    primary: Any = "gemini"
    fallbacks: tuple[Any, ...] = ("claude",)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    deadline: float | None = None
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    state_url: str = field(default="memory://", repr=False)
    warm_up: str = "off"
    timeout: float = 30.0
    fallback_on_blocked: bool = False
    url_prefix: str = "/llm"

    @classmethod
    def read(cls, reader: Reader) -> "LLMConfig":
        """Return the settings; what is wrong stays in `reader.faults`."""
        usual = cls()
        preset = PRESETS[reader.read("LLM_RETRY_PRESET", one_of(*PRESETS), "patient")]
        above_zero = seconds(above_zero=True)
        return cls(
            primary=reader.read("LLM_PRIMARY_PROVIDER", entry, usual.primary),
            fallbacks=reader.read("LLM_FALLBACK_PROVIDERS", names, usual.fallbacks),
            retry=_retry(reader, preset.retry),
            deadline=reader.read(
                "LLM_DEADLINE", unless_none(above_zero), preset.deadline
            ),
            breaker=_breaker(reader, usual.breaker),
            state_url=reader.read("LLM_STATE_URL", state_url, usual.state_url),
            warm_up=reader.read(
                "LLM_WARM_UP", one_of("off", "import", "full"), usual.warm_up
            ),
            timeout=reader.read("LLM_TIMEOUT", above_zero, usual.timeout),
            fallback_on_blocked=reader.read(
                "LLM_FALLBACK_ON_BLOCKED", flag, usual.fallback_on_blocked
            ),
            url_prefix=reader.read("LLM_URL_PREFIX", url_prefix, usual.url_prefix),
        )


def _retry(reader: Reader, usual: RetryPolicy) -> RetryPolicy:
    """Return the preset's policy, with each number that is set alone."""
    return RetryPolicy(
        max_attempts=reader.read("LLM_MAX_RETRIES", whole(), usual.max_attempts),
        delay=reader.read("LLM_RETRY_DELAY", seconds(), usual.delay),
        max_delay=reader.read("LLM_RETRY_MAX_DELAY", seconds(), usual.max_delay),
        jitter=reader.read("LLM_RETRY_JITTER", fraction, usual.jitter),
        max_retry_after=reader.read(
            "LLM_RETRY_MAX_RETRY_AFTER", seconds(), usual.max_retry_after
        ),
        retry_timeouts=reader.read("LLM_RETRY_TIMEOUTS", flag, usual.retry_timeouts),
    )


def _breaker(reader: Reader, usual: BreakerPolicy) -> BreakerPolicy:
    """Return when a provider rests, and for how long."""
    above_zero = seconds(above_zero=True)
    return BreakerPolicy(
        failures=reader.read("LLM_BREAKER_FAILURES", whole(), usual.failures),
        window=reader.read("LLM_BREAKER_WINDOW", above_zero, usual.window),
        rest=reader.read("LLM_BREAKER_REST", above_zero, usual.rest),
        max_rest=reader.read("LLM_BREAKER_MAX_REST", above_zero, usual.max_rest),
        max_cooldown=reader.read("LLM_MAX_COOLDOWN", seconds(), usual.max_cooldown),
    )


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What one chain entry is configured to be.

    Attributes:
        name: The provider's name in the registry.
        entry: The entry as written, "claude" or "claude:claude-haiku-5-5".
        api_key: The key; empty if there is none.
        api_key_name: The configuration key that holds it, or should.
        model: Model to use instead of the provider's default.
        model_key: The configuration key to change for another model.
        base_url: Address to use instead of the provider's own.
        base_url_key: The configuration key that holds it.
        timeout: Seconds for one attempt.
        max_concurrency: The most calls at once in a process; None for no limit.
        options: The provider's own settings that are set, by argument name.
    """

    name: str
    entry: str
    api_key: str = field(default="", repr=False)
    api_key_name: str = ""
    model: str | None = None
    model_key: str = ""
    base_url: str | None = field(default=None, repr=False)
    base_url_key: str = ""
    timeout: float = 30.0
    max_concurrency: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return what tells this endpoint from others in a shared store.

        Another key, address or model has its own limits. The key is in it as a hash
        that cannot be turned back: it is long and random.
        """
        parts = json.dumps([self.api_key, self.base_url, self.model])
        return f"{self.name}:{hashlib.sha256(parts.encode()).hexdigest()[:20]}"


def setting_key(provider: str, setting: str) -> str:
    """Return the key of a provider's setting, e.g. LLM_CLAUDE_MODEL."""
    return f"{_own_prefix(provider)}{setting.upper()}"


def default_api_key_name(provider: str) -> str:
    """Return the key that holds a provider's API key by default."""
    return f"{_key_part(provider)}_API_KEY"


def _own_prefix(provider: str) -> str:
    """Return how the keys of a provider's settings begin, e.g. LLM_CLAUDE_."""
    return f"{PREFIX}{_key_part(provider)}_"


def _key_part(provider: str) -> str:
    return re.sub(r"\W", "_", provider).upper()
