"""The providers of an app in order."""

from collections.abc import Callable, Sequence

from ..errors import let_through
from ..filters import Filters
from ..resilience.bulkhead import Bulkhead
from ..resilience.circuit_breaker import BreakerPolicy
from ..resilience.clock import Clock
from ..resilience.limits import Counters
from ..resilience.storage.base import MemoryStorage
from ..resilience.thread_pool import ThreadPool
from .health import CircuitBreakers
from .logs import Content, log
from .pricing import Prices
from .provider_handle import ProviderHandle
from .rate_limits import RateLimits, RetryBudget


class Chain:
    """The providers of one app in order. Holds no state of a call.

    Args:
        handles: The providers, the primary first.
        breakers: Their circuit breakers.
        sender: Sender of the signals.
        filters: What looks at the answers.
        prices: What tokens cost.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        clock: Where time is read and waited for.
        log_content: Whether prompts and answers are logged.
        counters: Where the app's own limits are counted; None if there are none.
        retry_budget: The most retries, as a share of first attempts; None for any.

    Attributes:
        answered: Name of the provider that answered last in this process; empty before.
        on_first_answer: Called when a process has its first answer.
    """

    on_first_answer: Callable[[], None] | None = None

    def __init__(  # noqa: PLR0913  # what calls share
        self,
        handles: Sequence[ProviderHandle],
        *,
        breakers: CircuitBreakers,
        sender: object,
        filters: Filters,
        fallback_on_blocked: bool,
        clock: Clock,
        prices: Prices,
        log_content: bool = False,
        counters: Counters | None = None,
        retry_budget: float | None = None,
    ) -> None:
        self.handles = tuple(handles)
        self.breakers = breakers
        self.sender = sender
        self.filters = filters
        self.prices = prices
        self.fallback_on_blocked = fallback_on_blocked
        self.clock = clock
        self.secrets = tuple(key for each in handles for key in each.secrets if key)
        self.content = Content(self.secrets) if log_content else None
        self.answered = ""
        self.limits = RateLimits(handles, counters, clock) if counters else None
        self.retry_budget = None
        if counters is not None and retry_budget is not None:
            self.retry_budget = RetryBudget(retry_budget, counters)
        workers = ThreadPool(clock)
        self.bulkheads = {
            each.name: Bulkhead(each.max_concurrency, workers, clock)
            for each in handles
        }

    def alone(self, handle: ProviderHandle, policy: BreakerPolicy) -> "Chain":
        """Return a chain of one of its providers, which nobody watches.

        It shares no circuit and no filter with this one, but its bulkhead.

        Args:
            handle: The provider.
            policy: When its circuit opens.
        """
        memory = MemoryStorage(self.clock)
        breakers = CircuitBreakers([handle], memory, policy, self.clock)
        chain = Chain(
            [handle],
            breakers=breakers,
            sender=None,
            filters=Filters(),
            fallback_on_blocked=False,
            clock=self.clock,
            prices=self.prices,
        )
        chain.sender = chain
        chain.secrets = self.secrets
        chain.bulkheads = {handle.name: self.bulkheads[handle.name]}
        return chain

    @property
    def current(self) -> ProviderHandle:
        """The provider that answered last; the primary before that."""
        same = (each for each in self.handles if each.name == self.answered)
        return next(same, self.handles[0])

    def tagged(self, tags: frozenset[str]) -> tuple[ProviderHandle, ...]:
        """Return the providers that have all of some tags."""
        return tuple(
            each
            for each in self.handles
            if each.settings and tags <= each.settings.tags
        )

    def answered_by(self, name: str) -> None:
        """Note which provider answered last."""
        is_first, self.answered = not self.answered, name
        if is_first and self.on_first_answer is not None:
            try:
                self.on_first_answer()
            except Exception as error:  # noqa: BLE001  # it is logged
                let_through(error)
                log.exception("What follows a first answer has failed")

    def prepare(self, goes_on: Callable[[], bool]) -> None:
        """Make SDKs and clients ready, without a network or a model in this process.

        Args:
            goes_on: Asked before each provider.
        """
        for handle in self.handles:
            if goes_on():
                handle.prepare()
                self.prices.look_up(handle)
