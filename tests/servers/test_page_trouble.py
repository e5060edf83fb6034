"""The dashboard when something is wrong with its server, in a real browser."""

from itertools import count

import page_reports
import pytest
from page_app import app_showing
from page_eyes import PAGE, PHONE, QUICK_S, visit
from page_reports import growing
from serving import served

pytestmark = pytest.mark.slow

DASHBOARD = "flask_llm.dashboard"
COLOR = "getComputedStyle(document.querySelector('h1')).color"


def closed(page, app, view):
    """Let the dashboard's address be answered by something else from now on."""
    shown, app.view_functions[DASHBOARD] = app.view_functions[DASHBOARD], view
    page.get_by_text("Not updating since").wait_for()
    return shown


def test_a_server_that_is_away(chromium):
    """The page says since when it is not up to date, and goes on when it can."""

    def play(page):
        title, color = page.title(), page.evaluate(COLOR)
        page.context.set_offline(True)
        page.get_by_text("Not updating since").wait_for()
        assert "does not answer" in page.inner_text("#freshness")
        assert page.title() == "✕ Not updating · Flask-LLM"
        assert page.evaluate(COLOR) != color
        page.context.set_offline(False)
        page.get_by_text("Live", exact=True).wait_for()
        assert page.title() == title
        assert page.evaluate(COLOR) == color

    complaints = visit(chromium, growing(), play, refresh_s=QUICK_S)
    assert all("ERR_INTERNET_DISCONNECTED" in each for each in complaints)


@pytest.mark.parametrize("status", [401, 403])
def test_a_session_that_has_ended(chromium, status):
    """The page says what to do, and goes on if that was done elsewhere."""
    app = app_showing(page_reports.serving, QUICK_S)

    def play(page):
        shown = closed(page, app, lambda: ("Log in first.", status))
        said = page.inner_text("#freshness")
        assert said.endswith("reload the page to log in again")
        app.view_functions[DASHBOARD] = shown
        page.get_by_text("Live", exact=True).wait_for()

    with served(app) as address:
        complaints = chromium.visit(address, play, PAGE)
    assert all(str(status) in each for each in complaints)


def test_a_page_to_log_in_at(chromium):
    """It is not taken for the dashboard."""
    app = app_showing(page_reports.serving, QUICK_S)

    def play(page):
        closed(page, app, lambda: "<title>Log in</title>")
        assert "reload the page to log in again" in page.inner_text("#freshness")
        assert page.inner_text("h1") == "Serving from gemini"

    with served(app) as address:
        assert chromium.visit(address, play, PAGE) == []


def test_trouble_is_seen_wherever_the_reader_is(chromium):
    """What says so stays in sight, far below the top of the page, too."""
    app = app_showing(page_reports.serving, QUICK_S)

    def play(page):
        page.set_viewport_size(PHONE)
        page.evaluate("scrollTo(0, 2000)")
        closed(page, app, lambda: ("", 500))
        place = page.locator("#freshness").bounding_box()
        assert 0 <= place["y"] < PHONE["height"]
        assert "the server answered with 500" in page.inner_text("#freshness")

    with served(app) as address:
        chromium.visit(address, play, PAGE)


def test_the_page_looks_as_often_as_the_server_says(chromium):
    """A source that fails is left alone for longer, from the next look on."""
    looks = count()

    def made():
        next(looks)
        return page_reports.down()

    app = app_showing(page_reports.serving, QUICK_S)

    def play(page):
        usual = app_showing(made, None).view_functions[DASHBOARD]
        app.view_functions[DASHBOARD] = usual
        page.get_by_text("The numbers cannot be read").wait_for()
        page.wait_for_timeout(500)
        assert next(looks) == 1

    with served(app) as address:
        assert chromium.visit(address, play, PAGE) == []


def test_the_answer_of_a_button_moves_nothing(chromium):
    """It stands over the page, and goes when the reader has read it."""
    top = "document.querySelector('#charts').getBoundingClientRect().top"

    def play(page):
        before = page.evaluate(top)
        page.click("#test-2")
        page.wait_for_selector("#notice.is-ok")
        assert page.evaluate(top) == before
        page.set_viewport_size(PHONE)
        page.click("#notice-close")
        assert page.inner_text("#notice") == ""
        assert not page.is_visible("#notice-close")
        assert page.evaluate("document.activeElement.id") == "test-2"

    assert visit(chromium, page_reports.fallback, play) == []


def test_a_moment_of_another_day_has_its_day(chromium):
    """In the reader's own time, by the server's clock."""

    def made():
        report = page_reports.serving()
        report["recent"][1]["at"] -= 86_400
        return report

    def play(page):
        times = page.locator("#recent time").all_inner_texts()
        assert [len(each) > len("07:46:40") for each in times[:3]] == [
            *(False, True, False)
        ]

    assert visit(chromium, made, play) == []
