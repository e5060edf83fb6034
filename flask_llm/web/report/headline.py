"""One sentence that says who answers now, and if it is not the first, why."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BY_KIND, ProviderError
from ..formats import share, span, wait
from .cards import Standing

_WELL = 0.95
"""With a smaller share of answered calls not all is well."""

_MANY = 0.5
"""With a greater share of answers by fallbacks the first provider does not do."""


def headline(
    chain: Sequence[Standing],
    tiles: Mapping[str, Any],
    *,
    range_name: str,
    now: float,
) -> dict[str, Any]:
    """Return the sentence with its level, and until when it holds.

    A countdown stands at its end, where a page can go on counting.

    Args:
        chain: The entries of the chain.
        tiles: The numbers of all calls; unknown ones if the source cannot be read.
        range_name: The time that the numbers are of.
        now: Seconds since 1970.
    """
    ready = [place for place, each in enumerate(chain) if each["state"] == "closed"]
    if not ready or ready[0]:
        return _troubled(chain, ready[0] if ready else None, now)
    return _serving(chain, tiles, span(range_name))


def _serving(
    chain: Sequence[Standing], tiles: Mapping[str, Any], when: str
) -> dict[str, Any]:
    """Return the sentence for a first entry that is ready."""
    name, calls = chain[0]["name"], tiles["calls"]
    serving = f"Serving from {name}"
    if calls is None:
        return _sentence("warning", f"{serving}; the numbers cannot be read now")
    if not calls:
        return _sentence("idle", f"No calls in {when}; {name} is ready")
    if tiles["answered"] == 0:
        told = f"{name} is asked, but no call in {when} was answered"
        return _sentence("error", told)
    if shortfall := _shortfall(tiles, when):
        return _sentence("warning", f"{serving}, but {shortfall}")
    alone = "" if chain[1:] else ", the only provider"
    return _sentence("ok", serving + alone)


def _shortfall(tiles: Mapping[str, Any], when: str) -> str:
    """Return what closed circuits do not tell; empty if all is well."""
    answered, fallback = tiles["answered"], tiles["by_fallback"]
    if answered is not None and answered < _WELL:
        return f"only {_percent(answered)} of the calls in {when} were answered"
    if fallback is not None and fallback > _MANY:
        return f"fallbacks gave {_percent(fallback)} of the answers in {when}"
    return ""


def _troubled(
    chain: Sequence[Standing], server: int | None, now: float
) -> dict[str, Any]:
    """Return the sentence for a chain whose first entry is not ready.

    Args:
        chain: The entries.
        server: The place of the first one that is ready; None if there is none.
        now: Seconds since 1970.
    """
    ahead = chain[:server]
    is_tried = any(each["state"] == "half-open" for each in ahead)
    level, begin = "warning", ""
    if server is not None:
        begin = f"Serving from {chain[server]['name']}: "
    elif not is_tried:
        level, begin = "error", "Nobody can answer: "
    # A countdown belongs to what is told last.
    told = sorted(ahead, key=lambda each: each["state"] == "open")
    return _sentence(level, begin + "; ".join(map(_trouble, told)), ahead, now)


def _trouble(entry: Standing) -> str:
    """Return why an entry does not serve."""
    name, why = entry["name"], entry["status"] or _reason(entry["kind"])
    if entry["state"] == "unavailable":
        return f"{name} is not available, {entry['reason']}"
    if entry["state"] == "open":
        return f"{name}'s circuit is open ({why})"
    return f"{name}'s rest is over ({why}), the next call tries it"


def _reason(kind: str | None) -> str:
    return BY_KIND.get(kind or "", ProviderError).reason


def _sentence(
    level: str, text: str, resting: Sequence[Standing] = (), now: float = 0.0
) -> dict[str, Any]:
    """Return a headline, with a countdown to the end of the first rest."""
    ends = [each["until"] for each in resting if each["state"] == "open"]
    until = min((each for each in ends if each), default=None)
    if until is not None:
        # A text for any reader, such as a program.
        left = wait(max(1.0, until - now)).replace("\N{NO-BREAK SPACE}", " ")
        text = f"{text}, next try in {left}"
    return {"level": level, "text": text, "until": until}


def _percent(part: float) -> str:
    return share(part).replace("\N{NO-BREAK SPACE}", " ")
