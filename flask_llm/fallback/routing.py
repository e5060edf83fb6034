"""Who is asked first: by the configured order, by price, or by turns."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from ..config.prices import PaidTokens
from ..types import Request
from .pricing import Prices
from .provider_handle import ProviderHandle
from .rate_limits import estimated

ORDER = "order"
ROUTINGS = (ORDER, "cheapest", "spread")
"""How the first provider of a call is chosen."""


class Route(NamedTuple):
    """Whom a call asks, and why in this order.

    Attributes:
        handles: The providers in their order.
        why: Why the first one is the first; None by the configured order.
    """

    handles: tuple[ProviderHandle, ...]
    why: str | None = None


def route(
    how: str, handles: Sequence[ProviderHandle], request: Request, prices: Prices
) -> Route:
    """Put the providers of a chain into an order for one call.

    Whoever cannot be asked is left out later, as ever: this says only who comes first.

    Args:
        how: One of `ROUTINGS`.
        handles: The providers in the configured order.
        request: What is asked.
        prices: What tokens cost.
    """
    if how == "cheapest":
        return _cheapest(handles, request, prices)
    if how == "spread":
        return _spread(handles)
    return Route(tuple(handles))


def _cheapest(
    handles: Sequence[ProviderHandle], request: Request, prices: Prices
) -> Route:
    """Put the least expected price first; who has none comes last."""
    paid, last = PaidTokens(estimated(request), request.max_tokens), math.inf
    costs = {each: prices.expected(each, paid) for each in handles}
    known = {each: last if cost is None else cost for each, cost in costs.items()}
    ordered = tuple(sorted(handles, key=known.__getitem__))  # ties as configured
    cost = costs[ordered[0]] if ordered else None
    if cost is None:
        return Route(ordered, "no price is known")
    return Route(ordered, f"cheapest, at most ${cost:.6f}")


def _spread(handles: Sequence[ProviderHandle]) -> Route:
    """Put one first by chance, by its weight; the others follow as configured."""
    weights = [_weight(each) for each in handles]
    if not any(weights):
        return Route(tuple(handles))
    (first,) = random.choices(handles, weights)  # noqa: S311  # no secret
    rest = (each for each in handles if each is not first)
    part = f"{_weight(first):g} of {sum(weights):g}"
    return Route((first, *rest), f"spread, {part}")


def _weight(handle: ProviderHandle) -> float:
    return 1.0 if handle.settings is None else handle.settings.weight
