"""What an attempt costs, by the app's prices or by those of genai-prices.

The package is part of the extra "prices", and imported with the first price that is
looked up. Nothing is fetched: the list is that of the installed version, unless the app
itself runs the package's `UpdatePrices`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config.parsers import installed
from ..config.prices import FREE, KEY, PaidTokens, TokenPrice
from ..errors import let_through
from ..resilience.clock import SYSTEM, Clock
from .provider_handle import ProviderHandle

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

MODULE = "genai_prices"

NO_TOKENS = "no tokens were counted"
"""Why the cost of an answer, or of a call, is not known."""

_INSTALL = 'pip install "Flask-LLM[prices]"'

_NO_PRICES: Mapping[str, TokenPrice] = MappingProxyType({})

# For so long a price is kept that was found: an app may renew the list as it runs.
_FRESH_S = 3600

# A server may call its model by another name each time.
_MAX_KEPT = 512


class NotListed(Exception):  # noqa: N818  # no fault of anybody's
    """There is no such price; the text says so, and what to do about it."""


class Prices:
    """Knows what a model's tokens cost. For many threads, and after a fork as before.

    The app's own prices come first; then what is free; then the published ones, by the
    address that is asked. A model at an address that the list does not know has no
    price, whatever its name.

    Args:
        own: The app's own prices, by model, "name:model" or provider.
        clock: Where time is read: some prices change with it.
    """

    def __init__(
        self, own: Mapping[str, TokenPrice] = _NO_PRICES, clock: Clock = SYSTEM
    ) -> None:
        self._own = own
        self._clock = clock
        self._find = lru_cache(_MAX_KEPT)(self._found)

    def cost(
        self,
        handle: ProviderHandle,
        model: str | None,
        usage: dict[str, int] | None,
        *,
        answered: bool = True,
    ) -> tuple[float | None, str | None]:
        """Return what an attempt has cost in US dollars, or None and why not.

        Raises nothing.

        Args:
            handle: The provider that was asked.
            model: The model that answered.
            usage: The tokens counted, if they were.
            answered: Whether there was an answer, or some of one; where nothing was
                counted either, no reason is needed.
        """
        if usage is None and not answered:
            return None, None
        now = self._clock.time()
        price = self._find(handle, model, now // _FRESH_S)
        if usage is None:
            return (0.0, None) if price == FREE else (None, NO_TOKENS)
        if isinstance(price, str):
            return None, price
        try:
            return price.cost(_paid(usage), now), None
        except Exception as exc:  # noqa: BLE001  # a third party's count or list
            let_through(exc)
            return None, _reason(handle, model, exc)

    def expected(self, handle: ProviderHandle, paid: PaidTokens) -> float | None:
        """Return what some tokens would cost at a provider; None if that is not known.

        Args:
            handle: The provider.
            paid: The tokens.
        """
        now = self._clock.time()
        price = self._find(handle, handle.model_name, now // _FRESH_S)
        try:
            return None if isinstance(price, str) else price.cost(paid, now)
        except Exception as exc:  # noqa: BLE001  # a third party's list
            let_through(exc)
            return None

    def look_up(self, handle: ProviderHandle) -> None:
        """Find the price of a provider's model ahead, so that no call waits for it."""
        self._find(handle, handle.model_name, self._clock.time() // _FRESH_S)

    def _found(
        self, handle: ProviderHandle, model: str | None, _: float
    ) -> "TokenPrice | ListedPrice | str":
        """Return a price, or why there is none."""
        try:
            return self._own_price(handle, model) or _listed_price(handle, model)
        except Exception as exc:  # noqa: BLE001  # of a third party's provider or list
            let_through(exc)
            return _reason(handle, model, exc)

    def _own_price(
        self, handle: ProviderHandle, model: str | None
    ) -> TokenPrice | None:
        """Return the app's own price, the most exact name first."""
        provider = handle.settings.name if handle.settings else handle.name
        models = [each for each in (model, handle.model_name) if each]
        exact = [f"{provider}:{each}" for each in models]
        names = (*exact, *models, handle.name, provider)
        return next((self._own[each] for each in names if each in self._own), None)


def _paid(usage: Mapping[str, int]) -> PaidTokens:
    """Return the tokens of an answer as they are paid for."""
    taken, given = usage["input_tokens"], usage["output_tokens"]
    # Tokens that are only in the total are thinking.
    given = max(given, usage["total_tokens"] - taken)
    if len(usage) == _PLAIN:
        return PaidTokens(taken, given)
    told = usage.get
    return PaidTokens(
        told("billed_input_tokens", taken),
        told("billed_output_tokens", given),
        told("cached_tokens", 0),
        told("cache_write_tokens", 0),
        told("cache_write_1h_tokens", 0),
    )


_PLAIN = 3  # tokens of the prompt, of the answer, of both


def _reason(handle: ProviderHandle, model: str | None, exc: Exception) -> str:
    why = f"has no price that can be read ({type(exc).__name__}): set {KEY}"
    return f"{model or handle.name} {exc if isinstance(exc, NotListed) else why}"


def _listed_price(
    handle: ProviderHandle, model: str | None
) -> "TokenPrice | ListedPrice":
    """Return the price of a model that is not among the app's own."""
    provider = handle.provider
    if provider.is_free():
        return FREE
    address: object = getattr(provider, "base_url", None) or provider.address
    if not (isinstance(address, str) and address):
        raise NotListed(f"has no known price: set {KEY}")
    if not installed(MODULE):
        raise NotListed(f"has no known price: {_INSTALL} or set {KEY}")
    parts = urlsplit(address)  # the list knows no user and no port
    bare = f"{parts.scheme}://{parts.hostname}{parts.path}"
    return listed(bare, _names(model, handle.model_name))


# What a provider adds to the name that it was asked for.
_VERSION = re.compile(r"[-@]\d[\d-]*")


def _names(answered: str | None, asked: str | None) -> list[str]:
    """Return the names under which a model may be listed.

    Args:
        answered: The name in the answer.
        asked: The name that was asked for; of no use if another model has answered.
    """
    # Google's APIs write it as "publishers/google/models/NAME".
    names = [each.rpartition("models/")[2] for each in (answered, asked) if each]
    if len(names) > 1 and not _VERSION.fullmatch(names[0].removeprefix(names[1])):
        return names[:1]
    return names


def listed(address: str, names: Sequence[str]) -> "ListedPrice":
    """Return the price of a model.

    Args:
        address: Where it is asked, which decides whose list applies.
        names: Its names, the best one first.

    Raises:
        NotListed: The list has none of them there, or none that goes by tokens.
    """
    import genai_prices

    usage = genai_prices.Usage(input_tokens=1, output_tokens=1)
    what = "price"
    for name in names:
        try:
            found = genai_prices.calc_price(usage, name, provider_api_url=address)
        except LookupError as missing:
            if "provider_api_url" in str(missing):  # it knows no list for the address
                what = "price at this address"
            continue
        price = found.model_price
        if price.input_mtok is not None and price.output_mtok is not None:
            return ListedPrice(found.model)
        what = "price per token"  # the cost by a price that is missing would be 0
    version = genai_prices.__version__
    raise NotListed(f"has no {what} in genai-prices {version}: set {KEY}")


class ListedPrice:
    """What a model's tokens cost by its provider's list, which time and size change.

    Computed here: the package's own `calc_price` takes 20 times as long, since it
    counts what never occurs here, such as pictures and searches.

    Args:
        model: The package's entry.
    """

    def __init__(self, model: "ModelInfo") -> None:
        self._model = model

    def cost(self, paid: PaidTokens, at: float) -> float:
        """Return what an answer has cost in US dollars.

        Args:
            paid: Its tokens.
            at: When it came, in seconds since 1970.
        """
        now = self._model.get_prices(datetime.fromtimestamp(at, UTC))
        prompt = paid.input
        tokens = _rate(now.input_mtok, prompt) * paid.plain
        tokens += _rate(now.output_mtok, prompt) * paid.output
        if paid.cached:
            tokens += _rate(_or_input(now, "cache_read_mtok"), prompt) * paid.cached
        for name, count in (
            ("cache_write_mtok", paid.written - paid.for_an_hour),
            ("cache_write_1h_mtok", paid.for_an_hour),
        ):
            tokens += _rate(_or_input(now, name), prompt) * count if count else 0
        each = _rate(now.requests_kcount or Decimal(0), prompt)
        return float(tokens / 1_000_000 + each / 1000)


def _or_input(prices: "ModelPrice", name: str) -> "Decimal | TieredPrices | None":
    """Return a price of a cache's tokens; that of other input where there is none."""
    price: Decimal | TieredPrices | None = getattr(prices, name, None)
    return prices.input_mtok if price is None else price


def _rate(price: "Decimal | TieredPrices | None", prompt: int) -> Decimal:
    """Return the dollars that hold for a prompt of so many tokens."""
    if isinstance(price, Decimal):
        return price
    if price is None:
        raise NotListed(f"has no price per token now: set {KEY}")
    above = [tier.price for tier in price.tiers if prompt > tier.start]
    return above[-1] if above else price.base
