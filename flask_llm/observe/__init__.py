"""What watches the calls: hears the signals, and never stands in a prompt's way.

Each part is a module with a function ``install(app, factory)``, imported only if it is
switched on, and independent of the others.
"""

from importlib import import_module
from flask import Flask

from ..errors import ConfigurationError
from ..factory import LLMFactory
from ..observing import Observing

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
            import_module(f"{__name__}.{name}").install(app, factory)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)


def _parts(observing: Observing) -> list[str]:
    """Return the modules of the observers that are on."""
    window = observing.dashboard and not observing.usage
    switched = {
        "usage": observing.usage,
        "window": window,
        "metrics": observing.metrics,
        "tracing": observing.traces,
    }
    return [name for name, is_on in switched.items() if is_on]
