"""The dashboard brings itself up to date, in a real browser."""

import re

import page_reports
import pytest
from flask import Flask
from page_eyes import PAGE, QUICK_S, pixels, visit
from page_reports import growing
from patience import settled, until
from serving import served

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

pytestmark = pytest.mark.slow


def test_a_new_call_appears_without_a_reload(chromium):
    """It takes away no focus and no open part; the page looks every three seconds."""

    def play(page):
        link = "#" + page.locator("#recent tbody a").nth(1).get_attribute("id")
        page.evaluate("window.stayed = true")
        page.click("#summary-cost")
        page.focus(link)
        newest = page.get_attribute("#recent tbody a", "id")
        page.wait_for_function(
            "(id) => document.querySelector('#recent tbody a').id !== id", arg=newest
        )
        assert page.evaluate("document.activeElement.id") == link[1:]
        assert page.locator("#details-cost").get_attribute("open") is not None
        assert page.evaluate("window.stayed")

    assert visit(chromium, growing(), play) == []


def test_a_table_stays_where_it_was_scrolled_to(chromium):
    """Also when its numbers are new."""
    top = "document.querySelector('#scroll-calls').scrollTop"

    def play(page):
        page.click("#summary-calls")
        page.evaluate(f"{top} = 150")
        before = page.inner_text("#scroll-calls")
        page.wait_for_function(
            "(text) => document.querySelector('#scroll-calls').innerText !== text",
            arg=before,
        )
        assert page.evaluate(top) == 150

    assert visit(chromium, growing(), play, refresh_s=QUICK_S) == []


def test_a_text_that_is_being_marked_stays(chromium):
    """Whoever copies a line gets it; when that is over, the news comes."""
    newest = "document.querySelector('#recent tbody a').id"
    mark = "getSelection().selectAllChildren(document.querySelector('#recent tbody'))"

    def play(page):
        page.evaluate(mark)
        before = page.evaluate(newest)
        page.wait_for_timeout(500)
        assert page.evaluate(newest) == before
        page.evaluate("getSelection().empty()")
        page.wait_for_function(f"(id) => {newest} !== id", arg=before)

    assert visit(chromium, growing(), play, refresh_s=QUICK_S) == []


def test_a_real_call_appears_on_the_real_page(chromium):
    """A call of the app itself is there soon, with path and detail."""
    app = Flask("real")
    chain = [FakeProvider(QuotaError(status=429), name="gemini")]
    chain.append(FakeProvider("pong", name="claude"))
    app.config |= {
        "LLM_PRIMARY_PROVIDER": chain[0],
        "LLM_FALLBACK_PROVIDERS": chain[1:],
    }
    app.config |= {"LLM_DASHBOARD": "on", "DEBUG": True}
    FlaskLLM(app)

    def play(page):
        assert "No calls yet" in page.inner_text("#first")
        with app.app_context():
            assert app.llm.generate_content("ping", purpose="greeting").success
        page.get_by_text("gemini ✕429 → claude ✓").wait_for()
        assert "greeting" in page.inner_text("#breakdown")
        until(page, lambda: pixels(page, "errors", "series-4") > 20)
        page.click("#recent tbody a")
        assert "claude answered" in page.inner_text("h1")
        assert page.locator(".try").count() == 2

    with served(app) as address:
        assert chromium.visit(address, play, PAGE) == []


def test_what_has_not_changed_is_not_touched(chromium):
    """A report with the same numbers replaces no element, only times go on."""
    made = []

    def later():
        report = page_reports.fallback()
        made.append(report["generated_at"])
        report["generated_at"] += len(made) - 1
        return report

    def play(page):
        page.evaluate("window.card = document.querySelector('.card')")
        until(page, lambda: len(made) >= 4)
        assert page.evaluate("window.card.isConnected")
        until(page, lambda: "18" not in page.inner_text("h1 time"))

    assert visit(chromium, later, play, refresh_s=QUICK_S) == []


def test_the_first_call_fills_an_empty_page(chromium):
    """What to do first makes place for numbers and charts."""
    called = []

    def made():
        return page_reports.fallback() if called else page_reports.empty()

    def play(page):
        assert "No calls yet" in page.inner_text("#first")
        assert not page.is_visible("#charts")
        called.append(True)
        page.wait_for_selector("[data-chart=calls] canvas")
        until(page, lambda: pixels(page, "calls", "series-1") > 1000)
        assert "No calls yet" not in page.inner_text("main")

    assert visit(chromium, made, play, refresh_s=QUICK_S) == []


def test_a_new_sentence_is_said_once(chromium):
    """Ears hear it when it changes, not with each tick of its countdown."""
    called = []

    def made():
        return page_reports.fallback() if called else page_reports.serving()

    watch = """() => {
      window.said = [];
      const node = document.getElementById("said");
      const hear = () => window.said.push(node.textContent);
      new MutationObserver(hear).observe(node, { childList: true });
    }"""

    def play(page):
        page.evaluate(watch)
        called.append(True)
        page.get_by_text("Serving from claude").first.wait_for()
        page.wait_for_timeout(1300)
        said = "Serving from claude: gemini's circuit is open (429)"
        assert page.evaluate("window.said") == [said]

    assert visit(chromium, made, play, refresh_s=QUICK_S) == []


def test_a_countdown_ticks(chromium):
    """It goes on between two looks, by the server's clock."""

    def play(page):
        before = page.inner_text("h1 time")
        page.wait_for_function(
            "(text) => document.querySelector('h1 time').textContent !== text",
            arg=before,
        )
        left = re.fullmatch("in (\\d+)\u00a0s", page.inner_text("h1 time"))
        assert int(left[1]) < 18

    assert visit(chromium, page_reports.fallback, play) == []


def test_nobody_looks_at_a_hidden_tab(chromium):
    """It fetches nothing, and is up to date at once when it is seen again."""
    looks = []

    def made():
        looks.append(True)
        return page_reports.serving()

    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""

    def play(page):
        page.evaluate(hide, True)
        before = settled(page, lambda: len(looks))
        page.evaluate(hide, False)
        until(page, lambda: len(looks) > before + 2)

    assert visit(chromium, made, play, refresh_s=QUICK_S) == []


def test_pause(chromium):
    """Whoever reads can stop the changes, and let them go on."""

    def play(page):
        page.click("#pause")
        page.wait_for_timeout(200)
        before = page.get_attribute("#recent tbody a", "id")
        page.wait_for_timeout(400)
        assert page.get_attribute("#recent tbody a", "id") == before
        assert page.inner_text("#freshness").startswith("Paused at")
        page.click("#pause")
        page.wait_for_function(
            "(id) => document.querySelector('#recent tbody a').id !== id", arg=before
        )

    assert visit(chromium, growing(), play, refresh_s=QUICK_S) == []
