"""What `flask llm doctor` looks at: one small check for each thing that can be wrong.

A check is a function that takes a `CheckContext` and yields findings.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from .app import (
    addresses,
    deadline,
    debug,
    ended,
    env_file,
    limits,
    logger,
    notices,
    parts,
    start,
    uwsgi,
    versions,
)
from .checks import CheckContext, Finding, guarded
from .observers import content, guard, metrics, store, traces, usage_log
from .providers import chain, live, models, others, prices, unused_prices

__all__ = ["CHECKS", "CheckContext", "Finding", "examine", "live", "parts"]

Check = Callable[[CheckContext], Iterator[Finding]]

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
    uwsgi,
    addresses,
    limits,
    notices,
    env_file,
    logger,
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


def examine(context: CheckContext, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Return what some checks find; none of them raises, no finding holds a key.

    Args:
        context: What is examined.
        checks: The checks in order.
    """
    secrets = context.secrets()
    found = (
        finding.cleaned(secrets)
        for check in checks
        for finding in guarded(check.__name__, partial(check, context))
    )
    return list(dict.fromkeys(found))  # a check may be made once more, after others
