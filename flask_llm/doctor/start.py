"""Whether the app starts, with a FlaskLLM on it."""

from collections.abc import Iterator

from ..errors import ConfigurationError, text_of
from .finding import Finding
from ..cli.doctor.checks import Subject

def start(subject: Subject) -> Iterator[Finding]:
    """Tell every fault of the configuration, or what else keeps the app from starting.

    Args:
        subject: What is examined.
    """
    error = subject.error
    if isinstance(error, ConfigurationError):
        for fault in error.faults:
            key, _, rest = fault.partition(" ")
            yield Finding("error", "configuration", key, rest)
    elif error is not None:
        why = f"{type(error).__name__}: {text_of(error)}"
        yield Finding("error", "app", "start", f"cannot be loaded: {why}")
    elif subject.factory is None:
        advice = "call FlaskLLM(app), or init_app(app) in your create_app()"
        yield Finding("error", "app", "start", "this app has no FlaskLLM", advice)
    else:
        yield Finding("ok", "app", "start", "starts, and its configuration is sound")
