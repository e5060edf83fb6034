"""Imports point down: the floors of the design, read from the syntax tree."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import flask_llm

ROOT = Path(flask_llm.__file__).parent

# From the ground up; a room may import those above it in this list, never the others.
ROOMS = [
    {"errors"},
    {"schema"},
    {"types"},
    {"filters", "signals", "resilience"},
    {"config"},
    {"providers"},
    {"fallback"},
    {"factory"},
    {"observe", "testing"},
    {"web"},
    {"cli"},
    {"extension"},
    {"__init__"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}

MAY_IMPORT_FLASK = ("extension", "cli", "web", "observe")  # with what is in them
SDKS = {"anthropic", "google", "xllamacpp", "openai", "cohere", "ollama", "requests"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


ALL = dict(modules())


def imports(path):
    """Yield (imported module, whether at the top) of a file."""
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    package = ".".join(path.relative_to(ROOT.parent).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                dotted = f"{base}.{alias.name}"
                inner = dotted.removeprefix("flask_llm.")
                yield dotted if inner in ALL else base, node in top


def room(module):
    """Return which room a module of the package is in."""
    return module.partition(".")[0] or "__init__"


@pytest.fixture(scope="module")
def imported():
    """Return what each module imports, and whether at its top."""
    return {name: list(imports(path)) for name, path in ALL.items()}


@pytest.fixture(scope="module")
def inner(imported):
    """Return which modules of the package each of them imports."""
    return {
        name: {
            each.removeprefix("flask_llm").removeprefix(".")
            for each, _ in found
            if each.partition(".")[0] == "flask_llm"
        }
        for name, found in imported.items()
    }


def test_rooms_import_one_way(inner):
    """Nothing knows what is built on it; a new room must be placed in the drawing."""
    assert {room(name) for name in ALL} == set(LEVEL)
    arrows = {(room(name), room(to)) for name, found in inner.items() for to in found}
    between = {(name, to) for name, to in arrows if name != to}
    assert not [(name, to) for name, to in between if LEVEL[to] >= LEVEL[name]]


def test_the_page_names_what_there_is():
    """docs/architecture.md has each room; its files exist, and have what it says."""
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    rooms = re.findall(r"(?m)^\| `(\w+)(?:\.py|/)` \|", page)
    assert {*rooms} == {*LEVEL} - {"__init__"}
    absent = []
    for part in re.split(r"\n(?=\d\. |\| |\n)", page):
        files = re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", part)
        paths = [
            (ROOT.parent if each[:6] == "tests/" else ROOT) / each for each in files
        ]
        absent += [path for path in paths if not path.exists()]
        text = "\n".join(path.read_text() for path in paths if path.is_file())
        defined = {*re.findall(r"(?:def|class) (\w+)", text)}
        known = defined | {*re.findall(r"\w+", text)}
        for dotted, name in re.findall(
            r"`([A-Z]\w+\.)?(\w+)`", part.replace(".py`", "")
        ):
            if text and name not in (defined if dotted else known):
                absent.append((name, files))
    assert not absent


def test_files_of_a_room_import_in_no_circle(inner):
    """Files of one room may know each other, in one direction.

    What a package's `__init__` offers is imported by its own files from where it is.
    """
    known = {name: {to for to in found if to in ALL} for name, found in inner.items()}
    tuple(TopologicalSorter(known).static_order())  # raises CycleError with the circle


def test_only_the_skin_knows_flask(imported):
    """Chain and factory run without an app."""
    knowing = {
        name
        for name, found in imported.items()
        if {each.split(".")[0] for each, _ in found} & {"flask", "werkzeug", "click"}
    }
    assert not [
        name for name in knowing if name.partition(".")[0] not in MAY_IMPORT_FLASK
    ]


def test_sdks_are_imported_on_first_use(imported):
    """No file imports a provider's SDK at its top, and only providers at all."""
    of_sdks = [
        (name, each, at_top)
        for name, found in imported.items()
        for each, at_top in found
        if each.split(".")[0] in SDKS
    ]
    assert of_sdks
    assert not [one for one in of_sdks if one[2] or not one[0].startswith("providers.")]


def test_importing_the_package_loads_no_sdk():
    """Nor does setting an app up with every provider in its chain."""
    code = f"""if True:
        import sys
        import flask
        from flask_llm import FlaskLLM
        app = flask.Flask("x")
        app.config["GOOGLE_API_KEY"] = app.config["ANTHROPIC_API_KEY"] = "k-12345678"
        app.config["LLM_FALLBACK_PROVIDERS"] = "claude,local"
        FlaskLLM(app)
        app.test_client().get("/llm/status")
        loaded = {SDKS!r} & {{name.split(".")[0] for name in sys.modules}}
        # `google` may be an empty namespace that looking for its packages made.
        loaded -= {{"google"}}
        assert not loaded, loaded
        assert "google.generativeai" not in sys.modules
        assert "google.ai" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
