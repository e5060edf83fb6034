"""Our pages do not depend on what an app does with its own templates."""

import jinja2
import pytest
from flask import Flask

from flask_llm import FlaskLLM, LLMProvider, LLMResponse
from flask_llm.errors import TransientError
from flask_llm.testing import FakeProvider

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
CANARY = "<script>alert(1)</script>"
HALF = "cut \ud83d"

MAKO = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "${",
    "variable_end_string": "}",
}


def make_app(provider=None, **jinja):
    """Return an app whose Jinja is its own, open to all."""
    app = Flask("testapp")
    app.jinja_options = jinja
    app.config |= {
        "LLM_PRIMARY_PROVIDER": provider or FakeProvider(TransientError(CANARY)),
        "LLM_FALLBACK_PROVIDERS": [FakeProvider("hi", name="second")],
        "LLM_MAX_RETRIES": 1,
    }
    FlaskLLM(app, authorize=lambda: True)
    return app


def pages(app):
    """Make a call, and return the dashboard, the call's page and a refusal."""
    told = app.llm.generate_content("hello", purpose=f"for {CANARY}")
    call = f"/llm/dashboard/calls/{told.metadata['call_id']}"
    paths = {"/llm/dashboard": 200, call: 200, "/llm/dashboard/calls/x": 404}
    for path, status in paths.items():
        page = app.test_client().get(path, headers=BROWSER)
        assert (page.status_code, path) == (status, path)
        yield page.text


def check(app):
    """Compare an app's pages with what they must be."""
    for page in pages(app):
        assert page.lower().startswith("<!doctype html>")
        assert page.rstrip().endswith("</html>")
        assert CANARY not in page
        assert not {"{{", "{%", "{#"} & {page[i : i + 2] for i in range(len(page))}


@pytest.mark.parametrize(
    "jinja",
    [
        {"autoescape": False},
        MAKO,
        MAKO | {"autoescape": False},
        {"undefined": jinja2.StrictUndefined},
        {"line_statement_prefix": "#"},
        {"enable_async": True},
    ],
)
def test_the_app_s_jinja_changes_nothing(jinja):
    """Neither what is escaped nor how a page looks."""
    check(make_app(**jinja))


@pytest.mark.parametrize(
    "name", ["report", "settings", "count", "each", "url_for", "request", "csrf_field"]
)
def test_names_of_the_app_s_templates_are_not_ours(name):
    """A context processor and a global may be called as ours are."""
    app = make_app()
    app.context_processor(lambda: {name: CANARY})
    app.jinja_env.globals[name] = CANARY

    check(app)


def test_filters_of_the_app_s_are_not_ours():
    """One that is called `tojson` does not write the charts' data."""
    app = make_app()
    app.jinja_env.filters.update(tojson=lambda value: CANARY, length=lambda value: 0)

    check(app)


class Odd(LLMProvider):
    """Has half a character in all that it says of itself."""

    model = HALF
    error = None

    def get_provider_name(self):
        return HALF

    def is_available(self):
        return self.error is None

    def unavailable_reason(self):
        return self.error

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        if prompt == "fail":
            raise RuntimeError(HALF)
        return LLMResponse(True, "hi", HALF, metadata={"model": HALF})


@pytest.mark.parametrize("usage", [False, True])
def test_half_a_character_breaks_no_page(usage, tmp_path):
    """A provider's error cut within an emoji is shown, kept and counted."""
    if usage:
        pytest.importorskip("sqlalchemy")
    app = Flask("testapp", instance_path=str(tmp_path))
    app.config |= {"LLM_PRIMARY_PROVIDER": Odd(), "LLM_FALLBACK_PROVIDERS": []}
    app.config |= {"LLM_METRICS": "on", "LLM_MAX_RETRIES": 1, "LLM_USAGE": usage}
    app.config["LLM_BREAKER_FAILURES"] = 0
    FlaskLLM(app, authorize=lambda: True)
    calls = [app.llm.generate_content(each, purpose=HALF) for each in ("hi", "fail")]
    if usage:
        app.extensions["llm.usage"].flush(5.0)
    names = [f"dashboard/calls/{each.metadata['call_id']}" for each in calls]
    client = app.test_client()
    for name in ("dashboard", "dashboard/data", "status?detail=1", "metrics", *names):
        for headers in ({}, BROWSER):
            shown = client.get(f"/llm/{name}", headers=headers)
            assert (shown.status_code, name) == (200, name)

    assert client.get("/llm/dashboard/data").json["tiles"]["calls"] == 2
    assert client.get("/llm/dashboard/data").json["source"]["lost"] == 0


def test_half_a_character_in_a_reason_breaks_no_page():
    """Of a provider that cannot be asked."""
    odd = Odd()
    odd.error = HALF
    app = make_app(odd)

    check(app)
    page = app.test_client().get("/llm/dashboard", headers=BROWSER)
    assert "cut \ufffd" in page.text
