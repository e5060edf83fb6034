"""The settings of an app and of each provider."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..resilience.circuit_breaker import BreakerPolicy
from ..resilience.retry import PRESETS, RetryPolicy, StreamLimits
from .parsers import (
    Parser,
    flag,
    fraction,
    names,
    one_entry,
    one_of,
    seconds,
    text,
    unless_none,
    url_prefix,
    whole,
)
from .prices import TokenPrice, own_prices
from .reader import DEFAULT, Reader
from .state_url import state_url


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

    @classmethod
    def read(cls, reader: Reader) -> "Observing":
        """Return the settings; what is wrong stays in `reader.faults`."""
        usual = cls()
        usage_url = reader.read("LLM_USAGE_URL", text, usual.usage_url)
        registry = reader.read("LLM_METRICS_REGISTRY", _as_it_is, None)
        return cls(
            log_content=reader.read("LLM_LOG_CONTENT", flag, usual.log_content),
            usage=reader.read("LLM_USAGE", flag, bool(usage_url)),
            usage_url=usage_url,
            usage_days=reader.read(
                "LLM_USAGE_DAYS", unless_none(whole(1)), usual.usage_days
            ),
            metrics=reader.read("LLM_METRICS", flag, registry is not None),
            metrics_registry=registry,
            traces=reader.read("LLM_TRACES", flag, usual.traces),
            dashboard=reader.read("LLM_DASHBOARD", flag, usual.dashboard),
        )


_as_it_is: Parser[object] = lambda value: value  # noqa: E731  # that is all of it


_PRESET = "patient"


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """The settings of one app that concern no single provider.

    Attributes:
        primary: First chain entry: a name, "name:model", or a provider object.
        fallbacks: The entries after it.
        retry: How long to insist on one provider: the preset's numbers, as changed.
        deadline: Seconds for a whole call; None for no limit.
        limits: How long a stream may be silent.
        heartbeat: Seconds between two signs of life of a silent `stream_response`.
        breaker: When a provider rests, and for how long.
        state_url: Where the circuits are kept.
        warm_up: What is made ready before the first call: "off", "import" or "full".
        timeout: Seconds for one attempt.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        url_prefix: Path under which the blueprint is registered.
        prices: What tokens cost by the app's own word, by model, chain entry or
            provider.
    """

    primary: Any = "gemini"
    fallbacks: tuple[Any, ...] = ("claude",)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    deadline: float | None = None
    limits: StreamLimits = field(default_factory=StreamLimits)
    heartbeat: float = 15.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    state_url: str = field(default="memory://", repr=False)
    warm_up: str = "off"
    timeout: float = 30.0
    fallback_on_blocked: bool = False
    url_prefix: str = "/llm"
    observing: Observing = field(default_factory=Observing)
    prices: Mapping[str, TokenPrice] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether circuits are kept where other processes see them."""
        return self.state_url != "memory://"

    @classmethod
    def read(cls, reader: Reader) -> "LLMConfig":
        """Return the settings; what is wrong stays in `reader.faults`."""
        usual = cls()
        above_zero = seconds(above_zero=True)
        preset_name = reader.read("LLM_RETRY_PRESET", one_of(*PRESETS), _PRESET)
        preset = PRESETS[preset_name]
        with reader.usually(_source_of(preset_name)):
            retry = _retry(reader, preset.retry)
            deadline = reader.read(
                "LLM_DEADLINE", unless_none(above_zero), preset.deadline
            )
            limits = _limits(reader, preset.limits)
        return cls(
            primary=reader.read("LLM_PRIMARY_PROVIDER", one_entry, usual.primary),
            fallbacks=reader.read("LLM_FALLBACK_PROVIDERS", names, usual.fallbacks),
            retry=retry,
            deadline=deadline,
            limits=limits,
            heartbeat=reader.read("LLM_HEARTBEAT", above_zero, usual.heartbeat),
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
            observing=Observing.read(reader),
            prices=own_prices(reader),
        )


def _source_of(preset: str) -> str:
    """Return where the numbers of a preset come from, for the reader's notes."""
    return DEFAULT if preset == _PRESET else f"preset {preset}"


def _retry(reader: Reader, usual: RetryPolicy) -> RetryPolicy:
    """Return the preset's policy, with each number that is set alone."""
    delay, max_delay = _growing(
        reader,
        ("LLM_RETRY_DELAY", "LLM_RETRY_MAX_DELAY"),
        (usual.delay, usual.max_delay),
    )
    return RetryPolicy(
        max_attempts=reader.read("LLM_MAX_RETRIES", whole(), usual.max_attempts),
        delay=delay,
        max_delay=max_delay,
        jitter=reader.read("LLM_RETRY_JITTER", fraction, usual.jitter),
        max_retry_after=reader.read(
            "LLM_RETRY_MAX_RETRY_AFTER", seconds(), usual.max_retry_after
        ),
        retry_timeouts=reader.read("LLM_RETRY_TIMEOUTS", flag, usual.retry_timeouts),
    )


def _limits(reader: Reader, usual: StreamLimits) -> StreamLimits:
    """Return the preset's limits of a stream, each as it is set alone."""
    limit = unless_none(seconds(above_zero=True))
    return StreamLimits(
        first_token=reader.read("LLM_FIRST_TOKEN_TIMEOUT", limit, usual.first_token),
        stall=reader.read("LLM_STALL_TIMEOUT", limit, usual.stall),
    )


def _growing(
    reader: Reader, keys: tuple[str, str], usual: tuple[float, float]
) -> tuple[float, float]:
    """Return the first and the longest of times that grow, in seconds.

    A first one beyond the longest raises it, unless both were set.
    """
    first, most = usual
    low = reader.read(keys[0], seconds(), first)
    if reader.raw(keys[0]) is not None:
        most = max(most, low)
    high = reader.read(keys[1], seconds(), most)
    if reader.raw(keys[0]) is not None and high < low:
        reader.faults.append(f"{keys[1]} must not be less than {keys[0]}")
    return low, high


def _breaker(reader: Reader, usual: BreakerPolicy) -> BreakerPolicy:
    """Return when a provider rests, and for how long."""
    above_zero = seconds(above_zero=True)
    rest, max_rest = _growing(
        reader,
        ("LLM_BREAKER_REST", "LLM_BREAKER_MAX_REST"),
        (usual.rest, usual.max_rest),
    )
    return BreakerPolicy(
        failures=reader.read("LLM_BREAKER_FAILURES", whole(), usual.failures),
        window=reader.read("LLM_BREAKER_WINDOW", above_zero, usual.window),
        rest=rest,
        max_rest=max_rest,
        max_cooldown=reader.read("LLM_MAX_COOLDOWN", seconds(), usual.max_cooldown),
    )


_PLAIN = (str, int, float)


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
        labels: Where settings are written that have no configuration key of their own.
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

    def fingerprint(self) -> str:
        """Return what tells this endpoint from others in a shared store.

        Another key, address, model or project has its own limits. The key is in it as
        a hash that cannot be turned back: it is long and random.
        """
        # Of an object, such as credentials, each process would make another hash.
        plain = (each for each in self.options.items() if isinstance(each[1], _PLAIN))
        facts = (self.api_key, self.base_url, self.model, *sorted(plain))
        return fingerprint(self.name, *facts)


def fingerprint(name: str, *facts: object) -> str:
    """Return a name with a hash of what else makes an endpoint the one it is."""
    digest = hashlib.sha256(repr(facts).encode(errors="replace"))
    return f"{name}:{digest.hexdigest()[:20]}"
