"""Whether the store behind LLM_STATE_URL keeps what is written."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..redact import redact
from ..config.state_url import store_of
from .finding import Finding
from ..cli.doctor.checks import Subject
from .waiting import fault_of

_KEY = "LLM_STATE_URL"
_STORE_PATIENCE_S = 2.0


def store(subject: Subject) -> Iterator[Finding]:
    """Write and read something harmless.

    Args:
        subject: What is examined.
    """
    if subject.factory is None:
        return
    url = subject.factory.config.state_url
    scheme = url.partition("://")[0]
    if scheme == "memory":
        message = "memory://, so each worker learns for itself who is to rest"
        advice = "share it with sqlite:///… on one host, redis://… on many"
        yield Finding("note", "store", _KEY, message, advice)
        return
    if why := _fault(url):
        message = f"{scheme} does not answer ({why}); each worker learns for itself"
        yield Finding("error", "store", _KEY, message)
    else:
        yield Finding("ok", "store", _KEY, f"{scheme} keeps what is written")


def _fault(url: str) -> str:
    """Return what is wrong with a store, without its password; empty if nothing is."""
    fault = fault_of(lambda: store_of(url).check(), _STORE_PATIENCE_S)
    parts = urlsplit(url)
    return redact(fault, [parts.password or "", parts.query])
