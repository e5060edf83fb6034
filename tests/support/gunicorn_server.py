"""Runs the app of `gunicorn_app` in a real gunicorn."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest

MUST_RUN = "FLASK_LLM_CI" in os.environ
SOON = 60.0  # seconds for a start or an end on a busy machine

CLASSES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not (all(map(find_spec, modules)) or MUST_RUN),
            reason=f"needs {' and '.join(modules)}",
        ),
    )
    for name, modules in {
        "sync": ["gunicorn"],
        "gthread": ["gunicorn"],
        "gevent": ["gunicorn", "gevent"],
    }.items()
]
PRELOAD = pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])

_COMMAND = [sys.executable, "-m", "gunicorn"]


class Gunicorn:
    """A running gunicorn with the app of `gunicorn_app`.

    Attributes:
        process: The arbiter.
        log: Its standard error.
        url: Where it listens.
    """

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process = process
        self.log = log
        self._opener = build_opener(ProxyHandler({}))
        self.url = self._address()

    def _address(self) -> str:
        until = time.monotonic() + SOON
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"Listening at: (http://\S+)", self.log.read_text()):
                return found[1]
            time.sleep(0.02)
        raise AssertionError(f"gunicorn does not start:\n{self.log.read_text()}")

    def get(self, path: str) -> dict:
        with self._opener.open(self.url + path, timeout=SOON) as answer:
            return json.load(answer)

    def ask(self, name: str, prompt: str, max_tokens: int = 20) -> dict:
        question = f"prompt={quote(prompt)}&max_tokens={max_tokens}"
        return self.get(f"/ask/{name}?{question}")

    def pids(self, workers: int) -> set[int]:
        """Ask until so many workers have answered, or the time is up."""
        seen: set[int] = set()
        until = time.monotonic() + SOON
        while len(seen) < workers and time.monotonic() < until:
            with ThreadPoolExecutor(8) as pool:
                seen |= {each["pid"] for each in pool.map(self.get, ["/health"] * 8)}
        return seen

    def stop(self) -> None:
        """Ask it to end, and see that it does, in time."""
        self.process.terminate()
        assert self.process.wait(SOON) == 0

    def end(self) -> None:
        """Ask it to end, and see that it does, in time and without a complaint."""
        self.stop()
        lines = self.log.read_text().splitlines()
        usual = r"\[[^]]+\] \[\d+\] \[INFO\] |google-generativeai is no longer"
        complaints = [line for line in lines if not re.match(usual, line)]
        assert not complaints, "\n".join(complaints)


@contextmanager
def serving(
    folder: Path,
    worker_class: str,
    preload: bool,
    providers: Sequence[str],
    workers: int = 2,
    threads: int = 8,
    app: str = "gunicorn_app:app",
    **variables: str,
) -> Iterator[Gunicorn]:
    """Run a gunicorn.

    Args:
        folder: Where its files may lie.
        worker_class: Kind of its workers.
        preload: Whether they are forked from a process that has the app already.
        providers: Who can be asked there.
        workers: How many.
        threads: Of each worker of the class gthread.
        app: Where the app is.
        variables: Its environment.
    """
    config = {
        "pythonpath": str(Path(__file__).parent),
        "bind": "127.0.0.1:0",
        "worker_class": worker_class,
        "workers": workers,
        "threads": threads if worker_class == "gthread" else 1,
        "preload_app": preload,
        "timeout": 120,  # also for the imports at its start
        "control_socket_disable": True,  # it would lie in the home folder
    }
    lines = [f"{name} = {value!r}" for name, value in config.items()]
    (folder / "conf.py").write_text("\n".join(lines))
    variables["LLM_TEST_PROVIDERS"] = ",".join(providers)
    # gunicorn patches when the app has long been imported, which gevent dislikes.
    variables["PYTHONWARNINGS"] = "ignore:Monkey-patching ssl" if preload else ""
    log = folder / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*_COMMAND, app, f"--config={folder / 'conf.py'}"],
            env=os.environ | variables,
            stderr=stderr,
        )
    try:
        yield Gunicorn(process, log)
    finally:
        process.kill()
        process.wait()
