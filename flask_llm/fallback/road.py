"""What one call needs to know of the chain, and of a request on its way."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..filters import Filters
from ..resilience.bulkhead import Bulkhead
from ..resilience.clock import Clock
from .health import Breaker
from .pricing import Prices
from .provider_handle import ProviderHandle

if TYPE_CHECKING:
    from .logs import Content

MOST = 0.9
"""A part of its time that makes no difference to an attempt."""


class Road(Protocol):
    """What a walk needs to know of the chain."""

    entries: tuple[ProviderHandle, ...]
    breaker: Breaker
    bulkheads: dict[str, Bulkhead]
    secrets: tuple[str, ...]
    content: "Content | None"
    filters: Filters
    prices: Prices
    fallback_on_blocked: bool
    sender: object
    clock: Clock


@dataclass(slots=True)
class Sent:
    """When a request went to a provider, and how much time it had.

    Attributes:
        at: When it went there.
        limit: Seconds that it had without a queue in this process; None for no limit.
        given: Seconds that were left for the provider itself.
        settled: Whether somebody notes how it went.
    """

    at: float
    limit: float | None = None
    given: float | None = None
    settled: bool = False
