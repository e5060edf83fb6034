"""The providers of an app in order."""

from collections.abc import Sequence

from .breaker import Breaker
from .clock import Clock
from .deadline import Deadline
from .entry import ChainEntry
from .lane import Lane
from .outcome import Outcome
from .retry import RetryPolicy
from .types import Request
from .walk import Walk
from .workers import Workers


class Chain:
    """The providers of one app in order. Holds no state of a call.

    Args:
        entries: The providers, the primary first.
        breaker: Knows which of them rest.
        sender: Sender of the signals.
        fallback_on_blocked: Whether a refusal is taken to the next provider.
        clock: Where time is read and waited for.
    """

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        *,
        breaker: Breaker,
        sender: object,
        fallback_on_blocked: bool,
        clock: Clock,
    ) -> None:
        self.entries = tuple(entries)
        self.breaker = breaker
        self.sender = sender
        self.fallback_on_blocked = fallback_on_blocked
        self.clock = clock
        self.secrets = tuple(key for each in entries for key in each.secrets if key)
        workers = Workers(clock)
        self.lanes = {
            each.name: Lane(each.max_concurrency, workers, clock) for each in entries
        }

    def run(self, request: Request, policy: RetryPolicy, deadline: Deadline) -> Outcome:
        """Walk the chain until a provider answers. Raises for no provider's failure.

        Args:
            request: What to ask.
            policy: When to ask the same provider again.
            deadline: The time for all of it.
        """
        return Walk(self, request, policy, deadline).run()
