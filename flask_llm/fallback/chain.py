"""The providers of an app in order."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..filters import Filters
from ..resilience.bulkhead import Bulkhead
from ..resilience.circuit_breaker import BreakerPolicy
from ..resilience.clock import Clock
from ..resilience.deadline import Deadline
from ..resilience.retry import RetryPolicy, StreamLimits
from ..resilience.storage.base import MemoryStorage
from ..resilience.thread_pool import ThreadPool
from ..types import Request
from .call import Call
from .health import Breaker
from .pricing import Prices
from .provider_handle import ProviderHandle
from .result import CallResult
from .stream import StreamWalk

if TYPE_CHECKING:
    from .logs import Content


class Chain:
    """The providers of one app in order. Holds no state of a call.

    Args:
        entries: The providers, the primary first.
        breaker: Knows which of them rest.
        sender: Sender of the signals.
        filters: What looks at the answers.
        prices: What tokens cost.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        clock: Where time is read and waited for.
        log_content: Whether prompts and answers are logged.

    Attributes:
        current: The provider that answered last; the primary before that.
    """

    def __init__(  # noqa: PLR0913  # what calls share
        self,
        entries: Sequence[ProviderHandle],
        *,
        breaker: Breaker,
        sender: object,
        filters: Filters,
        fallback_on_blocked: bool,
        clock: Clock,
        prices: Prices,
        log_content: bool = False,
    ) -> None:
        self.entries = tuple(entries)
        self.breaker = breaker
        self.sender = sender
        self.filters = filters
        self.prices = prices
        self.fallback_on_blocked = fallback_on_blocked
        self.clock = clock
        self.secrets = tuple(key for each in entries for key in each.secrets if key)
        self.content = _content(self.secrets) if log_content else None
        self.current = self.entries[0]
        workers = ThreadPool(clock)
        self.bulkheads = {
            each.name: Bulkhead(each.max_concurrency, workers, clock)
            for each in entries
        }

    def alone(self, entry: ProviderHandle, policy: BreakerPolicy) -> "Chain":
        """Return a chain of one of its links, which nobody watches.

        It shares no circuit and no filter with this one, but its bulkhead.

        Args:
            entry: The link.
            policy: When it rests.
        """
        breaker = Breaker([entry], MemoryStorage(self.clock), policy, self.clock)
        chain = Chain(
            [entry],
            breaker=breaker,
            sender=None,
            filters=Filters(),
            fallback_on_blocked=False,
            clock=self.clock,
            prices=self.prices,
        )
        chain.sender = chain
        chain.secrets = self.secrets
        chain.bulkheads = {entry.name: self.bulkheads[entry.name]}
        return chain

    def answered_by(self, name: str) -> None:
        """Note which provider answered last."""
        if self.current.name != name:
            self.current = next(each for each in self.entries if each.name == name)

    def run(
        self, request: Request, policy: RetryPolicy, deadline: Deadline
    ) -> CallResult:
        """Walk the chain until a provider answers. Raises for no provider's failure.

        Args:
            request: What to ask.
            policy: When to ask the same provider again.
            deadline: The time for all of it.
        """
        walk = Call(self, request, policy, deadline)
        walk.outcome.response = walk.run()
        return walk.outcome

    def stream(
        self,
        request: Request,
        policy: RetryPolicy,
        deadline: Deadline,
        limits: StreamLimits,
        is_gone: Callable[[], bool] | None = None,
    ) -> StreamWalk:
        """Return a walk for the first text of a stream; nobody has been asked yet.

        Args:
            request: What to ask.
            policy: When to ask the same provider again.
            deadline: The time for all of it, until the last text.
            limits: How long a stream may be silent.
            is_gone: Tells whether nobody waits for the first text any more.
        """
        return StreamWalk(self, request, policy, deadline, limits, is_gone)


def _content(secrets: tuple[str, ...]) -> "Content":
    from .logs import Content

    return Content(secrets)
