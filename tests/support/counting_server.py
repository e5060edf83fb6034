"""The gunicorns and the scripts whose processes count together."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

from gunicorn_server import SOON, Gunicorn

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
WORKERS = 3


def hook() -> str:
    """Return what the documentation tells gunicorn to do when a worker ends."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(each for each in blocks if "def child_exit" in each)


@contextmanager
def serving(folder, worker_class="sync", *, preload=False, settings="", **variables):
    """Run a gunicorn with three workers of the app of `counting_app`."""
    config = {
        "pythonpath": str(Path(__file__).parent),
        "bind": "127.0.0.1:0",
        "worker_class": worker_class,
        "workers": WORKERS,
        "threads": 4 if worker_class == "gthread" else 1,
        "preload_app": preload,
        "control_socket_disable": True,
    }
    lines = [f"{name} = {value!r}" for name, value in config.items()]
    (folder / "conf.py").write_text("\n".join([*lines, settings]))
    log = folder / "stderr"
    variables["PYTHONWARNINGS"] = "ignore:Monkey-patching ssl"
    command = ["-m", "gunicorn", "counting_app:app", f"--config={folder / 'conf.py'}"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *command], env=os.environ | variables, stderr=stderr
        )
    try:
        yield Gunicorn(process, log)
    finally:
        process.terminate()
        process.wait(SOON)


def scrape(server: Gunicorn, accept: str = "*/*") -> str:
    request = Request(f"{server.url}/llm/metrics", headers={"Accept": accept})
    with build_opener(ProxyHandler({})).open(request, timeout=SOON) as response:
        return response.read().decode()


def soon(condition) -> bool:
    until = time.monotonic() + SOON
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def run(code: str, **variables: str) -> str:
    """Run a script in a process of its own; return what it says at its end."""
    folder = str(Path(__file__).parent)
    start = f"import sys; sys.path.insert(0, {folder!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
