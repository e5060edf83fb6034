"""What tokens cost."""

from .entry import ChainEntry


class Prices:
    """Knows what a model's tokens cost."""

    def cost(
        self, entry: ChainEntry, model: str | None, usage: dict[str, int] | None
    ) -> tuple[float | None, str | None]:
        """Return what an attempt has cost in US dollars, or None and why not.

        Args:
            entry: Who was asked.
            model: The model that answered.
            usage: The tokens counted; None costs nothing, and needs no reason.
        """
        if usage is None:
            return None, None
        return None, f"the price of {model or entry.name} is not known"


UNPRICED = Prices()
"""For a chain that nobody has told any prices."""
