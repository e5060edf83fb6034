"""Deletes what is old, a little at a time: nobody waits long for it."""

from collections.abc import Callable, Iterator
from functools import partial
from sqlalchemy import Connection, delete, func, select

from .. import aggregates as tally
from ..aggregates import STEPS_S
from .tables import SUMS, attempts, calls, circuits

DAY_S = 86_400

_SHORT = {15: 2 * 3600, 300: 2 * DAY_S}
"""Seconds for which the sums of a step are kept; the others as long as calls."""

_CALLS = 500
_TIMES = 50

Piece = Callable[[Connection], bool]
"""Deletes some rows in a transaction; tells whether there may be more."""


def pieces(now: float, days: int | None) -> Iterator[Piece]:
    """Yield what has to be done, each again and again as long as it returns true.

    Args:
        now: The time.
        days: For how long calls are kept; None for ever.
    """
    if days is not None:
        limit = now - days * DAY_S
        yield partial(_delete_calls, limit)
        yield partial(_delete_changes, limit)
    for step in STEPS_S:
        kept = _SHORT.get(step, None if days is None else days * DAY_S)
        if kept is not None:
            yield from (partial(_delete_sums, each, step, now - kept) for each in SUMS)


def _delete_calls(limit: float, connection: Connection) -> bool:
    # Skipped if locked: another process is deleting them.
    old = (
        select(calls.c.call_id)
        .where(calls.c.finished_at < limit)
        .order_by(calls.c.finished_at)
        .limit(_CALLS)
        .with_for_update(skip_locked=True)
    )
    found = list(connection.scalars(old))
    if found:
        connection.execute(delete(attempts).where(attempts.c.call_id.in_(found)))
        connection.execute(delete(calls).where(calls.c.call_id.in_(found)))
    return len(found) == _CALLS


def _delete_changes(limit: float, connection: Connection) -> bool:
    connection.execute(delete(circuits).where(circuits.c.at < limit))
    return False  # there are never many


def _delete_sums(
    table: tally.Table, step: int, limit: float, connection: Connection
) -> bool:
    """Delete the sums of some times that had ended by the limit."""
    sums = SUMS[table]
    oldest = connection.scalar(select(func.min(sums.c.at)).where(sums.c.step == step))
    if oldest is None or oldest + step > limit:
        return False
    until = min(oldest + _TIMES * step, limit - step)
    old = delete(sums).where(sums.c.step == step, sums.c.at <= until)
    connection.execute(old)
    return True
