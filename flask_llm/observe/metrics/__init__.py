"""Prometheus metrics: LLM_METRICS.

prometheus_client is imported only by the app that has them on.
"""

import logging
import os
from typing import Any

from flask import Flask

from ...errors import ConfigurationError
from ...factory import LLMFactory

NAME = "llm.metrics"
"""Where an app keeps what counts its calls."""

log = logging.getLogger("flask_llm")


def install(app: Flask, factory: LLMFactory) -> None:
    """Count an app's calls.

    Raises:
        ConfigurationError: The registry does not fit.
    """
    from .collector import Counting

    registry = _registry(factory.config.observing.metrics_registry)
    _warn_of_workers()
    try:
        counting = Counting(factory, registry)
    except ValueError as error:
        raise ConfigurationError([f"LLM_METRICS_REGISTRY: {error}"]) from None
    counting.connect(app)
    # The signals hold their receivers weakly, and the app holds them.
    app.extensions[NAME] = counting


def exposition(app: Flask, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics of an app, and their content type.

    In prometheus_client's multiprocess mode they are those of all processes and of all
    their apps, with whatever else these count there.

    Args:
        app: The app.
        accept: What the request accepts, to choose between Prometheus' text format and
            OpenMetrics.

    Raises:
        LookupError: There is nothing to show; the text says why, and what to do.
        OSError: What all processes count cannot be read, or this one cannot count.
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
    from .multiprocess import MULTIPROCESS, AllProcesses

    if MULTIPROCESS:
        return AllProcesses(counting.recorder.state.seen)
    return counting.registry


def _registry(given: object) -> Any:
    """Return the app's own registry, if it has given one."""
    from prometheus_client import CollectorRegistry

    if given is None or isinstance(given, CollectorRegistry):
        return given
    kind = type(given).__name__
    fault = "must be a CollectorRegistry of prometheus_client, set in app.config"
    raise ConfigurationError([f"LLM_METRICS_REGISTRY {fault}, not {kind}"])


def _warn_of_workers() -> None:
    from .multiprocess import MULTIPROCESS

    if not MULTIPROCESS and "gunicorn" in os.environ.get("SERVER_SOFTWARE", ""):
        log.warning(
            "LLM_METRICS: each worker counts its own calls only; with more than one"
            " set PROMETHEUS_MULTIPROC_DIR to an empty folder before gunicorn starts"
        )
