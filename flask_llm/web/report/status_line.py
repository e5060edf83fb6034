"""One sentence: who answers, and why."""

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

from ...errors import (
    BY_KIND,
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    ProviderError,
)
from ...observe.records import CLOSED, SUCCESS, CallRecord
from ...types import Attempt
from ..formats import ago, span, wait

Status = Mapping[str, Any]
"""An entry of `LLMFactory.get_provider_status(detail=True)`."""

ENOUGH = 5
"""With fewer calls one failure would be everything."""

_FRESH_S = 300.0
_FEW = 20

GOOD = {SUCCESS, CLOSED}
"""How tries end that show a provider at work; a stream was closed after some text."""

_EXCUSED = {
    kind.kind for kind in (InvalidRequestError, ContextLengthError, ContentBlockedError)
}
"""Of these the prompt may be the cause: no sign that a provider fails."""


@dataclass(frozen=True, slots=True)
class Lately:
    """The latest calls at the chain, the last one first.

    Those are left out of which nothing follows: their prompt was refused before anybody
    was asked, or the caller left before the first text.

    Attributes:
        known: All that are known.
        judged: Those that count now: of the last five minutes, or if they are too few
            the last twenty, or if all is well again the last five.
        now: Seconds since 1970.
    """

    known: tuple[CallRecord, ...] = ()
    judged: tuple[CallRecord, ...] = ()
    now: float = 0.0

    @classmethod
    def of(
        cls, recent: Iterable[CallRecord], chain: Iterable[Status], now: float
    ) -> Self:
        """Return what some calls show.

        Args:
            recent: The last one first.
            chain: The providers; calls of another chain show nothing of this one.
            now: Seconds since 1970.
        """
        names = {each["name"] for each in chain}
        known = tuple(each for each in recent if _tells(each, names))
        fresh = [each for each in known if each.finished_at > now - _FRESH_S]
        few = ENOUGH if all(map(answered, known[:ENOUGH])) else _FEW
        judged = known[: len(fresh) if len(fresh) >= ENOUGH else few]
        return cls(known, judged, now)

    @property
    def age_s(self) -> float:
        """Seconds since the latest call; 0 if there is none."""
        return self.now - self.known[0].finished_at if self.known else 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether what the latest calls show is news."""
        return self.age_s < 2 * _FRESH_S

    @property
    def unanswered(self) -> tuple[CallRecord, ...]:
        """The calls since the last answer, if so many that nobody answers now."""
        told = [each for each in self.known if each.outcome not in _EXCUSED]
        run = tuple(takewhile(lambda each: not answered(each), told))
        is_down = len(run) >= min(ENOUGH, len(told)) and self.is_fresh
        return run if is_down else ()

    def tries(self, name: str) -> list[Attempt]:
        """Return how a provider did in the calls that count and that asked it."""
        return _tries(self.judged, name)

    def last(self, name: str) -> Attempt | None:
        """Return how a provider's last try ended, if that is news."""
        tries = (
            each
            for call in self.judged
            for each in reversed(call.attempts)
            if each.provider == name and not each.skipped
        )
        return next(tries, None) if self.is_fresh else None

    def failure(self, name: str) -> Attempt | None:
        """Return how a provider fails: in the last call that asked it, and in most."""
        tries = _tries(self.known, name)[:ENOUGH]
        failed = [each for each in tries if each.outcome not in GOOD]
        is_failing = 2 * len(failed) > len(tries) and failed[0] is tries[0]
        return tries[0] if is_failing else None

    def server(self, chain: Sequence[Status]) -> Status | None:
        """Return the provider that answers: the first that is ready, unless it fails.

        None if none is ready, or nobody has answered for some time.
        """
        if self.unanswered:
            return None
        ready = [each for each in chain if each["state"] == "closed"]
        answering = {each.provider for each in self.judged if answered(each)}
        if ready and self.failure(ready[0]["name"]):
            for each in ready[1:]:
                if each["name"] in answering and not self.failure(each["name"]):
                    return each
        return ready[0] if ready else None


def answered(call: CallRecord) -> bool:
    """Return whether a call got an answer; a reader may have had enough of it."""
    is_read = call.outcome == CLOSED and call.first_token_s is not None
    return is_read or call.outcome == SUCCESS


def tried(call: CallRecord, name: str) -> Attempt | None:
    """Return a call's last attempt at a provider that tells how it does, if any."""
    asked = (
        each
        for each in reversed(call.attempts)
        if each.provider == name and not each.skipped and each.outcome not in _EXCUSED
    )
    return next(asked, None)


def _tells(call: CallRecord, names: AbstractSet[str]) -> bool:
    """Return whether something follows from a call for the providers of a chain."""
    if call.outcome == CLOSED and not answered(call):
        return False
    if not call.attempts:
        return call.outcome not in _EXCUSED
    return any(each.provider in names for each in call.attempts)


def _tries(calls: Iterable[CallRecord], name: str) -> list[Attempt]:
    found = (tried(each, name) for each in calls)
    return [each for each in found if each is not None]


_WELL = 0.95
"""With a smaller share of answered calls not all is well."""

_MANY = 0.5
"""With a greater share of failed tries the first provider does not do."""

_MINUTE_S = 60


def headline(
    chain: Sequence[Status],
    lately: Lately,
    calls: int | None,
    *,
    range_name: str,
    now: float,
) -> dict[str, Any]:
    """Return the sentence with its level, and until when it holds.

    A countdown stands at its end, where a page can go on counting.

    Args:
        chain: The providers of the chain.
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
    chain: Sequence[Status], lately: Lately, calls: int | None, when: str
) -> dict[str, Any]:
    """Return the sentence for a first provider that answers."""
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
    chain: Sequence[Status], run: Sequence[CallRecord], now: float
) -> dict[str, Any]:
    """Return the sentence for a run of calls, the last one first, without an answer."""
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
    chain: Sequence[Status], server: Status | None, lately: Lately, now: float
) -> dict[str, Any]:
    """Return the sentence for a chain that another provider serves, or none."""
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


def _failing(ahead: Sequence[Status], lately: Lately) -> dict[str, str]:
    """Return what to say of providers that are ready, but fail."""
    fails: dict[str, str] = {}
    for each in ahead:
        failure = lately.failure(each["name"])
        if each["state"] == "closed" and failure:
            first = "" if fails else "is asked first and "
            fails[each["name"]] = f"{first}fails ({_why(failure)})"
    return fails


def _reasons(entries: Sequence[Status], fails: Mapping[str, str]) -> str:
    """Return why providers do not answer; a countdown belongs to the last reason."""
    return "; ".join(
        f"{each['name']} {fails[each['name']]}"
        if each["state"] == "closed"
        else _trouble(each)
        for each in sorted(entries, key=lambda each: -_end(each))
    )


def _trouble(entry: Status) -> str:
    """Return why a provider does not answer."""
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


def _end(entry: Status) -> float:
    """Return when a cooldown ends; never where there is none."""
    is_resting = entry["state"] == "open" and entry["until"]
    return entry["until"] if is_resting else math.inf


def _sentence(
    level: str, text: str, told: Sequence[Status] = (), now: float = 0.0
) -> dict[str, Any]:
    """Return a headline, with a countdown to the end of the first cooldown."""
    until = min(map(_end, told), default=math.inf)
    if until == math.inf:
        return {"level": level, "text": text, "until": None}
    # A text for any reader, such as a program.
    left = _plain(wait(max(1.0, until - now)))
    return {"level": level, "text": f"{text}, next try in {left}", "until": until}


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")
