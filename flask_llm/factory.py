"""The factory: arguments become a request, the chain's outcome becomes a response."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from .answers import failure, success
from .assembly import chain_entries, spare_entries, written_chain
from .breaker import Breaker
from .chain import Chain
from .clock import SYSTEM, Clock
from .config import LLMConfig
from .deadline import Deadline
from .endpoints import Directory
from .entry import ChainEntry
from .errors import InvalidRequestError
from .providers.base import LLMProvider
from .reader import Reader
from .registry import Registry
from .retry import RetryPolicy
from .signals import GenerationFinished, emit, generation_finished
from .state.urls import store_of
from .types import LLMResponse, Request, require

# Beyond this a deadline is none; threads cannot wait for much longer either.
_LONGEST_S = 86_400.0 * 30

log = logging.getLogger("flask_llm")


class LLMFactory:
    """Answers prompts from the first provider of a chain that can.

    Safe to share: threads never see each other's position in the chain. Nothing is
    connected before the first call.

    Args:
        primary_provider: First chain entry: a registered name, "name:model", or an
            `LLMProvider` object. Default: LLM_PRIMARY_PROVIDER.
        fallback_providers: The entries after it. Default: LLM_FALLBACK_PROVIDERS.
        config: Where the keys are looked up before the environment. Default: the
            current app's configuration inside an app context, else nothing.
        sender: Sender of the signals. Default: the factory itself.
        clock: Where time is read and waited for; the machine's by default.

    Raises:
        ConfigurationError: Something in the configuration is wrong. A missing key is
            not: that provider is unavailable.

    Attributes:
        PROVIDER_REGISTRY: Provider classes by name.
        config: The general settings in force.
        entries: The links of the chain, in order.
        spare: The endpoints of LLM_PROVIDERS outside of the chain.
        notices: What is odd in the configuration, a sentence each.
    """

    PROVIDER_REGISTRY: ClassVar[Registry] = Registry()

    def __init__(
        self,
        primary_provider: str | LLMProvider | None = None,
        fallback_providers: Iterable[str | LLMProvider] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        sender: object = None,
        clock: Clock = SYSTEM,
    ) -> None:
        reader = Reader(config)
        self.config = LLMConfig.read(reader)
        directory = Directory.read(reader, self.PROVIDER_REGISTRY)
        written = written_chain(
            reader, self.config, primary_provider, fallback_providers
        )
        entries = chain_entries(reader, self.config, directory, written)
        self.spare = tuple(spare_entries(reader, self.config, directory, written))
        settings = [each.settings for each in (*entries, *self.spare) if each.settings]
        in_use = {each.name: each.api_key_name for each in settings}
        reader.finish(in_use, set(directory) - in_use.keys())
        self.notices = (*self.PROVIDER_REGISTRY.left_out, *reader.warnings)
        self._sender = self if sender is None else sender
        self._clock = clock
        self.entries = tuple(entries)
        self._current = entries[0]
        store = store_of(self.config.state_url, clock)
        self._chain = Chain(
            entries,
            breaker=Breaker(entries, store, self.config.breaker, clock),
            sender=self._sender,
            fallback_on_blocked=self.config.fallback_on_blocked,
            clock=clock,
        )
        log.info("LLMFactory initialized with primary provider: %s", entries[0].name)

    @classmethod
    def register_provider(cls, name: str, provider_class: type[LLMProvider]) -> None:
        """Make a provider class known under a name, for every factory made later.

        Args:
            name: The name used in the configuration.
            provider_class: A subclass of `LLMProvider`.

        Raises:
            ValueError: The class does not inherit from `LLMProvider` or is incomplete,
                or the name could not stand in the configuration.
        """
        cls.PROVIDER_REGISTRY[name] = provider_class

    def generate_content(
        self,
        prompt: str,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        deadline: float | None = None,
    ) -> LLMResponse:
        """Answer a prompt; whatever a provider does, this returns a response.

        A quota error moves on to the next provider at once. A transient error is
        retried on the same provider, with waits that double, before moving on. A
        provider that said when to come back, or failed repeatedly, is left out until
        then.

        Args:
            prompt: The text to send.
            temperature: Randomness, from 0.0 upwards. Models that take none get none,
                and `metadata["warnings"]` says so.
            max_tokens: The most tokens that the answer may have.
            max_retries: The most attempts on one provider for transient errors.
                Default: LLM_MAX_RETRIES.
            retry_delay: Seconds of the first wait. Default: LLM_RETRY_DELAY.
            deadline: Seconds for the whole call: attempts, waits and fallbacks;
                ``math.inf`` for no limit. Default: LLM_DEADLINE.

        Returns:
            The answer with ``success=True``, or ``success=False`` and the `error`.

        Raises:
            TypeError: An argument has the wrong type.
        """
        started = self._clock.monotonic()
        request = Request(prompt, temperature, max_tokens)
        policy = self._policy(max_retries, retry_delay)
        response = self._answer(request, policy, self._deadline(deadline))
        response.metadata["latency_s"] = self._clock.monotonic() - started
        if generation_finished.receivers:
            finished = GenerationFinished(request, response)
            emit(generation_finished, self._sender, finished)
        return response

    def warm_up(self, *, full: bool = True) -> None:
        """Make the providers ready, so that the first prompt need not wait for it.

        Raises nothing: what cannot be made ready is logged, and fails when it is used.

        Args:
            full: Whether clients are made and the local model is loaded, which must
                happen in the process that uses them, after any fork. Else only the
                SDKs are imported.
        """
        for entry in self._chain.entries:
            entry.warm_up(full=full)

    @property
    def current_provider(self) -> LLMProvider:
        """The provider that answered last; the primary before that."""
        return self._current.provider

    def get_provider_status(self, *, detail: bool = False) -> dict[str, Any]:
        """Return which providers could be asked, without asking any.

        Args:
            detail: Whether each provider also has a "reason", which says what is
                missing or until when it rests, or is None.

        Returns:
            A dict of "primary" (``{"name", "available"}``), "fallbacks" (a list of
            such) and "current", the provider that answered last, the primary before
            that.
        """
        shown = self._detailed if detail else _status
        primary, *fallbacks = map(shown, self._chain.entries)
        return {
            "primary": primary,
            "fallbacks": fallbacks,
            "current": self._current.name,
        }

    def _detailed(self, entry: ChainEntry) -> dict[str, Any]:
        """Return an entry's status with the reason why it would not be asked."""
        error = entry.unavailable() or self._chain.breaker.rest_of(entry)
        return _status(entry) | {"reason": error.summary if error else None}

    def _policy(
        self, max_retries: int | None, retry_delay: float | None
    ) -> RetryPolicy:
        policy = self.config.retry
        if max_retries is not None:
            policy = replace(policy, max_attempts=max_retries)
        if retry_delay is not None:
            policy = replace(policy, delay=retry_delay)
        return policy

    def _deadline(self, deadline: float | None) -> Deadline:
        usual = self.config.deadline
        if deadline is None:
            return Deadline(usual, self._clock)
        seconds = _limit(deadline)
        hurried = seconds is not None and (usual is None or seconds < usual)
        return Deadline(seconds, self._clock, hurried=hurried)

    def _answer(
        self, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> LLMResponse:
        """Return the chain's answer, or why there is none."""
        if request.fault is not None:
            error = InvalidRequestError(provider=self._chain.entries[0].name)
            return failure(f"No provider was asked: {request.fault}", error, [])
        outcome = self._chain.run(request, policy, deadline)
        attempts = [each.as_dict() for each in outcome.attempts]
        if outcome.entry is None or outcome.response is None:
            story = outcome.story(detailed=True)
            return failure(story, outcome.telling_error(), attempts)
        self._current = outcome.entry
        return success(outcome.entry.name, outcome.response, attempts)


def _limit(deadline: float) -> float | None:
    """Return the seconds of a call's own deadline; None for no limit.

    What is left of a caller's time may be nothing: that is a deadline too.
    """
    require("deadline", deadline, int, float)
    if deadline != deadline:  # noqa: PLR0124  # nan; math.isnan() takes no long int
        raise TypeError("deadline must be a number of seconds, not nan")
    return None if deadline > _LONGEST_S else float(max(0.0, deadline))


def _status(entry: ChainEntry) -> dict[str, Any]:
    return {"name": entry.name, "available": entry.unavailable() is None}
