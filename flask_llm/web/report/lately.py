"""What the latest calls tell of now, whatever time a page shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

from ...observe.record import CLOSED, SUCCESS, CallRecord
from ...types import Attempt

Standing = Mapping[str, Any]
"""An entry of `LLMFactory.get_provider_status(detail=True)`."""

ENOUGH = 5
"""With fewer calls one failure would be everything."""

_FRESH_S = 300.0
_FEW = 20


@dataclass(frozen=True, slots=True)
class Lately:
    """The latest calls, the last one first; without those whose caller left.

    Attributes:
        known: All that are known.
        judged: Those that count now: of the last five minutes, or if they are too few
            the last twenty, or if all is well again the last five.
    """

    known: tuple[CallRecord, ...] = ()
    judged: tuple[CallRecord, ...] = ()

    @classmethod
    def of(cls, recent: Iterable[CallRecord], now: float) -> Self:
        """Return what some calls tell.

        Args:
            recent: The last one first.
            now: Seconds since 1970.
        """
        known = tuple(each for each in recent if each.outcome != CLOSED)
        fresh = [each for each in known if each.finished_at > now - _FRESH_S]
        is_well = all(each.outcome == SUCCESS for each in known[:ENOUGH])
        few = ENOUGH if is_well else _FEW
        return cls(known, known[: len(fresh) if len(fresh) >= ENOUGH else few])

    @property
    def unanswered(self) -> tuple[CallRecord, ...]:
        """The calls since the last answer, if so many that nobody answers now."""
        run = tuple(takewhile(lambda each: each.outcome != SUCCESS, self.known))
        return run if len(run) >= min(ENOUGH, len(self.known)) else ()

    def tries(self, name: str) -> list[Attempt]:
        """Return how a provider did in the calls that count and that asked it."""
        return _tries(self.judged, name)

    def failure(self, name: str) -> Attempt | None:
        """Return how a provider fails: in the last call that asked it, and in most."""
        tries = _tries(self.known, name)[:ENOUGH]
        failed = [each for each in tries if each.outcome != SUCCESS]
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
        answered = {each.provider for each in self.judged if each.outcome == SUCCESS}
        if ready and self.failure(ready[0]["name"]):
            for each in ready[1:]:
                if each["name"] in answered and not self.failure(each["name"]):
                    return each
        return ready[0] if ready else None


def tried(call: CallRecord, name: str) -> Attempt | None:
    """Return a call's last attempt at a provider; None if it was not asked."""
    asked = (
        each
        for each in reversed(call.attempts)
        if each.provider == name and not each.skipped and each.outcome != CLOSED
    )
    return next(asked, None)


def _tries(calls: Iterable[CallRecord], name: str) -> list[Attempt]:
    found = (tried(each, name) for each in calls)
    return [each for each in found if each is not None]
