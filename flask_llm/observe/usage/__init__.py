"""The usage log: each call and attempt in a database.

A prompt only leaves its record in memory; one thread of each process writes. Nothing
is connected before the first call. SQLAlchemy is imported at once, where the log is on:
a process that forks while a thread imports may hang in its child.

`metadata` has the tables, for whoever manages them with Alembic.
"""

import os
import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask import Flask

from ...errors import ConfigurationError
from ...factory import LLMFactory
from ...resilience.clock import PerProcess
from ...signals import (
    CircuitChanged,
    GenerationFinished,
    circuit_changed,
    generation_finished,
)
from ..aggregates import About
from ..memory import SOURCE
from ..records import CallRecord
from .settings import Place

if TYPE_CHECKING:
    from .tables import metadata
    from .writer import Writer

__all__ = ["LOG", "flush", "install", "metadata"]

LOG = "llm.usage"
"""Under this name an app's extensions have its `UsageLog`."""


def install(app: Flask, factory: LLMFactory) -> None:
    """Write an app's calls to the usage log.

    Args:
        app: The app, which sends the signals.
        factory: Its factory.

    Raises:
        ConfigurationError: SQLAlchemy is missing, or the address is wrong.
    """
    observing = factory.config.observing
    if find_spec("sqlalchemy") is None:
        key = "LLM_USAGE_URL" if observing.usage_url else "LLM_USAGE"
        raise ConfigurationError(
            [f'{key} needs SQLAlchemy: pip install "Flask-LLM[usage]"']
        )
    from . import writer as _imported  # noqa: F401  # before any fork, not at the first call
    from .database import dialect_of
    from .queries import UsageSource
    from .settings import place_of

    place = place_of(observing.usage_url, app.instance_path)
    dialect_of(place).engine(writes=True, patience_s=1.0)  # imports the driver
    log = UsageLog(place, observing.usage_days)
    # A signal holds its receivers weakly, and the app holds them.
    app.extensions[LOG] = log
    app.extensions[SOURCE] = UsageSource(place, log.about)
    generation_finished.connect(log.finished, app)
    circuit_changed.connect(log.changed, app)


def flush(app: Flask, timeout: float = 5.0) -> bool:
    """Wait until an app's calls of this process are written, for tests and scripts.

    Args:
        app: The app.
        timeout: Seconds to wait at most.

    Returns:
        Whether they are; true where the log is off.
    """
    log: UsageLog | None = app.extensions.get(LOG)
    return log is None or log.flush(timeout)


def __getattr__(name: str) -> Any:
    """Import the tables when they are asked for: not every app has SQLAlchemy."""
    if name == "metadata":
        from .tables import metadata

        return metadata
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class UsageLog:
    """Hears an app's calls; the app keeps it at ``app.extensions["llm.usage"]``.

    Args:
        place: Where the log is.
        days: For how long calls are kept; None for ever.

    Attributes:
        place: Where the log is.
    """

    def __init__(self, place: Place, days: int | None) -> None:
        self.place = place
        self._days = days
        self._writer = PerProcess(self._made)

    def about(self) -> About:
        """Return how this process's writing goes."""
        writer = self._writer.made()
        return About("usage") if writer is None else writer.about()

    def finished(self, sender: object, event: GenerationFinished) -> None:  # noqa: ARG002  # blinker's own
        """Let a call that is over be written; never waits."""
        self._writer.get().put(CallRecord.of(event))

    def changed(self, sender: object, event: CircuitChanged) -> None:  # noqa: ARG002  # blinker's own
        """Let it be written that a circuit has opened or closed; never waits."""
        from .writer import Change

        self._writer.get().put(Change(os.urandom(12).hex(), event))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until this process's calls are written, for tests and scripts.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether they are.
        """
        writer = self._writer.made()
        return writer is None or writer.flush(timeout)

    def _made(self) -> "Writer":
        from .writer import Writer

        writer = Writer(self.place, self._days)
        # When the app is gone; the writer itself sees to the end of the process.
        weakref.finalize(self, writer.end).atexit = False
        return writer
