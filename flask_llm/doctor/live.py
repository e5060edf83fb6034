"""One tiny call to each provider of the chain, which costs a little money."""

from collections.abc import Iterator
from functools import partial

from ..fallback.provider_handle import ChainEntry
from ..errors import BadAnswerError
from ..factory import LLMFactory
from ..fallback.probe import outcome
from ..types import LLMResponse
from .finding import Finding, Level, guarded
from ..cli.doctor.checks import Subject

def live(subject: Subject) -> Iterator[Finding]:
    """Ask each provider that can be asked once.

    Args:
        subject: What is examined.
    """
    if subject.factory is None:
        return
    for entry in subject.able:
        yield from guarded(entry.name, partial(_call, subject.factory, entry))


def _call(factory: LLMFactory, entry: ChainEntry) -> Iterator[Finding]:
    response = factory.test(entry.name)
    level = "ok" if response.success else _severity(response)
    yield Finding(level, "live", entry.name, outcome(response))
    if response.success:
        for warning in response.metadata["warnings"]:
            yield Finding("note", "live", entry.name, str(warning))


def _severity(response: LLMResponse) -> Level:
    """Return how bad a failure is; a model that only thinks is there."""
    thinks = "thinking used up" in outcome(response)
    lives = response.metadata["error_kind"] == BadAnswerError.kind and thinks
    return "warning" if lives else "error"
