"""Run the tests with other versions than the locked ones: PROGRAM oldest|newest.

"oldest" takes what setup.cfg promises, "newest" what the registry has. If tests fail,
each package that differs is put back to its locked version, one at a time: the one
with which they pass is named.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import version
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITE = "not (timing or slow)"

# Compiled files stay beside their sources, whatever the caller does.
_ELSEWHERE = {"PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in _ELSEWHERE}

# What only runs the tests, whose age says nothing of the package; and two that cannot
# be had as old as promised.
TOOLS = {
    "xllamacpp",  # has no release of just that version
    "asgiref",
    "axe-playwright-python",
    "flask-httpauth",
    "flask-login",
    "flask-wtf",
    "gevent",
    "gunicorn",
    "hypothesis",
    "myst-parser",
    "pallets-sphinx-themes",
    "playwright",
    "psycopg",
    "pymysql",
    "pytest",
    "pytest-flask",
    "pytest-httpserver",
    "pytest-xdist",
    "sphinx",
}


def main() -> int:
    """Install, run, and name who is to blame; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), sys.argv[1])
        trial.install()
        changed = trial.changed()
        print("Differs from the lock:")
        for name, (locked, found) in sorted(changed.items()):
            print(f"  {name} {found} (locked: {locked})")
        if trial.passes():
            return 0
        broken = [name for name in changed if trial.is_to_blame(name, *changed[name])]
        print(f"Broken by: {', '.join(broken) or 'no package alone'}")
        return 1


class Trial:
    """An environment with other versions, and the tests in it.

    Args:
        folder: Where it is made.
        which: "oldest" or "newest".
    """

    def __init__(self, folder: Path, which: str) -> None:
        self.which = which
        self.home = folder / "venv"
        self.python = str(self.home / "bin" / "python")
        self.failed = folder / "failed"  # pytest's memory of what failed
        self.again = folder / "again"

    def install(self) -> None:
        """Make the environment, with whatever its resolver finds."""
        run(sys.executable, "-m", "venv", "--without-pip", str(self.home))
        model = re.search(r'^MODEL = "(.+)"', (ROOT / "dev.py").read_text(), re.M)
        pins = [f"{name}=={oldest}" for name, oldest in promised()]
        chosen = pins if self.which == "oldest" else []
        self.uv("--refresh", "--editable", ".[local,test]", *chosen)
        self.uv("--no-deps", model[1] if model else "")

    def uv(self, *arguments: str) -> None:
        """Install something into the environment."""
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
        # Compiled, since where warnings are errors an old SDK may not even compile.
        options = ["--compile-bytecode", "--link-mode", "copy", "--python", self.python]
        run(*uv, *options, *arguments)

    def changed(self) -> dict[str, tuple[str, str]]:
        """Return what differs from the lock: the locked version, and the one here."""
        code = (
            "import json; from importlib.metadata import distributions as d;"
            "print(*{f'{x.name}=={x.version}' for x in d()}, sep='\\n')"
        )
        found = subprocess.check_output([self.python, "-c", code], text=True)
        here = dict(line.split("==") for line in found.split())
        changed = {}
        for name, version_ in here.items():
            locked = installed(name)
            if locked and locked != version_:
                changed[name] = locked, version_
        return changed

    def passes(self) -> bool:
        """Run the tests, by two processes."""
        cache = f"cache_dir={self.failed}"
        return self.pytest("-n", "2", "--dist", "worksteal", "-m", SUITE, "-o", cache)

    def is_to_blame(self, name: str, locked: str, found: str) -> bool:
        """Tell whether what failed passes with the locked version of one package."""
        shutil.rmtree(self.again, ignore_errors=True)
        shutil.copytree(self.failed, self.again)
        self.uv("--no-deps", f"{name}=={locked}")
        try:
            cache = f"cache_dir={self.again}"
            return self.pytest("--lf", "--lfnf", "none", "-m", SUITE, "-o", cache)
        finally:
            self.uv("--no-deps", f"{name}=={found}")

    def pytest(self, *options: str) -> bool:
        """Tell whether pytest ends well."""
        command = [self.python, "-m", "pytest", "-q", *options]
        return subprocess.call(command, cwd=ROOT, env=ENVIRONMENT) == 0


def promised() -> Iterator[tuple[str, str]]:
    """Yield the packages that setup.cfg asks for, each with its oldest version."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    wanted = (config["options"]["install_requires"], extras["local"], extras["test"])
    lines = chain.from_iterable(each.split("\n") for each in wanted)
    for line in sorted(filter(None, set(lines))):
        name, _, oldest = line.partition(";")[0].strip().partition(">=")
        if name.partition("[")[0] not in TOOLS:
            yield name, oldest


def installed(name: str) -> str:
    """Return the version in this environment, which is the locked one; or ""."""
    try:
        return version(name)
    except ModuleNotFoundError:
        return ""


def run(*command: str) -> None:
    """Run a program, which must succeed."""
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)


if __name__ == "__main__":
    sys.exit(main())
