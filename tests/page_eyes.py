"""Looks at the dashboard through a browser."""

from itertools import count

import page_reports
from page_app import app_showing
from page_numbers import recent, step
from serving import served

PAGE = "/llm/dashboard"
QUICK_S = 0.1
PHONE = {"width": 360, "height": 740}

# The pixels of a part of a chart: x, y, width and height are shares of the whole.
READ = """(key, [x, y, width, height]) => {
  const canvas = document.querySelector(`[data-chart=${key}] canvas`);
  const copy = canvas.cloneNode();
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const part = [x, y, width, height].map((share, at) =>
    Math.round(share * (at % 2 ? canvas.height : canvas.width)));
  const { data } = context.getImageData(...part);
  const numbers = [...Array(data.length / 4).keys()];
  return numbers.map((at) => data.subarray(at * 4, at * 4 + 4));
}"""
# How many of them have a color of the style sheet.
PIXELS = f"""([key, name]) => {{
  const style = getComputedStyle(document.documentElement);
  const color = style.getPropertyValue(`--${{name}}`).trim().slice(1);
  const parts = color.match(/../g).map((each) => parseInt(each, 16));
  const near = (pixel) =>
    parts.every((each, at) => Math.abs(each - pixel[at]) < 5);
  const found = ({READ})(key, [0, 0, 1, 1]);
  return found.filter((pixel) => pixel[3] > 0 && near(pixel)).length;
}}"""
# Which share of them is painted at all.
PAINTED = f"""(part) => {{
  const found = ({READ})("calls", part);
  return found.filter((pixel) => pixel[3] > 0).length / found.length;
}}"""
# Above the bars: within the open circuit, and before it.
OPEN = [0.8, 0.06, 0.13, 0.1]
BEFORE = [0.14, 0.06, 0.15, 0.1]

WIDER = """(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(
  document.documentElement)"""


def pixels(page, key, name):
    """Return how many pixels of a color a chart has."""
    return page.evaluate(PIXELS, [key, name])


def visit(chromium, made, play, path=PAGE, refresh_s=3.0):
    """Show a report, and return what the browser complained about."""
    app = app_showing(made, refresh_s)
    with served(app) as address:
        return chromium.visit(address, play, path)


def growing():
    """Return a maker of reports that have one more call each time."""
    numbers = count(100)

    def made():
        report, number = page_reports.fallback(), next(numbers)
        report["recent"].insert(0, recent(number, step("claude")))
        report["charts"]["calls"]["claude"][0] = number
        return report

    return made
