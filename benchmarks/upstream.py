"""What is asked: a server in a process of its own, a closed port, a Redis.

``python -m benchmarks.upstream`` is that server: the tests' fault server, with another
behaviour below each path.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]

SLOW_S = 0.02
CHUNKS = 2000
LONG_S = 3600
_REDIS_STARTS_S = 5.0


class Upstream(NamedTuple):
    """Addresses of everything that a case may ask.

    Attributes:
        healthy: Answers.
        limited: Says 429 each time.
        resting: Says 429, and to come back in an hour.
        slow: Answers after 20 ms.
        chunks: Answers at length, in a stream of `CHUNKS` chunks.
        closed: Nobody listens there.
        redis: A Redis, or None if there is no `redis-server` here.
        folder: For files.
    """

    healthy: str
    limited: str
    resting: str
    slow: str
    chunks: str
    closed: str
    redis: str | None
    folder: Path


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run all servers while something is measured."""
    with (
        tempfile.TemporaryDirectory() as folder,
        fault_server() as url,
        _closed_port() as closed,
        _redis(folder) as redis,
    ):
        yield Upstream(
            healthy=url,
            limited=f"{url}/limited",
            resting=f"{url}/resting",
            slow=f"{url}/slow",
            chunks=f"{url}/chunks",
            closed=closed,
            redis=redis,
            folder=Path(folder),
        )


@contextmanager
def fault_server() -> Iterator[str]:
    """Run the server that answers; yield its address."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.upstream"],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def _closed_port() -> Iterator[str]:
    """Hold a port on which nobody listens, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def _redis(folder: str) -> Iterator[str | None]:
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    with subprocess.Popen(  # noqa: S603  # our own words
        [program, "--port", str(port), "--dir", folder, *options],
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + _REDIS_STARTS_S
    while time.monotonic() < end:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    raise TimeoutError("redis-server does not start")


def _serve() -> None:
    """Serve until terminated; the first line printed is the address."""
    from faultserver import (  # type: ignore[import-not-found]  # lives among the tests
        FaultServer,
        faults,
    )

    below = {
        "limited": faults.rate_limited(),
        "resting": faults.rate_limited(LONG_S),
        "slow": faults.slow_first_byte(SLOW_S, faults.ECHO),
        "chunks": faults.OK(text="word " * CHUNKS),
    }

    def choose(attempt: Any) -> Any:
        return below.get(attempt.path.split("/")[1], faults.ECHO)

    with FaultServer(faults.by_request(choose), keep_alive=True) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    _serve()
