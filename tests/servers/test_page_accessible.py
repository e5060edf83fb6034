"""The dashboard as axe sees it, in each of its states and in both themes."""

import os
from importlib.util import find_spec

import page_reports
import pytest
from page_app import app_showing
from serving import served

_IN_CI = bool(os.environ.get("FLASK_LLM_CI"))  # now: a fixture cleans it away

pytestmark = pytest.mark.slow

PAGES = {
    "fallback": (page_reports.fallback, "/llm/dashboard"),
    "empty": (page_reports.empty, "/llm/dashboard"),
    "single": (page_reports.single, "/llm/dashboard"),
    "down": (page_reports.down, "/llm/dashboard"),
    "resting": (page_reports.resting, "/llm/dashboard"),
    "crowded": (page_reports.crowded, "/llm/dashboard"),
    "troubled": (page_reports.troubled, "/llm/dashboard"),
    "call": (page_reports.serving, "/llm/dashboard/calls/5f0c"),
}


@pytest.fixture
def axe():
    """Return axe, or skip; in CI fail."""
    if not find_spec("axe_playwright_python"):
        (pytest.fail if _IN_CI else pytest.skip)("needs axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(chromium, axe, name, scheme):
    """Names, roles, headings, contrast: no violation, best practices included."""
    made, path = PAGES[name]

    def play(page):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(
            "document.querySelectorAll('details').forEach((each) => each.open = true)"
        )
        page.wait_for_timeout(100)
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()

    with served(app_showing(made)) as address:
        assert chromium.visit(address, play, path) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_something_is_wrong(chromium, axe, scheme):
    """Nor with a button's answer over the page, and news that do not come."""
    app = app_showing(page_reports.fallback, 0.1, page_reports.lost_call)

    def play(page):
        page.emulate_media(color_scheme=scheme)
        page.click("#test-2")
        page.wait_for_selector("#notice.is-ok")
        app.view_functions["flask_llm.dashboard"] = lambda: ""
        page.wait_for_selector("body.is-late")
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        page.goto(f"{page.url}/calls/5f0c")
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()

    with served(app) as address:
        assert chromium.visit(address, play, "/llm/dashboard") == []


def test_axe_would_find_something(chromium, axe):
    """The check is alive: a text that is too pale is told."""

    def play(page):
        page.evaluate("document.querySelector('h1').style.color = '#dddddd'")
        found = axe.run(page)
        assert [each["id"] for each in found.response["violations"]] == [
            "color-contrast"
        ]

    with served(app_showing(page_reports.fallback)) as address:
        chromium.visit(address, play, "/llm/dashboard")
