"""Prometheus metrics: LLM_METRICS.

prometheus_client is imported only by the app that has them on.
"""

import logging
import os
from pathlib import Path
from typing import Any

from flask import Flask

from ..errors import ConfigurationError
from ..factory import LLMFactory
from ..packages import installed
from .serving import is_command

NAME = "llm.metrics"
"""Where an app keeps what counts its calls."""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""In the environment; there the processes of a server count together."""

FOLDER_FAULT = "must be a folder that exists and can be written to"

log = logging.getLogger("flask_llm")


def install(app: Flask, factory: LLMFactory) -> None:
    """Count an app's calls.

    A command, such as `flask routes`, also runs where the server's folder is missing;
    its own calls are not counted then.

    Raises:
        ConfigurationError: prometheus_client is missing, or has nowhere to count.
    """
    if not installed("prometheus_client"):
        raise ConfigurationError(
            ['LLM_METRICS needs prometheus_client: pip install "Flask-LLM[metrics]"']
        )
    from .counting import Counting

    registry = _registry(factory.config.observing.metrics_registry)
    if not _can_count():
        return
    try:
        counting = Counting(factory, registry)
    except ValueError as error:
        raise ConfigurationError([f"LLM_METRICS_REGISTRY: {error}"]) from None
    counting.connect(app)
    # The signals hold their receivers weakly, and the app holds them.
    app.extensions[NAME] = counting


def exposition(app: Flask, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics of an app, and their content type.

    In prometheus_client's multiprocess mode they are those of all processes, and of all
    apps of these.

    Args:
        app: The app.
        accept: What the request accepts, to choose between Prometheus' text format and
            OpenMetrics.

    Raises:
        LookupError: There is nothing to show; the text says why, and what to do.
    """
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    return encode(_collector(app)), content_type


def _collector(app: Flask) -> Any:
    """Return what has an app's metrics, as far as the extension shows them itself."""
    counting = app.extensions.get(NAME)
    if counting is None:
        raise LookupError("There are no metrics: LLM_METRICS=on switches them on.")
    if counting.own is not None:
        raise LookupError(
            "The metrics are on the app's own registry (LLM_METRICS_REGISTRY), and"
            " shown where the app shows that."
        )
    from .live import MULTIPROCESS
    from .scrape import AllProcesses

    if MULTIPROCESS:
        return AllProcesses(counting.meter.live, Path(os.environ[FOLDER]))
    return counting.registry


def _registry(given: object) -> Any:
    """Return the app's own registry, if it has given one."""
    from prometheus_client import CollectorRegistry

    if given is None or isinstance(given, CollectorRegistry):
        return given
    kind = type(given).__name__
    fault = "must be a CollectorRegistry of prometheus_client, set in app.config"
    raise ConfigurationError([f"LLM_METRICS_REGISTRY {fault}, not {kind}"])


def is_usable(folder: str) -> bool:
    """Return whether a process can count in a folder."""
    return Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _can_count() -> bool:
    """Return whether the processes can count together, if they are to.

    Raises:
        ConfigurationError: They cannot, and this one serves requests.
    """
    from .live import MULTIPROCESS

    if not MULTIPROCESS:
        _warn_of_workers()
    elif not is_usable(os.environ.get(FOLDER, "")):
        if not is_command():
            raise ConfigurationError([f"{FOLDER} {FOLDER_FAULT}"])
        log.warning("LLM_METRICS: nothing is counted here: %s %s", FOLDER, FOLDER_FAULT)
        return False
    return True


def _warn_of_workers() -> None:
    if "gunicorn" in os.environ.get("SERVER_SOFTWARE", ""):
        log.warning(
            "LLM_METRICS: each worker counts its own calls only; with more than one"
            " set %s to an empty folder before gunicorn starts",
            FOLDER,
        )
