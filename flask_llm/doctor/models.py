"""Which models are asked, and when they end."""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial

from ..fallback.provider_handle import ChainEntry
from ..links import model_of, provider_name, provider_of
from ..providers.base import LLMProvider, Retirement
from .finding import Finding, Level, guarded
from ..cli.doctor.checks import Subject

_SOON = timedelta(days=90)


def models(subject: Subject) -> Iterator[Finding]:
    """Tell which models are asked, and which are retired, or will be soon.

    Those of the chain, and of the endpoints outside of it.

    Args:
        subject: What is examined.
    """
    for entry in (*subject.entries, *subject.spare):
        yield from guarded(entry.name, partial(_model, entry, subject.today))


def _model(entry: ChainEntry, today: date) -> Iterator[Finding]:
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
    except ImportError:  # its table is in the SDK; the chain tells that this is missing
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
    entry: ChainEntry, provider: LLMProvider, model: str, end: Retirement
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
