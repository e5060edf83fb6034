"""Make the pictures of docs/dashboard.md again: `python tests/support/screenshots.py`.

Needs Chromium and what the extra "test" installs. Not a test: whoever changes the page
looks at them.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import page_reports
from chromium import Chromium
from page_app import Made, app_showing
from serving import served

FOLDER = Path(__file__).parents[2] / "docs" / "_static" / "dashboard"


class Picture(NamedTuple):
    """A page as it is photographed.

    Attributes:
        made: Makes its report.
        scheme: "light" or "dark".
        size: Width and height in pixels.
        path: Where it is.
    """

    made: Made
    scheme: str
    size: tuple[int, int]
    path: str = ""

    def take(self, chromium: Chromium, file: Path) -> None:
        """Write it into a file."""

        def play(page: Any) -> None:
            page.emulate_media(color_scheme=self.scheme)
            width, height = self.size
            page.set_viewport_size({"width": width, "height": height})
            page.reload()  # so that countdowns begin anew
            page.wait_for_load_state("networkidle")
            page.screenshot(path=file)

        with served(app_showing(self.made)) as address:
            chromium.visit(address, play, f"/llm/dashboard{self.path}")


PICTURES = {
    "fallback": Picture(page_reports.fallback, "light", (1280, 1085)),
    "dark": Picture(page_reports.fallback, "dark", (1280, 1470), "#numbers-title"),
    "empty": Picture(page_reports.empty, "light", (1000, 640)),
    "store-down": Picture(page_reports.down, "dark", (1000, 760)),
    "phone": Picture(page_reports.fallback, "light", (390, 1240)),
    "call": Picture(page_reports.serving, "light", (900, 940), "/calls/5f0c1a2b"),
}


def main() -> None:
    """Take all pictures."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("There is no chromium here.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    chromium = Chromium(program)
    for name, picture in PICTURES.items():
        picture.take(chromium, FOLDER / f"{name}.png")
    chromium.end()


if __name__ == "__main__":
    main()
