"""What a check finds, and how a check that fails itself is kept from doing harm."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import text_of
from ..redact import MARK, redact

Level = Literal["ok", "note", "warning", "error"]

# What an app that cannot start may tell of keys that only its own code knows.
_SECRET = re.compile(
    r"(?<=://)\S+(?=@)"  # a user and a password in an address
    r"|(?<=password=)[^\s&]+"
    r"|\b(?:sk-|gsk_|xai-|AIza|AQ\.)[\w.-]{8,}"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        area: The part of the app that it belongs to.
        subject: What was looked at: a provider, a setting, a package.
        message: What there is to say of it.
        advice: What to do about it; empty if there is nothing to do.
    """

    level: Level
    area: str
    subject: str
    message: str
    advice: str = ""

    def cleaned(self, secrets: Collection[str]) -> "Finding":
        """Return a copy without keys and passwords, each text on one line."""
        return replace(
            self,
            subject=_clean(self.subject, secrets),
            message=_clean(self.message, secrets),
            advice=_clean(self.advice, secrets),
        )


def guarded(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; its failure is one more finding."""
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001  # it calls strangers' providers
        why = f"{type(exc).__name__}: {text_of(exc)}"
        yield Finding("warning", "doctor", what, f"could not be checked: {why}")


def _clean(text: str, secrets: Collection[str]) -> str:
    return " ".join(_SECRET.sub(MARK, redact(text, secrets)).split())
