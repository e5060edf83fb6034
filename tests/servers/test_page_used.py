"""The dashboard in use, in a real browser: by keyboard, on a phone, its buttons."""

from itertools import count

import page_reports
import pytest
from page_app import app_showing
from page_eyes import PAGE, PHONE, WIDER, visit
from page_reports import growing
from patience import until
from serving import served

pytestmark = pytest.mark.slow

STATES = ["fallback", "empty", "single", "down", "resting", "crowded", "troubled"]


def test_the_page_has_what_an_operator_looks_for(chromium):
    """Sentence, chain, numbers and calls are there, and the browser is content."""
    calls = page_reports.fallback()["tiles"]["calls"]

    def play(page):
        assert page.inner_text("h1").startswith("Serving from claude: gemini's circuit")
        assert page.locator(".card").count() == 3
        assert f"{calls:,}" in page.inner_text("#tiles")
        assert "gemini ✕429 → claude ✓" in page.inner_text("#recent")
        assert page.inner_text("#freshness") == "Live"

    assert visit(chromium, page_reports.fallback, play) == []


def test_a_provider_is_tested_from_its_card(chromium):
    """The button asks it for real, and the answer is told without leaving the page."""

    def play(page):
        page.evaluate("window.stayed = true")
        page.click("#test-2")
        page.wait_for_selector("#notice.is-ok")
        assert page.inner_text("#notice").startswith("✓ claude: ")
        assert page.evaluate("document.activeElement.id") == "test-2"
        assert page.inner_text("#test-2") == "Test"
        assert page.evaluate("window.stayed")

    assert visit(chromium, growing(), play) == []


def test_a_circuit_is_reset_from_its_card(chromium):
    """The focus stays near when the button is gone with the open circuit."""
    looks = count()

    def made():
        return page_reports.serving() if next(looks) else page_reports.fallback()

    def play(page):
        page.focus("#reset-1")
        page.keyboard.press("Enter")
        page.wait_for_selector("#notice.is-ok")
        page.wait_for_selector("#reset-1", state="detached")
        assert page.evaluate("document.activeElement.id") == "test-1"

    assert visit(chromium, made, play) == []


def test_an_action_that_fails(chromium):
    """The page says what the server said."""
    app = app_showing(page_reports.fallback)
    app.view_functions["flask_llm.test_provider"] = lambda name: (
        {"error": "No <b>way</b>."},
        403,
    )

    def play(page):
        page.click("#test-1")
        page.wait_for_selector("#notice.is-error")
        assert page.inner_text("#notice-text") == "✕ Test did not work: No <b>way</b>."

    with served(app) as address:
        complaints = chromium.visit(address, play, PAGE)
    assert all("403" in each for each in complaints)


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wider_than_a_phone(chromium, state):
    """No state of the page has to be scrolled sideways at 360 pixels."""

    def play(page):
        page.set_viewport_size(PHONE)
        until(page, lambda: page.evaluate(WIDER) == 0)
        page.evaluate(
            "document.querySelectorAll('details').forEach((each) => each.open = true)"
        )
        assert page.evaluate(WIDER) == 0

    assert visit(chromium, getattr(page_reports, state), play) == []


def test_the_keyboard_reaches_everything(chromium):
    """In the order of the page, each with a ring that is seen."""
    recent = page_reports.fallback()["recent"]
    place = """() => {
      const { id, className, textContent } = document.activeElement;
      const style = getComputedStyle(document.activeElement);
      return [id || className || textContent, style.outlineStyle, style.outlineWidth];
    }"""

    def play(page):
        walked = []
        for _ in range(17):
            page.keyboard.press("Tab")
            name, style, width = page.evaluate(place)
            assert (style, width) == ("solid", "3px"), name
            walked.append(name.split(",")[0])
        assert walked == [
            *("skip", "brand", "pause", "15 min", "1 h", "24 h", "7 d"),
            *("test-1", "reset-1", "test-2", "test-3"),
            *("summary-calls", "summary-latency", "summary-cost", "summary-errors"),
            *(f"call-{each['call_id']}" for each in recent[:2]),
        ]

    def skip(page):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "test-1"

    assert visit(chromium, page_reports.fallback, play) == []
    assert visit(chromium, page_reports.fallback, skip) == []


def test_the_page_works_without_a_script(chromium):
    """All but the drawings is in the markup: numbers in tables, forms, links."""

    def play(page):
        context = page.context.browser.new_context(java_script_enabled=False)
        plain = context.new_page()
        plain.goto(page.url)
        assert plain.inner_text("h1 time") == "in 18\u00a0s"
        assert not plain.is_visible("#pause")
        plain.click("#summary-calls")
        assert plain.locator("#numbers-calls tbody tr").count() > 30
        plain.click("#test-1")
        assert "gemini" in plain.inner_text("h1")
        context.close()

    assert visit(chromium, page_reports.fallback, play) == []
