"""The app's own prices of tokens: LLM_PRICES."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .parsers import mapping, shown
from .reader import closest

KEY = "LLM_PRICES"

_SIDES = ("input", "output")
_OPTIONAL = ("cached_input", "cache_write")
_KNOWN = (*_SIDES, *_OPTIONAL)
_PER = 1_000_000


class PaidTokens(NamedTuple):
    """The tokens of an answer, as they are paid for.

    Attributes:
        input: Those of the prompt.
        output: Those of the answer, thinking included.
        cached: Those of the prompt that were read from the provider's cache.
        written: Those of the prompt that were written to it.
        for_an_hour: Those of the written ones that are kept for an hour.
    """

    input: int
    output: int
    cached: int = 0
    written: int = 0
    for_an_hour: int = 0

    @property
    def plain(self) -> int:
        """Those of the prompt that no cache had or took."""
        return max(0, self.input - self.cached - self.written)


class TokenPrice(NamedTuple):
    """What tokens cost, however many there are and whenever they are bought.

    Attributes:
        input: US dollars per million tokens of the prompt.
        output: The same for the answer.
        cached_input: The same for what is read from the provider's cache; None for the
            price of other input.
        cache_write: The same for what is written to it.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None

    def cost(self, paid: PaidTokens, at: float) -> float:  # noqa: ARG002  # a listed price's
        """Return what an answer has cost in US dollars.

        Args:
            paid: Its tokens.
            at: When it came, in seconds since 1970.
        """
        dollars = self.input * paid.plain + self.output * paid.output
        for price, tokens in (
            (self.cached_input, paid.cached),
            (self.cache_write, paid.written),
        ):
            dollars += (self.input if price is None else price) * tokens
        return dollars / _PER


FREE = TokenPrice(0.0, 0.0)
"""For providers that take no money."""


_parse = mapping("prices by model")


def own_prices(value: Any) -> Mapping[str, TokenPrice]:
    """Parse the app's own prices by model, "name:model" or provider.

    Args:
        value: What LLM_PRICES holds.

    Raises:
        ConfigurationError: With each fault as the second half of a sentence.
        ValueError: It is no mapping, nor the JSON of one.
    """
    written = _parse(value)
    if faults := [fault for each in written.items() for fault in _faults(*each)]:
        raise ConfigurationError(faults)
    return {
        name.strip(): TokenPrice(
            **{each: float(sides[each]) for each in _KNOWN if each in sides}
        )
        for name, sides in written.items()
    }


def _faults(name: object, sides: object) -> Iterator[str]:
    """Yield what is wrong with one price."""
    if not (isinstance(name, str) and name.strip()):
        yield f"has the name {shown(name)}: name a model, a chain entry or a provider"
    if not isinstance(sides, Mapping):
        yield f"must have a dict of prices for {name!r}, not {shown(sides)}"
        return
    for side in sides:
        if side not in _KNOWN:
            close = closest(side, _KNOWN)
            known = ", ".join(_KNOWN)
            hint = f"; did you mean {close!r}?" if close else f" (known: {known})"
            yield f"has an unknown price {shown(side)} for {name!r}{hint}"
    for side in _KNOWN:
        if side not in sides:
            if side in _SIDES:
                yield f"has no {side!r} for {name!r}"
        elif not _is_price(sides[side]):
            yield (
                f"must have US dollars per million tokens as {side!r} of {name!r},"
                f" 0 or more, not {shown(sides[side])}"
            )


def _is_price(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and 0 <= value < math.inf
