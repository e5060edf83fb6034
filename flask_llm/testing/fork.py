"""Work in forked processes, from inside a test."""

import os
import signal
import traceback
import warnings
from collections.abc import Callable

# A child that hangs ends itself; the inner one first, so that the outer can tell.
_SECONDS = 60


class Child:
    """A forked process that does one thing and ends.

    Args:
        work: What it does there.
        seconds: How long that may take.
    """

    def __init__(self, work: Callable[[], object], seconds: int = _SECONDS) -> None:
        self._reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of every fork beside other threads, and a test has some:
            # a lock that one of them holds would stay locked in the child. This child
            # shares no work with them, and the alarm below ends it if it hangs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _work_and_exit(work, writing, seconds)
        os.close(writing)

    def end(self) -> str:
        """Wait for its end; return what went wrong, or "" if nothing did."""
        with os.fdopen(self._reading, "rb") as pipe:
            told = pipe.read().decode(errors="replace")
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return "it hung"
        return told or ("" if status == 0 else f"it ended with wait status {status}")


def _work_and_exit(work: Callable[[], object], writing: int, seconds: int) -> None:
    """Do the work and end the process, past the test runner's own clean-up."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, the parent is told
        os.write(writing, traceback.format_exc()[-4000:].encode())
    os._exit(0)


def across_a_fork(parent: Callable[[], object], child: Callable[[], object]) -> str:
    """Work before a fork, in the child twice, and after it.

    Not at the same time: two processes that share a connection would take each other's
    answers and hang, where the connections seen by the server tell more. All of it runs
    in a process of its own: what it leaves open warns nobody in this one.

    Args:
        parent: What the process does that forks.
        child: What its child does.

    Returns:
        What went wrong, or "".
    """

    def work() -> None:
        parent()
        told = Child(lambda: [child(), child()], _SECONDS // 2).end()
        assert not told, f"in the child: {told}"
        parent()

    return Child(work).end()
