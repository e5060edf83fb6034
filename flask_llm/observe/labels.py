"""Values of labels: not too many, and none that is long."""

from ..origin import plain

OTHER = "other"
"""Stands for all values beyond the most."""


class Values:
    """The values of one label, in the order in which they come.

    Each makes series that stay for good, in the process and in Prometheus: so a label
    must not grow with what users or models write.

    Args:
        most: The most of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, None] = {}

    def __call__(self, value: str | None) -> str:
        """Return a value as one short line; "other" if there are too many already."""
        shown = plain(value or "")
        if shown in self._known:
            return shown
        if len(self._known) >= self._most:
            return OTHER
        self._known[shown] = None
        return shown
