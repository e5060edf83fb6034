"""The usage log: each call and attempt in a database.

A prompt only leaves its record in memory; one thread of each process writes. Nothing
is connected before the first call. SQLAlchemy is imported at once, where the log is on:
a process that forks while a thread imports may hang in its child.

`metadata` has the tables, for whoever manages them with Alembic.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask import Flask

from ...errors import ConfigurationError
from ...factory import LLMFactory
from ...signals import (
    circuit_changed,
    generation_finished,
)
from ..memory import SOURCE

if TYPE_CHECKING:
    from .tables import metadata
    from .writer import UsageLog

__all__ = ["LOG", "flush", "include_object", "install", "metadata"]

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
    # All of it before any fork, not at the first call.
    from .database import dialect_of
    from .queries import UsageSource
    from .settings import database_url_of
    from .writer import UsageLog

    url = database_url_of(observing.usage_url, app.instance_path)
    dialect_of(url).engine(writes=True, patience_s=1.0)  # imports the driver
    log = UsageLog(url, observing.usage_days)
    # A signal holds its receivers weakly, and the app holds them.
    app.extensions[LOG] = log
    app.extensions[SOURCE] = UsageSource(url, log.about)
    generation_finished.connect(log.finished, app)
    circuit_changed.connect(log.changed, app)
    _spare_tables(app)


def include_object(
    item: object,  # noqa: ARG001  # Alembic's own order
    name: str | None,
    type_: str,
    reflected: bool,  # noqa: FBT001  # Alembic's own
    compare_to: object,
) -> bool:
    """Return whether Alembic's autogenerate shall look at something in a database.

    Not at a table of the log that the app's metadata do not name: it would be dropped.
    For `context.configure` of Alembic, or `Migrate` of Flask-Migrate.

    Args:
        item: A table, a column, an index.
        name: Its name.
        type_: Its kind, such as "table".
        reflected: Whether it was found in the database.
        compare_to: What the metadata say of it; None if nothing.
    """
    is_strange = reflected and compare_to is None
    of_log = type_ == "table" and str(name).startswith("flask_llm_")
    return not (of_log and is_strange)


def _spare_tables(app: Flask) -> None:
    """Let Flask-Migrate, if the app has it by now, drop no table of the log."""
    settings = getattr(app.extensions.get("migrate"), "configure_args", None)
    if not isinstance(settings, dict):
        return
    own = settings.get("include_object")

    def both(*item: Any) -> bool:
        return include_object(*item) and (own is None or bool(own(*item)))

    settings["include_object"] = both


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
