"""Where a call comes from: its number, and what the app wants it for."""

import os
from dataclasses import dataclass
from typing import Self

_MOST = 100
"""Characters of a purpose that are kept: it names a kind of call, and is no text."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Origin:
    """Where a call comes from, for whoever watches.

    Attributes:
        call_id: Tells the call from all others; 24 hexadecimal digits.
        purpose: What the app wants it for, as the caller names it; in a request that
            names none the endpoint's name.
        request_id: The number of the HTTP request, if it has one.
        started_at: When the call began, in seconds since 1970.
    """

    call_id: str = ""
    purpose: str = ""
    request_id: str | None = None
    started_at: float = 0.0

    @classmethod
    def new(cls, purpose: str, request_id: str | None, now: float) -> Self:
        """Return the origin of a call that begins now."""
        return cls(os.urandom(12).hex(), plain(purpose), request_id, now)


NOWHERE = Origin()
"""The origin of a request that no call of the factory has made."""


def plain(purpose: str) -> str:
    """Return a purpose as one short line, whatever was given."""
    if purpose.isprintable() and len(purpose) <= _MOST:
        return purpose
    line = "".join(each if each.isprintable() else " " for each in purpose)
    return " ".join(line.split())[:_MOST]
