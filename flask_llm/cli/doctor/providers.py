"""Checks of the providers: keys, models, prices, and a live prompt."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

from ...config.parsers import api_key, installed
from ...config.prices import KEY
from ...config.reader import Reader, default_api_key_name
from ...errors import BadAnswerError
from ...factory import LLMFactory
from ...fallback.pricing import Prices
from ...fallback.probe import outcome
from ...fallback.provider_handle import (
    ProviderHandle,
    model_of,
    provider_name,
    provider_of,
)
from ...providers.base import BrokenProvider, LLMProvider, Retirement
from ...providers.registry import PluginError
from ...types import LLMResponse
from .checks import CheckContext, Finding, Level, guarded

_OUTSIDE = "not in the chain"

# What the documents write where a key belongs.
_PLACEHOLDER = re.compile(r"your[_-][\w-]*", re.IGNORECASE | re.ASCII)
_IS_PLACEHOLDER = "still holds the placeholder", "put a key of your own there"


def chain(context: CheckContext) -> Iterator[Finding]:
    """Report of each provider of the chain whether it can be asked."""
    if not context.entries:
        return
    for entry in context.entries:
        yield _state(entry)
    match context.able:
        case []:
            advice = "give one of them what it lacks"
            yield Finding("error", "chain", "", "nobody can answer", advice)
        case [only]:
            message = f"only {only.name} can answer: nobody steps in when it fails"
            advice = "always have a fallback (LLM_FALLBACK_PROVIDERS)"
            yield Finding("warning", "chain", "", message, advice)


def others(context: CheckContext) -> Iterator[Finding]:
    """Report what the providers outside the chain lack, and broken plug-ins."""
    for entry in context.spare:
        yield from guarded(entry.name, partial(_spare, entry))
    for name, found in sorted(context.others(), key=lambda each: each[0]):
        yield from guarded(name, partial(_other, context, name, found))


def _state(entry: ProviderHandle) -> Finding:
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


def _spare(entry: ProviderHandle) -> Iterator[Finding]:
    """Report what an endpoint outside of the chain lacks."""
    found = _state(entry)
    if found.level != "ok":
        lacks: Level = "note" if entry.unavailable() and entry.settings else "warning"
        yield replace(found, level=lacks, area=_OUTSIDE)


def _other(
    context: CheckContext, name: str, found: type[LLMProvider] | PluginError
) -> Iterator[Finding]:
    """Report what a provider outside of the chain lacks."""
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
    if context.factory:
        yield from _keys(context, name, found)


def _keys(
    context: CheckContext, name: str, provider_class: type[LLMProvider]
) -> Iterator[Finding]:
    """Check whether a key that is set, though not used yet, cannot be right."""
    if not provider_class.takes_key():
        return
    names = provider_class.api_key_names or (default_api_key_name(name),)
    key, value = Reader(context.config).first(tuple(names))
    try:
        parsed = api_key("unset" if value is None else value)
    except ValueError as fault:
        yield Finding("warning", _OUTSIDE, name, f"{key} {fault}")
        return
    told = {entry.settings.api_key_name for entry in context.entries if entry.settings}
    if _PLACEHOLDER.fullmatch(parsed) and key not in told:
        message, advice = _IS_PLACEHOLDER
        yield Finding("warning", _OUTSIDE, name, f"{key} {message}", advice)


_SOON = timedelta(days=90)


def models(context: CheckContext) -> Iterator[Finding]:
    """Report which models are asked, and which are retired, or will be soon.

    Those of the chain, and of the endpoints outside of it.
    """
    for entry in (*context.entries, *context.spare):
        yield from guarded(entry.name, partial(_model, entry, context.today))


def _model(entry: ProviderHandle, today: date) -> Iterator[Finding]:
    provider, model = provider_of(entry), model_of(entry)
    if provider is None or not model:
        return
    end = _retirement(provider)
    if end is None:
        yield Finding("ok", "models", entry.name, model)
        return
    level, message = _judged(model, end, today)
    advice = "" if level == "ok" else _advice(entry, provider, model, end)
    yield Finding(level, "models", entry.name, message, advice)


def _retirement(provider: LLMProvider) -> Retirement | None:
    try:
        return provider.retirement()
    except ImportError:  # its table is in the SDK; the chain reports that it is missing
        return None


def _judged(model: str, end: Retirement, today: date) -> tuple[Level, str]:
    left = end.on - today
    if left <= timedelta(0):
        return "error", f"{model} was retired on {end.on}"
    if left <= _SOON:
        days = str(left).partition(",")[0]  # "1 day, 0:00:00"
        return "warning", f"{model} will be retired on {end.on}, in {days}"
    return "ok", f"{model}, which is served until {end.on}"


def _advice(
    entry: ProviderHandle, provider: LLMProvider, model: str, end: Retirement
) -> str:
    """Return which model to use instead, and where to write it."""
    name, settings = provider_name(entry), entry.settings
    other = end.successor or provider.default_model
    if not other or other == model:
        return f"choose another one: flask llm models {name}"
    if settings is None or not settings.model_key:
        return f"use {other}"
    if ":" in settings.entry:
        return f"write {name}:{other} in {settings.model_key}"
    return f"set {settings.model_key} to {other}"


_AREA = "costs"
_TOKENS = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}


def prices(context: CheckContext) -> Iterator[Finding]:
    """Report whose price is not known."""
    known = Prices(context.own_prices)
    for entry in context.able:
        _, why = known.cost(entry, entry.model_name, _TOKENS)
        if why is None:
            yield Finding("ok", _AREA, entry.name, "its price is known")
        else:
            message, _, advice = why.rpartition(": ")
            yield Finding("note", _AREA, entry.name, message, advice)


def unused_prices(context: CheckContext) -> Iterator[Finding]:
    """Report of own prices that are for nobody in the chain.

    A model may answer under another name than it was asked by, so this may be right.
    """
    links = [*context.entries, *context.spare]
    for name in context.own_prices:
        if not any(_is_for(name, entry) for entry in links):
            message = f"{name} is neither a model, an entry nor a provider here"
            advice = "right only if a model answers under that name"
            yield Finding("note", _AREA, KEY, message, advice)


def _is_for(name: str, entry: ProviderHandle) -> bool:
    """Return whether a price counts for a provider, or for a version of its model."""
    provider, model = provider_name(entry), entry.model_name
    if name in {entry.name, provider}:
        return True
    return bool(model) and name.removeprefix(f"{provider}:").startswith(str(model))


def live(context: CheckContext) -> Iterator[Finding]:
    """Ask each provider that can be asked once."""
    if context.factory is None:
        return
    for entry in context.able:
        yield from guarded(entry.name, partial(_call, context.factory, entry))


def _call(factory: LLMFactory, entry: ProviderHandle) -> Iterator[Finding]:
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
