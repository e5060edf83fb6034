"""Who of the chain can answer, and what the others would need."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ...fallback.provider_handle import ChainEntry
from ...links import provider_of
from ...packages import installed
from ...config.parsers import api_key
from ...providers.base import LLMProvider
from ...providers.broken import BrokenProvider
from ...config.reader import Reader, default_api_key_name
from ...providers.registry import PluginError
from ...doctor.finding import Finding, Level, guarded
from .checks import Subject

_OUTSIDE = "not in the chain"

# What the documents write where a key belongs.
_PLACEHOLDER = re.compile(r"your[_-][\w-]*", re.IGNORECASE | re.ASCII)
_IS_PLACEHOLDER = "still holds the placeholder", "put a key of your own there"


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
    for entry in subject.spare:
        yield from guarded(entry.name, partial(_spare, entry))
    for name, found in sorted(subject.others(), key=lambda each: each[0]):
        yield from guarded(name, partial(_other, subject, name, found))


def _state(entry: ChainEntry) -> Finding:
    error = entry.unavailable()
    if error is not None:
        broken = isinstance(provider_of(entry), BrokenProvider)
        level: Level = "error" if broken else "warning"
        return Finding(level, "chain", entry.name, error.reason, error.advice)
    if (settings := entry.settings) and _PLACEHOLDER.fullmatch(settings.api_key):
        message, advice = _IS_PLACEHOLDER
        message = f"{settings.api_key_name} {message}"
        return Finding("warning", "chain", entry.name, message, advice)
    return Finding("ok", "chain", entry.name, "available")


def _spare(entry: ChainEntry) -> Iterator[Finding]:
    """Tell what an endpoint outside of the chain lacks."""
    found = _state(entry)
    if found.level != "ok":
        lacks: Level = "note" if entry.unavailable() and entry.settings else "warning"
        yield replace(found, level=lacks, area=_OUTSIDE)


def _other(
    subject: Subject, name: str, found: type[LLMProvider] | PluginError
) -> Iterator[Finding]:
    """Tell what a provider outside of the chain lacks."""
    if isinstance(found, PluginError):
        yield Finding("warning", _OUTSIDE, name, str(found))
        return
    module = getattr(found, "module", None)
    # Nobody should install what its maker supports no longer.
    supported = not getattr(found, "ended", "")
    if isinstance(module, str) and supported and not installed(module):
        advice = f"pip install {getattr(found, 'requirement', module)}"
        package = getattr(found, "distribution", "") or module
        yield Finding("note", _OUTSIDE, name, f"{package} is not installed", advice)
    if subject.factory:
        yield from _keys(subject, name, found)


def _keys(
    subject: Subject, name: str, provider_class: type[LLMProvider]
) -> Iterator[Finding]:
    """Tell whether a key that is set, though not used yet, cannot be right."""
    if not provider_class.takes_key():
        return
    names = provider_class.api_key_names or (default_api_key_name(name),)
    key, value = Reader(subject.config).first(tuple(names))
    try:
        parsed = api_key("unset" if value is None else value)
    except ValueError as fault:
        yield Finding("warning", _OUTSIDE, name, f"{key} {fault}")
        return
    told = {entry.settings.api_key_name for entry in subject.entries if entry.settings}
    if _PLACEHOLDER.fullmatch(parsed) and key not in told:
        message, advice = _IS_PLACEHOLDER
        yield Finding("warning", _OUTSIDE, name, f"{key} {message}", advice)
