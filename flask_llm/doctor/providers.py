"""Who of the chain can answer, and what the others would need."""

from collections.abc import Iterator

from ..entry import ChainEntry
from ..links import provider_of
from ..packages import installed
from ..parsers import api_key
from ..providers.base import LLMProvider
from ..providers.broken import BrokenProvider
from ..reader import Reader, default_api_key_name
from ..registry import PluginError
from .finding import Finding, Level
from .subject import Subject


def chain(subject: Subject) -> Iterator[Finding]:
    """Tell of each provider of the chain whether it can be asked.

    Args:
        subject: What is examined.
    """
    if not subject.entries:
        return
    for entry in subject.entries:
        yield _state(entry)
    match subject.able:
        case []:
            advice = "give one of them what it lacks"
            yield Finding("error", "chain", "", "nobody can answer", advice)
        case [only]:
            message = f"only {only.name} can answer: nobody steps in when it fails"
            advice = "always have a fallback (LLM_FALLBACK_PROVIDERS)"
            yield Finding("warning", "chain", "", message, advice)


def others(subject: Subject) -> Iterator[Finding]:
    """Tell what the providers outside the chain lack, and which plug-ins are broken.

    Args:
        subject: What is examined.
    """
    for name, found in sorted(subject.others(), key=lambda each: each[0]):
        if isinstance(found, PluginError):
            yield Finding("warning", "not in the chain", name, str(found))
            continue
        module = getattr(found, "module", None)
        if isinstance(module, str) and not installed(module):
            advice = f"pip install {getattr(found, 'requirement', module)}"
            message = f"{module} is not installed"
            yield Finding("note", "not in the chain", name, message, advice)
        if subject.factory:
            yield from _keys(subject, name, found)


def _state(entry: ChainEntry) -> Finding:
    error = entry.unavailable()
    if error is None:
        return Finding("ok", "chain", entry.name, "available")
    broken = isinstance(provider_of(entry), BrokenProvider)
    level: Level = "error" if broken else "warning"
    return Finding(level, "chain", entry.name, error.reason, error.advice)


def _keys(
    subject: Subject, name: str, provider_class: type[LLMProvider]
) -> Iterator[Finding]:
    """Tell whether a key that is set, though not used yet, is malformed."""
    if not provider_class.takes_key():
        return
    names = provider_class.api_key_names or (default_api_key_name(name),)
    key, value = Reader(subject.config).first(names)
    try:
        api_key("unset" if value is None else value)
    except ValueError as fault:
        yield Finding("warning", "not in the chain", name, f"{key} {fault}")
