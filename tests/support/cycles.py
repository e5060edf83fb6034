"""What a call leaves to the garbage collector."""

import gc
from collections.abc import Callable

_TRIES = 5


def left_in_cycles(call: Callable[[], object]) -> int:
    """Return how many objects are in cycles after a call.

    A thread or a finalizer of other tests may leave some garbage too, but not each
    time: the call is made several times, and the least counts.
    """
    call()  # what the first one alone makes, it keeps
    gc.disable()
    gc.freeze()  # what is there already need not be looked at
    try:
        return min(_left_by(call) for _ in range(_TRIES))
    finally:
        gc.unfreeze()
        gc.enable()


def _left_by(call: Callable[[], object]) -> int:
    gc.collect()
    call()
    return gc.collect()
