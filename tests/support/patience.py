"""Waits for what a page in a browser comes to, however busy the machine is."""

from collections.abc import Callable
from typing import Any

_STEP_MS = 50
_MOST = 600  # steps, which are half a minute


def until(page: Any, is_so: Callable[[], bool]) -> None:
    """Wait until something is true."""
    for _ in range(_MOST):
        if is_so():
            return
        page.wait_for_timeout(_STEP_MS)
    raise AssertionError("it does not become true")


def settled(page: Any, value: Callable[[], Any], steps: int = 8) -> Any:
    """Wait until a value stays the same for some time; return it."""
    last, same = value(), 0
    for _ in range(_MOST):
        page.wait_for_timeout(_STEP_MS)
        now = value()
        last, same = now, same + 1 if now == last else 0
        if same == steps:
            return last
    raise AssertionError("it does not stay the same")
