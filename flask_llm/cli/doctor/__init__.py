"""What `flask llm doctor` looks at: one small check for each thing that can be wrong.

A check is a function that takes a `Subject` and yields findings.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ...doctor.finding import Finding, guarded
from ...doctor.live import live
from ...doctor.models import models
from .observers import content, guard, metrics, traces, usage_log
from ...doctor.prices import prices, unused_prices
from .providers import chain, others
from .app import addresses, deadline, debug, env_file, notices
from ...doctor.start import start
from ...doctor.store import store
from .checks import Subject
from ...doctor.versions import ended, parts, versions

__all__ = ["CHECKS", "Finding", "Subject", "examine", "live", "parts"]

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    start,
    versions,
    ended,
    chain,
    others,
    models,
    store,
    debug,
    deadline,
    addresses,
    notices,
    env_file,
    usage_log,
    metrics,
    traces,
    content,
    guard,
    prices,
    unused_prices,
    parts,
)
"""The checks that cost nothing."""


def examine(subject: Subject, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Return what some checks find; none of them raises, no finding holds a key.

    Args:
        subject: What is examined.
        checks: The checks in order.
    """
    secrets = subject.secrets()
    found = (
        finding.cleaned(secrets)
        for check in checks
        for finding in guarded(check.__name__, partial(check, subject))
    )
    return list(dict.fromkeys(found))  # a check may be made once more, after others
