"""What the latest calls tell of now, whatever time a page shows."""

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

from ...errors import ContentBlockedError, ContextLengthError, InvalidRequestError
from ...observe.records import CLOSED, SUCCESS, CallRecord
from ...types import Attempt

Standing = Mapping[str, Any]
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
        cls, recent: Iterable[CallRecord], chain: Iterable[Standing], now: float
    ) -> Self:
        """Return what some calls tell.

        Args:
            recent: The last one first.
            chain: The entries; calls of another chain tell nothing of this one.
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
        """Whether what the latest calls tell is news."""
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

    def server(self, chain: Sequence[Standing]) -> Standing | None:
        """Return the entry that answers: the first that is ready, unless it fails.

        Args:
            chain: The entries.

        Returns:
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
