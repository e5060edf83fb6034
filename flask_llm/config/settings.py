"""The settings of an app and of each provider."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ..errors import ConfigurationError
from ..resilience.circuit_breaker import BreakerPolicy
from ..resilience.limits import Rate
from ..resilience.retry import PRESETS, RetryPolicy, StreamLimits
from .parsers import (
    Parser,
    flag,
    fraction,
    mapping,
    one_of,
    one_provider,
    providers,
    seconds,
    share,
    shown,
    tags,
    text,
    unless_none,
    url_prefix,
    whole,
)
from .prices import TokenPrice, own_prices
from .reader import DEFAULT, Reader
from .state_url import state_url

MAX_ANSWER_BYTES = 32 * 2**20
"""What is read of an answer's body by default: some hundred times the longest one."""


@dataclass(frozen=True, slots=True)
class Observing:
    """Which observers are on.

    Attributes:
        log_content: Whether prompts and answers are logged, redacted.
        usage: Whether calls are written to a database.
        usage_url: Which one; "" for SQLite in the app's instance folder.
        usage_days: Days for which its rows are kept; None for ever.
        metrics: Whether there are Prometheus metrics.
        metrics_registry: The app's own registry for them; None for the extension's.
        traces: Whether there are OpenTelemetry spans.
        dashboard: Whether there is the dashboard.
    """

    log_content: bool = False
    usage: bool = False
    usage_url: str = field(default="", repr=False)
    usage_days: int | None = 90
    metrics: bool = False
    metrics_registry: object = None
    traces: bool = False
    dashboard: bool = True


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a purpose gets.

    Attributes:
        only: The tags that a provider must have to be asked; a call may add some.
        deadline: Seconds for a whole call, unless that says otherwise.
    """

    only: frozenset[str] = frozenset()
    deadline: float | None = None


_OF_PURPOSE: Mapping[str, Parser[Any]] = {
    "only": tags,
    "deadline": seconds(above_zero=True),
}


def purposes(value: Any) -> Mapping[str, Purpose]:
    """Parse what purposes get, by their names.

    Raises:
        ConfigurationError: With each fault as the second half of a sentence.
        ValueError: It is no mapping, nor the JSON of one.
    """
    written = mapping("settings by purpose")(value)
    found, faults = {}, []
    for name, own in written.items():
        if not isinstance(own, Mapping):
            faults.append(f"must have a dict of settings for {shown(name)}")
            continue
        faults += [
            f"has an unknown setting {shown(each)} for {shown(name)}"
            f" (known: {', '.join(_OF_PURPOSE)})"
            for each in own.keys() - _OF_PURPOSE.keys()
        ]
        known: dict[str, Any] = {}
        for each in own.keys() & _OF_PURPOSE.keys():
            try:
                known[each] = _OF_PURPOSE[each](own[each])
            except ValueError as fault:
                faults.append(f"[{name!r}][{each!r}] {fault}")
        found[str(name)] = Purpose(**known)
    if faults:
        raise ConfigurationError(faults)
    return found


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """The settings of one app that concern no single provider.

    Attributes:
        primary: First provider of the chain: a name, "name:model", or an object.
        fallbacks: The providers after it.
        retry: How long to insist on one provider: the preset's numbers, as changed.
        deadline: Seconds for a whole call; None for no limit.
        retry_budget: The most retries of a minute, as a share of the first attempts;
            None for no limit.
        limits: How long a stream may be silent.
        heartbeat: Seconds between two signs of life of a silent `stream_response`.
        breaker: When the circuit of a provider opens, and for how long.
        state_url: Where the circuits are kept.
        warm_up: What is made ready ahead: nothing ("off"), SDKs and clients after the
            first answer ("after"), SDKs at the start ("import"), or all ("full").
        timeout: Seconds for one attempt.
        max_answer_bytes: How much of an answer's body is read.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        url_prefix: Path under which the blueprint is registered.
        routing: Who is asked first.
        purposes: What calls get by their purpose.
        observing: Which observers are on.
        prices: The app's own prices of tokens, by model, "name:model" or provider.
    """

    primary: Any = "gemini"
    fallbacks: tuple[Any, ...] = ("claude",)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    deadline: float | None = None
    retry_budget: float | None = None
    limits: StreamLimits = field(default_factory=StreamLimits)
    heartbeat: float = 15.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    state_url: str = field(default="memory://", repr=False)
    warm_up: str = "after"
    timeout: float = 30.0
    max_answer_bytes: int = MAX_ANSWER_BYTES
    fallback_on_blocked: bool = False
    url_prefix: str = "/llm"
    routing: str = "order"
    purposes: Mapping[str, Purpose] = field(default_factory=dict)
    observing: Observing = field(default_factory=Observing)
    prices: Mapping[str, TokenPrice] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether circuits are kept where other processes see them."""
        return self.state_url != "memory://"

    @classmethod
    def read(cls, reader: Reader) -> "LLMConfig":
        """Return the settings; what is wrong stays in `reader.faults`."""
        name = reader.read("LLM_RETRY_PRESET", one_of(*PRESETS), _PRESET)
        preset = PRESETS[name]
        usual = cls(retry=preset.retry, deadline=preset.deadline, limits=preset.limits)
        found: dict[str, Any] = {}
        for key, attribute, parse in SETTINGS:
            is_of_preset = attribute.startswith(_OF_PRESET) and name != _PRESET
            default = _default(attribute, usual, found)
            unset = f"preset {name}" if is_of_preset else DEFAULT
            found[attribute] = reader.read(key, parse, default, unset)
        _require_growth(reader, found)
        return cls(**_grouped(found))


_PRESET = "patient"
_OF_PRESET = ("retry.", "limits.", "deadline")

_above_zero = seconds(above_zero=True)
_limit = unless_none(_above_zero)

SETTINGS: tuple[tuple[str, str, Parser[Any]], ...] = (
    ("LLM_RETRY_DELAY", "retry.delay", seconds()),
    ("LLM_RETRY_MAX_DELAY", "retry.max_delay", seconds()),
    ("LLM_MAX_RETRIES", "retry.max_attempts", whole()),
    ("LLM_RETRY_JITTER", "retry.jitter", fraction),
    ("LLM_RETRY_MAX_RETRY_AFTER", "retry.max_retry_after", seconds()),
    ("LLM_RETRY_TIMEOUTS", "retry.retry_timeouts", flag),
    ("LLM_DEADLINE", "deadline", _limit),
    ("LLM_RETRY_BUDGET", "retry_budget", unless_none(share)),
    ("LLM_FIRST_TOKEN_TIMEOUT", "limits.first_token", _limit),
    ("LLM_STALL_TIMEOUT", "limits.stall", _limit),
    ("LLM_PRIMARY_PROVIDER", "primary", one_provider),
    ("LLM_FALLBACK_PROVIDERS", "fallbacks", providers),
    ("LLM_HEARTBEAT", "heartbeat", _above_zero),
    ("LLM_BREAKER_REST", "breaker.rest", seconds()),
    ("LLM_BREAKER_MAX_REST", "breaker.max_rest", seconds()),
    ("LLM_BREAKER_FAILURES", "breaker.failures", whole()),
    ("LLM_BREAKER_WINDOW", "breaker.window", _above_zero),
    ("LLM_MAX_COOLDOWN", "breaker.max_cooldown", seconds()),
    ("LLM_STATE_URL", "state_url", state_url),
    ("LLM_WARM_UP", "warm_up", one_of("after", "off", "import", "full")),
    ("LLM_TIMEOUT", "timeout", _above_zero),
    ("LLM_MAX_ANSWER_BYTES", "max_answer_bytes", whole(1)),
    ("LLM_FALLBACK_ON_BLOCKED", "fallback_on_blocked", flag),
    ("LLM_URL_PREFIX", "url_prefix", url_prefix),
    ("LLM_ROUTING", "routing", one_of("order", "cheapest", "spread")),
    ("LLM_PURPOSES", "purposes", purposes),
    ("LLM_USAGE_URL", "observing.usage_url", text),
    ("LLM_METRICS_REGISTRY", "observing.metrics_registry", lambda value: value),
    ("LLM_LOG_CONTENT", "observing.log_content", flag),
    ("LLM_USAGE", "observing.usage", flag),
    ("LLM_USAGE_DAYS", "observing.usage_days", unless_none(whole(1))),
    ("LLM_METRICS", "observing.metrics", flag),
    ("LLM_TRACES", "observing.traces", flag),
    ("LLM_DASHBOARD", "observing.dashboard", flag),
    ("LLM_PRICES", "prices", own_prices),
)
"""Key, attribute of `LLMConfig` and parser; in the order in which they are shown."""

_KEYS = {attribute: key for key, attribute, _ in SETTINGS}
# The longest of times that grow, and the first of them.
_GROWING = {"retry.max_delay": "retry.delay", "breaker.max_rest": "breaker.rest"}


def _default(attribute: str, usual: LLMConfig, found: Mapping[str, Any]) -> Any:
    """Return what holds for a setting that is not set, by those before it."""
    default = attrgetter(attribute)(usual)
    if first := _GROWING.get(attribute):
        return max(default, found[first])
    if attribute == "observing.usage":
        return bool(found["observing.usage_url"])
    if attribute == "observing.metrics":
        return found["observing.metrics_registry"] is not None
    return default


def _require_growth(reader: Reader, found: Mapping[str, Any]) -> None:
    for longest, first in _GROWING.items():
        is_set = reader.raw(_KEYS[first]) is not None
        if is_set and found[longest] < found[first]:
            fault = f"{_KEYS[longest]} must not be less than {_KEYS[first]}"
            reader.faults.append(fault)


_PARTS = {
    "retry": RetryPolicy,
    "limits": StreamLimits,
    "breaker": BreakerPolicy,
    "observing": Observing,
}


def _grouped(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all attributes of `LLMConfig`, those of its parts joined."""
    values: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for attribute, value in found.items():
        part, _, name = attribute.rpartition(".")
        parts.get(part, values)[name] = value
    return values | {part: make(**parts[part]) for part, make in _PARTS.items()}


_PLAIN = (str, int, float)


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What one provider is configured to be.

    Attributes:
        name: The provider's name in the registry.
        entry: The name as written in the chain, "claude" or "claude:claude-haiku-5-5".
        api_key: The key; empty if there is none.
        api_key_name: The configuration key that holds it, or should.
        model: Model to use instead of the provider's default.
        model_key: The configuration key to change for another model.
        base_url: Address to use instead of the provider's own.
        base_url_key: The configuration key that holds it.
        timeout: Seconds for one attempt.
        max_concurrency: The most calls at once in a process; None for no limit.
        options: The provider's own settings that are set, by argument name.
        labels: Where settings are written that have no configuration key of their own.
        max_answer_bytes: How much of an answer's body is read.
        rate: The most requests in a time, by the account's own limit; None for none.
        token_rate: The same of tokens, input and output together.
        limit_group: Whose account it is, where several keys share one.
        tags: What the app says of it, such as "eu".
        weight: Its part of the calls where they are spread.
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
    labels: Mapping[str, str] = field(default_factory=dict)
    max_answer_bytes: int = MAX_ANSWER_BYTES
    rate: Rate | None = None
    token_rate: Rate | None = None
    limit_group: str = ""
    tags: frozenset[str] = frozenset()
    weight: float = 1.0

    def fingerprint(self) -> str:
        """Return what identifies this endpoint in a shared storage.

        Another key, address, model or project has its own limits. The key is in it as
        a hash that cannot be turned back: it is long and random.
        """
        # Of an object, such as credentials, each process would make another hash.
        plain = (each for each in self.options.items() if isinstance(each[1], _PLAIN))
        facts = (self.api_key, self.base_url, self.model, *sorted(plain))
        return fingerprint(self.name, *facts)


def account_of(settings: ProviderSettings) -> str:
    """Return what identifies the account whose limits count: a hash of its key."""
    if settings.limit_group:
        return f"group {settings.limit_group}"
    return fingerprint(settings.name, settings.api_key, settings.base_url)


def fingerprint(name: str, *facts: object) -> str:
    """Return a name with a hash of what else makes an endpoint the one it is."""
    digest = hashlib.sha256(repr(facts).encode(errors="replace"))
    return f"{name}:{digest.hexdigest()[:20]}"
