"""What an attempt costs, by the app's prices or by those of genai-prices.

It is part of the extra "prices", and imported with the first price that is looked up.
Nothing is fetched: the list is that of the installed version, unless the app itself
runs the package's `UpdatePrices`.
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
from ..config.prices import FREE, KEY, TokenPrice
from ..resilience.clock import SYSTEM, Clock
from .provider_handle import ProviderHandle

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


Price = TokenPrice | ListedPrice

NO_TOKENS = "no tokens were counted"
"""Why the cost of an answer, or of a call, is not known."""

_INSTALL = 'pip install "Flask-LLM[prices]"'

_NO_PRICES: Mapping[str, TokenPrice] = MappingProxyType({})

# For so long a price is kept that was found: an app may renew the list as it runs.
_FRESH_S = 3600

# A server may call its model by another name each time.
_MOST_KEPT = 512

# How Google's APIs write the name of a model.
_RESOURCE = re.compile(r"(?:.*publishers/[^/]+/)?models/")

# What a provider adds to the name that it was asked for.
_VERSION = re.compile(r"[-@]\d[\d-]*")


class Prices:
    """Knows what a model's tokens cost. For many threads, and after a fork as before.

    The app's own prices come first; then what is free; then the published ones, by the
    address that is asked. A model at an address that the list does not know has no
    price, whatever its name.

    Args:
        own: The app's own prices, by model, chain entry or provider.
        clock: Where time is read: some prices change with it.
    """

    def __init__(
        self, own: Mapping[str, TokenPrice] = _NO_PRICES, clock: Clock = SYSTEM
    ) -> None:
        self._own = own
        self._clock = clock
        self._find = lru_cache(_MOST_KEPT)(self._sought)

    def cost(
        self,
        entry: ProviderHandle,
        model: str | None,
        usage: dict[str, int] | None,
        *,
        answered: bool = True,
    ) -> tuple[float | None, str | None]:
        """Return what an attempt has cost in US dollars, or None and why not.

        Raises nothing.

        Args:
            entry: Who was asked.
            model: The model that answered.
            usage: The tokens counted, if they were.
            answered: Whether there was an answer, or some of one; where nothing was
                counted either, no reason is needed.
        """
        if usage is None and not answered:
            return None, None
        now = self._clock.time()
        price = self._find(entry, model, now // _FRESH_S)
        if usage is None:
            return (0.0, None) if price == FREE else (None, NO_TOKENS)
        if isinstance(price, str):
            return None, price
        try:
            taken, given = _tokens(usage)
            return price.cost(taken, given, now), None
        except Exception as exc:  # noqa: BLE001  # a stranger's count, another package's list
            return None, f"{model or entry.name} {_why(exc)}"

    def look_up(self, entry: ProviderHandle) -> None:
        """Find the price of an entry's model ahead, so that no call waits for it."""
        self._find(entry, entry.model_name, self._clock.time() // _FRESH_S)

    def _sought(
        self, entry: ProviderHandle, model: str | None, _: float
    ) -> Price | str:
        """Return a price, or why there is none."""
        try:
            return self._own_price(entry, model) or _listed_price(entry, model)
        except Exception as exc:  # noqa: BLE001  # of a stranger's provider, or the list's package
            return f"{model or entry.name} {_why(exc)}"

    def _own_price(self, entry: ProviderHandle, model: str | None) -> TokenPrice | None:
        """Return the app's own price, the most exact name first."""
        provider = entry.settings.name if entry.settings else entry.name
        models = [each for each in (model, entry.model_name) if each]
        names = (
            *(f"{provider}:{each}" for each in models),
            *models,
            entry.name,
            provider,
        )
        found = (self._own.get(each) for each in names)
        return next((each for each in found if each), None)


def _listed_price(entry: ProviderHandle, model: str | None) -> Price:
    """Return the price of a model that the app itself says nothing of.

    Raises:
        NotListed: There is none.
    """
    provider = entry.provider
    if provider.is_free():
        return FREE
    own: object = getattr(provider, "base_url", None)
    address = own or provider.address
    if not (isinstance(address, str) and address):
        raise NotListed(f"has no known price: set {KEY}")
    if not installed(MODULE):
        raise NotListed(f"has no known price: {_INSTALL} or set {KEY}")
    return listed(_bare(address), _names(model, entry.model_name))


def _bare(address: str) -> str:
    """Return an address as lists of prices write it: without user and port."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _names(answered: str | None, asked: str | None) -> list[str]:
    """Return the names under which a model may be listed.

    Args:
        answered: What its provider calls it.
        asked: What it was asked for as; of no use if another model has answered.
    """
    names = [_RESOURCE.sub("", each) for each in (answered, asked) if each]
    if len(names) > 1 and not _VERSION.fullmatch(names[0].removeprefix(names[1])):
        return names[:1]
    return names


def _tokens(usage: Mapping[str, int]) -> tuple[int, int]:
    """Return the tokens of prompt and answer; those only in the total are thinking."""
    taken, told = usage["input_tokens"], usage["output_tokens"]
    return taken, max(told, usage["total_tokens"] - taken)


def _why(exc: Exception) -> str:
    if isinstance(exc, NotListed):
        return str(exc)
    return f"has no price that can be read ({type(exc).__name__}): set {KEY}"
