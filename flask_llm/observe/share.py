"""What a process counts for all, in a folder that the processes of a server share.

Where that cannot be, nothing is counted; no call and no start of a server fails for it.
"""

import logging
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec
from prometheus_client import values

from ..process import PerProcess

MULTIPROCESS = values.ValueClass is not values.MutexValue
"""Whether prometheus_client counts in the files of PROMETHEUS_MULTIPROC_DIR."""

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

P = ParamSpec("P")

log = logging.getLogger("flask_llm")


class Share:
    """This process's share of the counts; its files are made with its first one.

    Attributes:
        fault: Why it counts nothing; empty if it can.
        has_files: Whether it has counted.
    """

    def __init__(self) -> None:
        self.fault = ""
        self.has_files = False
        self._folder = os.environ.get(_FOLDER, "")
        try:
            # Not by a Path, for which an empty name is the current folder.
            os.makedirs(self._folder, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Count nothing any more: prometheus_client cannot go back to a lost file."""
        self.fault = str(error)
        log.error(
            "LLM_METRICS: nothing is counted until a restart: %s: %s", _FOLDER, error
        )

    def files(self) -> list[Path]:
        """Return the files of all processes.

        Raises:
            OSError: They cannot be read, or would not tell what this process counts.
        """
        if self.fault:
            raise OSError(self.fault)
        found = sorted(
            each for each in Path(self._folder).iterdir() if each.suffix == ".db"
        )
        if self.has_files and str(os.getpid()) not in map(pid_of, found):
            raise FileNotFoundError("this process's files were taken away")
        return found


SHARE = PerProcess(Share)


def counted(method: Callable[P, None]) -> Callable[P, None]:
    """Let what counts be left out where the process cannot; its log says so once."""
    if not MULTIPROCESS:
        return method

    @wraps(method)
    def counting(*args: P.args, **kwargs: P.kwargs) -> None:
        share = SHARE.get()
        if share.fault:
            return
        try:
            method(*args, **kwargs)
            share.has_files = True
        except OSError as error:
            share.give_up(error)

    return counting


def pid_of(file: Path) -> str:
    """Return the process that counts in a file."""
    return file.stem.rpartition("_")[2]
