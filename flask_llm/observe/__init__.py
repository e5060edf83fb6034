"""What watches the calls: hears the signals, and never stands in a prompt's way.

Each part is a module with a function ``install(app, factory)``, imported only if it is
switched on, and independent of the others.
"""

from importlib import import_module

from flask import Flask

from ..config.parsers import installed
from ..config.settings import Observing
from ..errors import ConfigurationError
from ..factory import LLMFactory

# Looked for before an observer is imported, which imports it.
_PACKAGES = {
    "metrics": (
        "prometheus_client",
        'LLM_METRICS needs prometheus_client: pip install "Flask-LLM[metrics]"',
    ),
    "tracing": (
        "opentelemetry.trace",
        'LLM_TRACES needs opentelemetry-api: pip install "Flask-LLM[traces]"',
    ),
}


def install(app: Flask, factory: LLMFactory) -> None:
    """Let the observers that the configuration asks for watch an app's calls.

    Args:
        app: The app, which sends the signals.
        factory: Its factory.

    Raises:
        ConfigurationError: Packages are missing, or settings are wrong; it has all
            faults of all observers.
    """
    faults: list[str] = []
    for name in _parts(factory.config.observing):
        try:
            _require(name)
            import_module(f"{__name__}.{name}").install(app, factory)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)


def _require(name: str) -> None:
    """Raise ConfigurationError if an observer lacks its package."""
    package, fault = _PACKAGES.get(name, ("", ""))
    if package and not installed(package):
        raise ConfigurationError([fault])


def _parts(observing: Observing) -> list[str]:
    """Return the modules of the observers that are on."""
    in_memory = observing.dashboard and not observing.usage
    switched = {
        "usage": observing.usage,
        "memory": in_memory,
        "metrics": observing.metrics,
        "tracing": observing.traces,
    }
    return [name for name, is_on in switched.items() if is_on]
