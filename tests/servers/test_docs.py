"""The documentation: the site builds, names what there is, and its code runs."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from known_keys import EXAMPLES, documented_keys, read_keys

from flask_llm import LLMFactory
from flask_llm.config.reader import setting_key

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.rst"))}
MUST_RUN = "FLASK_LLM_CI" in os.environ

# Of the page that shows how to write a provider.
ACME = re.compile(r"LLM_ACME_[A-Z_]+|ACME_API_KEY")


@pytest.mark.skipif(not find_spec("sphinx") and not MUST_RUN, reason="needs sphinx")
def test_the_site_builds_without_a_warning(tmp_path):
    """Every page, every link and every docstring of the API is in order."""
    strict = ["-W", "--keep-going", "-n", "-q", "-E"]
    folders = ["-d", tmp_path / "doctrees", DOCS, tmp_path / "html"]
    done = run([sys.executable, "-m", "sphinx", *strict, *folders], tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    built = {path.stem for path in (tmp_path / "html").glob("*.html")}
    assert built >= {path.stem for path in DOCS.iterdir() if path.is_file()} - {"conf"}


def sections(page):
    """Return the text of each section by its title."""
    parts = re.split(r"(?m)^(\S.*)\n-{3,}\n", page)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections(PAGES["providers"])


def test_every_provider_has_a_section():
    """Whoever finds a name in the registry finds it on the page, and no other."""
    assert {*LLMFactory.PROVIDER_REGISTRY} == {
        title for title in SECTIONS if title.islower()
    }


@pytest.mark.parametrize("name", sorted(LLMFactory.PROVIDER_REGISTRY))
def test_a_section_tells_what_the_provider_says_of_itself(name):
    """Its keys, its default model, its package and each setting of its own."""
    provider = LLMFactory.PROVIDER_REGISTRY[name]
    package = provider.requirement
    facts = {
        *provider.api_key_names,
        provider.default_model,
        f"pip install {package}" if "[" in package else package,
        *(setting_key(name, option) for option in provider.options),
    }
    assert not {fact for fact in facts if fact not in SECTIONS[name]}


@pytest.mark.parametrize("page", PAGES)
def test_every_key_on_a_page_is_read(page):
    """A key that a page names does something."""
    named = {key for key in documented_keys(PAGES[page]) if not ACME.fullmatch(key)}

    assert named - EXAMPLES <= read_keys()


def blocks(page):
    """Yield the language, the caption and the content of each code block."""
    pattern = (
        r"(?m)^\.\. code-block:: (\w+)\n(?: +:caption: (.+)\n)?\n((?: {4}.*\n|\n)+)"
    )
    for language, caption, content in re.findall(pattern, page):
        yield language, caption, textwrap.dedent(content).strip() + "\n"


SHOWN = [
    (language, content)
    for page in ("index", "providers")
    for language, caption, content in blocks(PAGES[page])
    if caption in {".env", "config.py"}
]


@pytest.mark.parametrize(("language", "content"), SHOWN)
def test_what_is_shown_is_a_valid_configuration(language, content, caplog):
    """Copied and uncommented it starts, and no key of it is warned of."""
    values = {}
    if language == "python":
        exec(content, values)
    else:
        uncommented = re.sub(r"(?m)^#(?=[A-Z])", "", content)
        values = dotenv_values(stream=StringIO(uncommented))
    LLMFactory(config=values)

    assert not [each for each in caplog.records if each.levelname == "WARNING"]


def test_the_app_of_the_first_page_runs():
    """Without any key it says so, politely."""
    ((_, _, code),) = (
        block for block in blocks(PAGES["index"]) if block[0] == "python"
    )
    scope = {"__name__": "app"}
    exec(code, scope)

    assert scope["app"].test_client().get("/").status_code == 503


def test_the_provider_that_is_shown_runs(tmp_path):
    """Its files, each written as its caption says, and its commands, word for word."""
    commands = 0
    for language, caption, content in blocks(PAGES["own-provider"]):
        if language == "console":
            commands += play(content, tmp_path)
        else:
            assert caption, f"a file without a name:\n{content}"
            (tmp_path / caption).write_text(content)
        if caption == "pyproject.toml":
            install(tmp_path)

    assert commands == PAGES["own-provider"].count("\n    $ ") > 3


def play(session, folder):
    """Run the commands of a console session; return how many there were."""
    steps = re.findall(r"(?m)^\$ (.+)\n((?:(?!\$ ).*\n)*)", session)
    for command, expected in steps:
        done = run(shlex.split(command), folder, PYTHONWARNINGS="error")
        pattern = re.escape(expected.rstrip()).replace("…", ".*")
        told = f"$ {command}\n{done.stdout}{done.stderr}"
        assert re.fullmatch(pattern, done.stdout.rstrip(), re.DOTALL), told
        assert done.returncode == 0, told
    return len(steps)


def install(folder):
    """Do what matters of `pip install .`: leave the entry points to be found."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = (
        folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    )
    info.mkdir()
    head = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(head.format(**project))
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {to}" for name, to in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


def run(command, folder, **variables):
    """Run a command as a reader would, in this environment."""
    programs = Path(sys.executable).parent
    variables |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }
    environment = os.environ | variables
    environment.pop("FLASK_SKIP_DOTENV")  # a reader's .env is read
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
