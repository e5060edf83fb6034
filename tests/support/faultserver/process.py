"""The server in a process of its own, so that it takes no time from a benchmark."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TESTS = Path(__file__).parents[1]


@contextmanager
def spawn(*options: str) -> Iterator[str]:
    """Run `python -m faultserver` with these options; yield its address."""
    command = [sys.executable, "-m", "faultserver", *options]
    environment = os.environ | {"PYTHONPATH": str(_TESTS)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
