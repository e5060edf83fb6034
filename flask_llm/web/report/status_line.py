"""One sentence that says who answers now, and if it is not the first, why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BY_KIND, ProviderError
from ...observe.records import CallRecord
from ...types import Attempt
from ..formats import ago, span, wait
from .lately import GOOD, Lately, Standing, answered, tried

_WELL = 0.95
"""With a smaller share of answered calls not all is well."""

_MANY = 0.5
"""With a greater share of failed tries the first provider does not do."""

_MINUTE_S = 60


def headline(
    chain: Sequence[Standing],
    lately: Lately,
    calls: int | None,
    *,
    range_name: str,
    now: float,
) -> dict[str, Any]:
    """Return the sentence with its level, and until when it holds.

    A countdown stands at its end, where a page can go on counting.

    Args:
        chain: The entries of the chain.
        lately: The latest calls.
        calls: How many there were in the time shown; None if that cannot be read.
        range_name: The time shown.
        now: Seconds since 1970.
    """
    is_asked = any(each["state"] in {"closed", "half-open"} for each in chain)
    if is_asked and lately.unanswered:
        return _down(chain, lately.unanswered, now)
    server = lately.server(chain)
    if server is chain[0]:
        return _serving(chain, lately, calls, span(range_name))
    return _troubled(chain, server, lately, now)


def _serving(
    chain: Sequence[Standing], lately: Lately, calls: int | None, when: str
) -> dict[str, Any]:
    """Return the sentence for a first entry that answers."""
    name = chain[0]["name"]
    serving = f"Serving from {name}"
    if calls is None:
        return _sentence("warning", f"{serving}; the numbers cannot be read now")
    if not calls:
        return _sentence("idle", f"No calls in {when}; {name} is ready")
    if shortfall := _shortfall(lately, name):
        return _sentence("warning", serving + shortfall)
    alone = "" if chain[1:] else ", the only provider"
    return _sentence("ok", serving + alone)


def _shortfall(lately: Lately, name: str) -> str:
    """Return what closed circuits do not tell; empty if all is well."""
    calls, tries = lately.judged, lately.tries(name)
    good = sum(map(answered, calls))
    failed = sum(each.outcome not in GOOD for each in tries)
    if good < _WELL * len(calls):
        return f", but {_answers(good, len(calls))}{_age(lately)}"
    if failed > _MANY * len(tries):
        return f", but it failed in {failed} of its last {len(tries)} calls"
    return ""


def _answers(good: int, calls: int) -> str:
    if calls == 1:
        return "the last call was not answered"
    if not good:
        return f"none of the last {calls} calls was answered"
    return f"only {good} of the last {calls} calls were answered"


def _age(lately: Lately) -> str:
    return "" if lately.is_fresh else f", the latest {_plain(ago(lately.age_s))}"


def _down(
    chain: Sequence[Standing], run: Sequence[CallRecord], now: float
) -> dict[str, Any]:
    """Return the sentence for calls that nobody answers, though they are tried.

    Args:
        chain: The entries.
        run: The calls since the last answer, the last one first.
        now: Seconds since 1970.
    """
    tries = {each["name"]: tried(run[0], each["name"]) for each in chain}
    fails = {name: f"fails ({_why(each)})" for name, each in tries.items() if each}
    seen = {each.provider for each in run[0].attempts if each.skipped}
    resting = {e["name"] for e in chain if e["state"] != "closed"} & seen
    told = [e for e in chain if e["name"] in resting | fails.keys()]
    reasons = _reasons(told, fails) or _reason(run[0].outcome)
    return _sentence("error", f"{_unanswered(run, now)}: {reasons}", told, now)


def _unanswered(run: Sequence[CallRecord], now: float) -> str:
    age = now - run[-1].finished_at
    if age >= _MINUTE_S:
        time = _plain(ago(age)).removesuffix(" ago")
        return f"No call in the last {time} was answered"
    told = _answers(0, len(run))
    return told[0].upper() + told[1:]


def _troubled(
    chain: Sequence[Standing], server: Standing | None, lately: Lately, now: float
) -> dict[str, Any]:
    """Return the sentence for a chain whose first entry does not answer.

    Args:
        chain: The entries.
        server: The one that answers; None if none is ready.
        lately: The latest calls.
        now: Seconds since 1970.
    """
    ahead = chain if server is None else chain[: chain.index(server)]
    level, begin = "warning", ""
    if server is not None:
        shortfall = _shortfall(lately, server["name"])
        begin = f"Serving from {server['name']}{shortfall}: "
    elif not any(each["state"] == "half-open" for each in ahead):
        level, begin = "error", "Nobody can answer: "
    fails = _failing(ahead, lately)
    told = [e for e in ahead if e["state"] != "closed" or e["name"] in fails]
    return _sentence(level, begin + _reasons(told, fails), told, now)


def _failing(ahead: Sequence[Standing], lately: Lately) -> dict[str, str]:
    """Return what to say of entries that are ready, but fail."""
    fails: dict[str, str] = {}
    for each in ahead:
        failure = lately.failure(each["name"])
        if each["state"] == "closed" and failure:
            first = "" if fails else "is asked first and "
            fails[each["name"]] = f"{first}fails ({_why(failure)})"
    return fails


def _reasons(entries: Sequence[Standing], fails: Mapping[str, str]) -> str:
    """Return why entries do not answer; a countdown belongs to what is told last."""
    return "; ".join(
        f"{each['name']} {fails[each['name']]}"
        if each["state"] == "closed"
        else _trouble(each)
        for each in sorted(entries, key=lambda each: -_end(each))
    )


def _trouble(entry: Standing) -> str:
    """Return why an entry does not serve."""
    name, why = entry["name"], entry["status"] or _reason(entry["kind"])
    if entry["state"] == "unavailable":
        return f"{name} is not available, {entry['reason']}"
    if entry["state"] == "open":
        return f"{name}'s circuit is open ({why})"
    return f"{name}'s rest is over ({why}), the next call tries it"


def _why(failure: Attempt) -> str:
    """Return why an attempt failed: its status, or some words without their advice."""
    words = (failure.error or "").partition(" (")[0]
    return str(failure.status or words or _reason(failure.outcome))


def _reason(kind: str | None) -> str:
    return BY_KIND.get(kind or "", ProviderError).reason


def _end(entry: Standing) -> float:
    """Return when a rest ends; never where there is none."""
    is_resting = entry["state"] == "open" and entry["until"]
    return entry["until"] if is_resting else math.inf


def _sentence(
    level: str, text: str, told: Sequence[Standing] = (), now: float = 0.0
) -> dict[str, Any]:
    """Return a headline, with a countdown to the end of the first rest."""
    until = min(map(_end, told), default=math.inf)
    if until == math.inf:
        return {"level": level, "text": text, "until": None}
    # A text for any reader, such as a program.
    left = _plain(wait(max(1.0, until - now)))
    return {"level": level, "text": f"{text}, next try in {left}", "until": until}


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")
