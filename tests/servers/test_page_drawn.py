"""The dashboard's charts in a real browser: drawn, in the theme's colors."""

import page_reports
import pytest
from page_eyes import BEFORE, OPEN, PAINTED, PHONE, WIDER, pixels, visit
from patience import until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_charts_are_drawn(chromium, scheme):
    """Each has pixels in the colors of its series, as the theme has them."""

    def play(page):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector("[data-chart=errors] canvas")
        until(page, lambda: pixels(page, "calls", "series-1") > 1000)
        assert pixels(page, "calls", "series-2") > 500
        assert pixels(page, "latency", "series-3") > 100
        assert pixels(page, "latency", "series-4") > 100
        assert pixels(page, "cost", "series-5") > 500
        assert pixels(page, "cost", "series-6") > 500
        assert pixels(page, "errors", "series-4") > 200
        assert pixels(page, "calls", "series-5") == 0

    assert visit(chromium, page_reports.fallback, play) == []


def test_calls_that_nobody_answered_are_drawn(chromium):
    """They stand on the others, in the color of what went wrong."""

    def made():
        report = page_reports.fallback()
        calls = report["charts"]["calls"]
        calls["not answered"] = [5] * len(report["charts"]["at"])
        return report

    def play(page):
        page.wait_for_selector("[data-chart=calls] canvas")
        until(page, lambda: pixels(page, "calls", "series-failed") > 200)

    assert visit(chromium, made, play) == []


def test_the_charts_follow_the_theme(chromium):
    """Another theme draws them anew, without a reload."""

    def play(page):
        page.emulate_media(color_scheme="light")
        page.wait_for_selector("[data-chart=errors] canvas")
        page.evaluate("window.stayed = true")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(color_scheme="dark")
        background = "getComputedStyle(document.body).backgroundColor"
        until(page, lambda: page.evaluate(background) != light)
        until(page, lambda: pixels(page, "calls", "series-1") > 1000)
        assert page.evaluate("window.stayed")

    assert visit(chromium, page_reports.fallback, play) == []


def test_the_time_of_an_open_circuit_is_shaded(chromium):
    """It is shaded and hatched from its beginning to its end, and nothing else is."""

    def play(page):
        page.wait_for_selector("[data-chart=calls] canvas")
        until(page, lambda: page.evaluate(PAINTED, OPEN) > 0.95)
        assert page.evaluate(PAINTED, BEFORE) < 0.15
        assert "circuit open" in page.inner_text("#legend-calls")

    assert visit(chromium, page_reports.fallback, play) == []


def test_nothing_is_shaded_while_all_circuits_are_closed(chromium):
    """The same place of the chart is empty then."""

    def play(page):
        page.wait_for_selector("[data-chart=calls] canvas")
        until(page, lambda: pixels(page, "calls", "series-1") > 1000)
        assert page.evaluate(PAINTED, OPEN) < 0.15

    assert visit(chromium, page_reports.serving, play) == []


def test_the_numbers_under_the_cursor(chromium):
    """Beside it stand the time and the value of each series there."""

    def play(page):
        page.wait_for_selector("[data-chart=calls] canvas")
        page.hover("[data-chart=calls] .u-over")
        tip = page.locator("[data-chart=calls] .tip")
        tip.wait_for()
        assert "gemini" in tip.inner_text()
        assert not page.locator("[data-chart=cost] .tip").is_visible()

    assert visit(chromium, page_reports.fallback, play) == []


def test_the_charts_fit_after_turning_the_phone(chromium):
    """They get as wide as their place is then."""

    def play(page):
        page.wait_for_selector("[data-chart=calls] canvas")
        page.set_viewport_size(PHONE)
        page.wait_for_function(
            "document.querySelector('[data-chart=calls] canvas').clientWidth < 340"
        )
        assert page.evaluate(WIDER) == 0
        until(page, lambda: pixels(page, "calls", "series-1") > 1000)

    assert visit(chromium, page_reports.fallback, play) == []
