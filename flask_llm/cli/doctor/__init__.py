"""What `flask llm doctor` looks at: one small check for each thing that can be wrong.

A check is a function that takes a `Subject` and yields findings.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from .app import (
    addresses,
    deadline,
    debug,
    ended,
    env_file,
    notices,
    parts,
    start,
    versions,
)
from .checks import Finding, Subject, guarded
from .observers import content, guard, metrics, store, traces, usage_log
from .providers import chain, live, models, others, prices, unused_prices

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
