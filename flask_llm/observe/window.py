"""What this process has seen in the last hour, for a dashboard without a usage log.

Nothing is kept, and little imported, before the first call of a process.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from flask import Flask

from ..factory import LLMFactory
from ..process import PerProcess
from ..signals import CircuitChanged, GenerationFinished, circuit_changed, generation_finished, lossless

if TYPE_CHECKING:
    from .memory import Memory
    from .records import CallRecord
    from .source import About, Failure, Span
    from .aggregates import Table

SOURCE = "llm.source"
"""Under this name an app's extensions have where its pages take their numbers from."""


def install(app: Flask, factory: LLMFactory) -> None:  # noqa: ARG001  # as of each part
    """Keep an app's calls in memory for an hour.

    Args:
        app: The app, which sends the signals.
        factory: Its factory.
    """
    window = Window()
    # A signal holds its receivers weakly, and the app holds them.
    app.extensions[SOURCE] = window
    generation_finished.connect(window.finished, app)
    circuit_changed.connect(window.changed, app)


class Window:
    """The `Source` of what this process has seen; a forked one begins anew."""

    def __init__(self) -> None:
        self._memory = PerProcess(_memory)

    @lossless
    def finished(self, sender: object, event: GenerationFinished) -> None:  # noqa: ARG002  # blinker's own
        """Keep a call that is over."""
        self._memory.get().finished(event)

    @lossless
    def changed(self, sender: object, event: CircuitChanged) -> None:  # noqa: ARG002  # blinker's own
        """Keep that a circuit has opened or closed."""
        self._memory.get().changed(event)

    def about(self) -> "About":
        """Return what is covered."""
        return self._memory.get().about()

    def sums(
        self, table: "Table", by: Sequence[str], span: "Span"
    ) -> list[dict[str, Any]]:
        """Return sums of a span."""
        return self._memory.get().sums(table, by, span)

    def recent(self, limit: int, *, before: float | None = None) -> "list[CallRecord]":
        """Return the latest calls, the last one first."""
        return self._memory.get().recent(limit, before=before)

    def find(self, call_id: str) -> "CallRecord | None":
        """Return one call."""
        return self._memory.get().find(call_id)

    def failures(self) -> "dict[str, Failure]":
        """Return the latest failed attempt at each provider."""
        return self._memory.get().failures()

    def changes(self, since: float) -> list[CircuitChanged]:
        """Return the circuits that opened or closed since then."""
        return self._memory.get().changes(since)


def _memory() -> "Memory":
    from .memory import Memory

    return Memory()
