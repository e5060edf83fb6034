"""What is on its way into the log."""

import threading
from dataclasses import dataclass, field

from ...signals import CircuitChanged
from ..records import CallRecord

@dataclass(frozen=True, slots=True)
class Change:
    """A circuit that opened or closed.

    Attributes:
        number: Tells it from all others, should it be written twice.
        event: What happened.
    """

    number: str
    event: CircuitChanged


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody waits until all before this is written.

    Attributes:
        passed: Set when it is.
    """

    passed: threading.Event = field(default_factory=lambda: threading.Event())  # noqa: PLW0108  # gevent patches it after our import


Item = CallRecord | Change | Mark


class Refused(Exception):  # noqa: N818  # it says what has happened
    """The database does not take a row, and never will; the cause says why."""
