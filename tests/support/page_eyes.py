"""Looks at the dashboard through a browser."""

from page_app import app_showing
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
OPEN = [0.83, 0.06, 0.1, 0.1]
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
