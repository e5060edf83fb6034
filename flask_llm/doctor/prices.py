"""Whether it is known what the models of the chain cost."""

from collections.abc import Iterator

from ..fallback.provider_handle import ChainEntry
from ..links import provider_name
from ..config.prices import KEY
from ..fallback.pricing import Prices
from .finding import Finding
from ..cli.doctor.checks import Subject

_AREA = "costs"
_TOKENS = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}


def prices(subject: Subject) -> Iterator[Finding]:
    """Tell whose price is not known.

    Args:
        subject: What is examined.
    """
    known = Prices(subject.own_prices)
    for entry in subject.able:
        _, why = known.cost(entry, entry.model_name, _TOKENS)
        if why is None:
            yield Finding("ok", _AREA, entry.name, "its price is known")
        else:
            message, _, advice = why.rpartition(": ")
            yield Finding("note", _AREA, entry.name, message, advice)


def unused_prices(subject: Subject) -> Iterator[Finding]:
    """Tell of own prices that are for nobody in the chain.

    A model may answer under another name than it was asked by, so this may be right.

    Args:
        subject: What is examined.
    """
    links = [*subject.entries, *subject.spare]
    for name in subject.own_prices:
        if not any(_is_for(name, entry) for entry in links):
            message = f"{name} is neither a model, an entry nor a provider here"
            advice = "right only if a model answers under that name"
            yield Finding("note", _AREA, KEY, message, advice)


def _is_for(name: str, entry: ChainEntry) -> bool:
    """Return whether a price counts for a link, or for a version of its model."""
    provider, model = provider_name(entry), entry.model_name
    if name in {entry.name, provider}:
        return True
    return bool(model) and name.removeprefix(f"{provider}:").startswith(str(model))
