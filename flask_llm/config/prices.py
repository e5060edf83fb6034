"""The app's own prices of tokens: LLM_PRICES."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .parsers import mapping, shown
from .reader import closest

KEY = "LLM_PRICES"

_SIDES = ("input", "output")
_PER = 1_000_000


class TokenPrice(NamedTuple):
    """What tokens cost, however many there are and whenever they are bought.

    Attributes:
        input: US dollars per million tokens of the prompt.
        output: The same for the answer.
    """

    input: float
    output: float

    def cost(self, prompt: int, answer: int, at: float) -> float:  # noqa: ARG002  # a listed price's
        """Return what an answer has cost in US dollars.

        Args:
            prompt: Tokens of its prompt.
            answer: Tokens of the answer, thinking included.
            at: When it came, in seconds since 1970.
        """
        return (self.input * prompt + self.output * answer) / _PER


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
        name.strip(): TokenPrice(*(float(sides[each]) for each in _SIDES))
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
        if side not in _SIDES:
            close = closest(side, _SIDES)
            hint = f"; did you mean {close!r}?" if close else " (known: input, output)"
            yield f"has an unknown price {shown(side)} for {name!r}{hint}"
    for side in _SIDES:
        if side not in sides:
            yield f"has no {side!r} for {name!r}"
        elif not _is_price(sides[side]):
            yield (
                f"must have US dollars per million tokens as {side!r} of {name!r},"
                f" 0 or more, not {shown(sides[side])}"
            )


def _is_price(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and 0 <= value < math.inf
