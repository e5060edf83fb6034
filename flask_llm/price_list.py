"""The prices that providers publish, as the package genai-prices collects them.

It is part of the extra "prices", and imported with the first price that is looked up.
Nothing is fetched: the list is that of the installed version, unless the app itself
runs the package's `UpdatePrices`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from .config.prices import KEY

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

MODULE = "genai_prices"

_PER = 1_000_000
_REQUESTS_PER = 1000


class NotListed(Exception):  # noqa: N818  # no fault of anybody's
    """There is no such price; the text says so, and what to do about it."""


class ListedPrice:
    """What a model's tokens cost by its provider's list, which time and size change.

    Computed here: the package's own `calc_price` takes 20 times as long, since it
    tells apart what is never counted here, such as pictures and searches.

    Args:
        model: The package's entry.
    """

    def __init__(self, model: "ModelInfo") -> None:
        self._model = model

    def cost(self, taken: int, given: int, at: float) -> float:
        """Return what an answer has cost in US dollars.

        Args:
            taken: Tokens of its prompt.
            given: Tokens of the answer, thinking included.
            at: When it came, in seconds since 1970.
        """
        now = self._model.get_prices(datetime.fromtimestamp(at, UTC))
        tokens = _rate(now.input_mtok, taken) * taken
        tokens += _rate(now.output_mtok, taken) * given
        each = _rate(now.requests_kcount or Decimal(0), taken)
        return float(tokens / _PER + each / _REQUESTS_PER)


def listed(address: str, names: Sequence[str]) -> ListedPrice:
    """Return the price of a model.

    Args:
        address: Where it is asked, which tells whose list applies.
        names: Its names, the best one first.

    Raises:
        NotListed: The list has none of them there, or none that goes by tokens.
    """
    import genai_prices

    usage = genai_prices.Usage(input_tokens=1, output_tokens=1)
    source = f"in genai-prices {genai_prices.__version__}"
    what = "price"
    for name in names:
        try:
            found = genai_prices.calc_price(usage, name, provider_api_url=address)
        except LookupError as missing:
            if "provider_api_url" in str(missing):  # it knows whose names they are
                what = "price at this address"
            continue
        if _goes_by_tokens(found.model_price):
            return ListedPrice(found.model)
        what = "price per token"
    raise NotListed(f"has no {what} {source}: set {KEY}")


def _goes_by_tokens(price: "ModelPrice") -> bool:
    """Return whether both sides have a price; that of no price at all would be 0."""
    return price.input_mtok is not None and price.output_mtok is not None


def _rate(price: "Decimal | TieredPrices | None", taken: int) -> Decimal:
    """Return the dollars that hold for a prompt of so many tokens."""
    if isinstance(price, Decimal):
        return price
    if price is None:
        raise NotListed(f"has no price per token now: set {KEY}")
    above = [tier.price for tier in price.tiers if taken > tier.start]
    return above[-1] if above else price.base
