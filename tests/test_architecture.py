"""Imports point down: the floors of the design, read from the syntax tree."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import flask_llm

ROOT = Path(flask_llm.__file__).parent

# From the ground up; a module may import those of lower rows, and its package's `base`.
FLOORS = [
    [
        "errors",
        "clock",
        "process",
        "greenlets",
        "packages",
        "messages",
        "spans",
        "folders",
    ],
    ["line", "origin"],
    ["characters", "personal", "references"],
    ["json_text", "nulls", "validators"],
    ["checks"],
    ["schemas", "workers"],
    ["request", "circuit", "deadline", "relay", "caller"],
    ["types"],
    ["filtering"],
    ["aside"],
    ["signals", "redact", "parsers", "retry", "wording", "lane", "filters", "pieces"],
    ["logs"],
    ["content"],
    ["state", "state.base"],
    ["state.memory", "state.sqlite", "state.redis", "state.health", "state.worker"],
    ["state.shared"],
    ["state.urls"],
    ["effective"],
    ["reader", "carried", "names"],
    ["classify", "observing", "own_prices"],
    ["config", "price_list"],
    ["presentable", "terms"],
    ["providers", "providers.base", "providers.llama", "providers.parameters"],
    ["providers.internals"],
    ["providers.thinking"],
    ["providers.translation", "providers.said"],
    ["providers.cohere_answers", "providers.cohere_schema"],
    ["providers.dialects", "providers.dialogue"],
    ["providers.claude_answers", "providers.claude_errors"],
    ["providers.broken", "providers.completion", "providers.retired"],
    ["providers.http", "providers.loading", "providers.requests", "providers.unread"],
    ["providers.google_auth", "providers.sdk", "providers.completion_stream"],
    ["providers.callback", "providers.local_chunks"],
    ["providers.ollama_chat", "providers.ollama_errors"],
    ["providers.chat", "providers.google"],
    ["providers.google_chat", "providers.google_list"],
    ["providers.claude", "providers.cohere", "providers.local"],
    ["providers.google_session"],
    ["providers.ollama", "providers.openai", "providers.genai"],
    ["providers.google_credentials"],
    ["providers.gemini", "providers.vertex"],
    ["registry", "verdict"],
    ["entry"],
    ["endpoints", "prices"],
    ["assembly", "breaker", "outcome"],
    ["turns", "answers", "standing", "road"],
    ["telling"],
    ["walk"],
    ["call", "stream_walk"],
    ["chain", "stream"],
    ["generation"],
    ["trial"],
    ["aio"],
    ["factory"],
    ["warm_up", "links"],
    ["offers"],
    ["observe.record"],
    ["observe.semconv", "observe.families", "observe.labels", "observe.share"],
    ["observe.live"],
    ["observe.meter", "observe.scrape"],
    ["observe.counting"],
    ["observe.serving"],
    ["observe.metrics"],
    ["observe.call_span"],
    ["observe.tracing"],
    ["observe.tally"],
    ["observe.source"],
    ["observe.memory"],
    ["observe.window"],
    ["observe.usage.place", "observe.usage.wording", "observe.usage.items"],
    ["observe.usage.report"],
    ["observe.usage.tables", "observe.usage.outage", "observe.usage.dialects"],
    ["observe.usage.rows", "observe.usage.schema", "observe.usage.retention"],
    ["observe.usage.link", "observe.usage.portable"],
    ["observe.usage.ledger"],
    ["observe.usage.book", "observe.usage.asking"],
    ["observe.usage.source"],
    ["observe.usage.writer", "observe.usage.figures", "observe.usage.probe"],
    ["observe.usage.log", "observe.usage.printing"],
    ["observe.usage"],
    ["observe.usage.command"],
    ["observe"],
    ["web.client", "web.sse", "web.surroundings"],
    ["web.kinds"],
    ["web.charts", "web.paths", "web.timeline"],
    ["web.streaming", "web.formats"],
    ["web.drawing"],
    ["web.pages"],
    ["web.report.advice", "web.report.figures", "web.report.openings"],
    ["web.report.findings", "web.report.points", "web.report.totals"],
    ["web.report.lately"],
    ["web.report.calls", "web.report.cards"],
    ["web.report.headline"],
    ["web.report"],
    ["web.dashboard"],
    ["web.guard"],
    ["web.actions", "web.health", "web.metrics", "web.status"],
    ["web.routes", "web.warning"],
    ["web.openapi"],
    ["web"],
    ["cli"],
    ["extension"],
    ["doctor.finding", "doctor.gunicorn", "doctor.subject", "doctor.waiting"],
    ["doctor.start", "doctor.versions", "doctor.providers", "doctor.models"],
    ["doctor.observers", "doctor.prices"],
    ["doctor.store", "doctor.settings", "doctor.live", "doctor.report"],
    ["doctor"],
    ["testing.fake", "testing.fork", "testing.server"],
    ["testing.basics", "testing.replies"],
    ["testing.chats"],
    ["testing.in_process", "testing.wired"],
    ["testing.failures", "testing.keys"],
    ["testing.contract"],
    ["cli.printing"],
    ["cli.commands"],
    ["", "testing"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}

MAY_IMPORT_FLASK = ("extension", "cli", "web", "observe")  # with what is in them
SDKS = {"anthropic", "google", "xllamacpp", "openai", "cohere", "ollama", "requests"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


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
                yield dotted if inner in LEVEL else base, node in top


ALL = dict(modules())


@pytest.fixture(scope="module")
def imported():
    """Return what each module imports, and whether at its top."""
    return {name: list(imports(path)) for name, path in ALL.items()}


def test_every_module_has_a_floor():
    """A new file must be placed in the drawing."""
    assert set(ALL) == set(LEVEL)


def test_imports_point_down(imported):
    """Nothing knows what is built on it."""
    inner = [
        (name, each.removeprefix("flask_llm").removeprefix("."))
        for name, found in imported.items()
        for each, _ in found
        if each.partition(".")[0] == "flask_llm"
    ]
    assert not [pair for pair in inner if pair[1] not in LEVEL]
    assert not [(name, to) for name, to in inner if LEVEL[to] >= LEVEL[name]]


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


def test_the_exports_are_the_documented_ones():
    """A name here is a promise."""
    assert flask_llm.__all__ == [
        "FlaskLLM",
        "LLMFactory",
        "LLMProvider",
        "LLMResponse",
        "LLMStream",
        "Restart",
        "StreamInterrupted",
        "current_llm",
    ]
    for name in flask_llm.__all__:
        assert hasattr(flask_llm, name)


def test_the_package_says_that_it_is_typed():
    """Type checkers look for the marker."""
    assert (ROOT / "py.typed").is_file()
