"""A real browser for tests: Debian's Chromium, driven by Playwright.

Playwright runs an event loop in the thread that it is used in, so it has one to itself.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import pytest

_IN_CI = bool(os.environ.get("FLASK_LLM_CI"))  # now: a fixture cleans it away
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE_MS = 60_000  # on a busy machine


class Chromium:
    """A running browser.

    Args:
        program: Its path.
    """

    def __init__(self, program: str) -> None:
        self._thread = ThreadPoolExecutor(1, "playwright")
        self._thread.submit(self._start, program).result()

    def visit(
        self, address: tuple[str, int], play: Callable[..., Any], path: str = "/"
    ) -> list[str]:
        """Open a page of its own, and let a function of it do the rest.

        Args:
            address: Host and port.
            play: Gets Playwright's page; what it raises is raised here.
            path: Where on the server.

        Returns:
            The errors and warnings in the page's console, breaches of its
            Content-Security-Policy among them.
        """
        url = "http://{}:{}".format(*address)
        return self._thread.submit(self._visit, url + path, play).result()

    def end(self) -> None:
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    def _start(self, program: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=program, args=_FLAGS
        )

    def _visit(self, url: str, play: Callable[..., Any]) -> list[str]:
        complaints: list[str] = []

        def note(message: Any) -> None:
            if message.type in {"error", "warning"}:
                complaints.append(message.text)

        page = self._browser.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            page.goto(url)
            play(page)
        finally:
            page.close()
        return complaints

    def _stop(self) -> None:
        self._browser.close()
        self._playwright.stop()


@pytest.fixture(scope="session")
def chromium():
    """Return a browser, or skip; in CI fail."""
    program = shutil.which("chromium")
    if not (program and find_spec("playwright")):
        (pytest.fail if _IN_CI else pytest.skip)("needs chromium and playwright")
    browser = Chromium(program)
    yield browser
    browser.end()
