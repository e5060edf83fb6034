"""How the doctor waits for what may hang."""

import threading
from collections.abc import Callable

from ..errors import text_of

def described(error: Exception) -> str:
    """Return what was raised, in words."""
    return f"{type(error).__name__}: {text_of(error)}"


def fault_of(
    work: Callable[[], object],
    patience_s: float,
    describe: Callable[[Exception], str] = described,
) -> str:
    """Return what keeps something from being done; empty if it is done.

    Args:
        work: Does it, in a thread that is left behind if it hangs.
        patience_s: Seconds for it.
        describe: Says what it has raised.
    """
    faults = [f"nothing within {patience_s:g} s"]

    def attempt() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # drivers raise what they like
            faults.append(describe(error))
        else:
            faults.append("")

    thread = threading.Thread(target=attempt, name="flask-llm-doctor", daemon=True)
    thread.start()
    thread.join(patience_s)
    return faults[-1]
