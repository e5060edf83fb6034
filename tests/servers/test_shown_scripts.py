"""The scripts of docs/streaming.md, copied from it and run in a real browser."""

import re
import threading
from functools import partial
from pathlib import Path

import pytest
from flask import Flask, Response, current_app
from serving import served

from flask_llm import FlaskLLM, LLMResponse
from flask_llm.errors import QuotaError
from flask_llm.testing import Delay, FakeProvider
from flask_llm.web import sse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CUT = LLMResponse(True, "all is", "fake", None, {"finish_reason": "length"})
BEGINNING = sse.event("start", {}) + sse.event("delta", {"text": "al"})


def shown_script(mark):
    """Return the script of the documentation's page that has a mark."""
    text = (ROOT / "docs" / "streaming.md").read_text()
    blocks = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if mark in block)


def events_of(mark):
    """Return a script that sets `window.over` where the shown one has ended."""
    # The first line gives the button of a page its hands on the script's own name.
    reach = "queueMicrotask(() => { window.stopper = stopper; });"
    return f"{reach}\n{shown_script(mark)}\nwindow.over = true;"


def make_app(answer):
    """Return an app that answers by a view, with the reader of the example app."""
    app = Flask("testapp", static_folder=str(ROOT / "example_app" / "static"))
    app.add_url_rule("/sse.js", "sse", lambda: app.send_static_file("sse.js"))
    app.get("/", endpoint="index")(lambda: "a page")
    app.add_url_rule("/answer", "answer", answer, methods=["GET", "POST"])
    return app


def asking(*script):
    """Return an app that asks a model."""
    app = make_app(lambda: current_app.llm.stream_response("hello"))
    app.config["LLM_PRIMARY_PROVIDER"] = FakeProvider(*script)
    app.config["LLM_FALLBACK_PROVIDERS"] = []
    FlaskLLM(app)
    return app


def saying(body, status=200, mimetype="text/event-stream"):
    """Return an app that answers as no app of ours should."""
    return make_app(lambda: Response(body, status, mimetype=mimetype))


def shown_by_event_source(page, play=lambda page: None):
    page.set_content('<p id="answer"></p>')
    page.add_script_tag(content=shown_script("new EventSource"))
    play(page)
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    return page.text_content("#answer")


def shown_by_fetch(page, play=lambda page: None):
    page.set_content('<p id="answer"></p><form id="form"></form>')
    page.add_script_tag(content=events_of("await fetch"), type="module")
    play(page)
    page.wait_for_function("window.over")
    return page.text_content("#answer")


def visit(chromium, app, read):
    """Return what the page shows in the end, and the errors that nobody caught."""
    shown, uncaught = [], []

    def play(page):
        page.on("pageerror", lambda error: uncaught.append(str(error)))
        shown.append(read(page))

    with served(app) as address:
        chromium.visit(address, play)
    return *shown, uncaught


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: asking("all is well"), "all is well"),
        (lambda: asking(CUT), "all is (Cut short.)"),
        (lambda: asking(["al", QuotaError()]), "al (The answer broke off.)"),
        (lambda: asking(QuotaError()), " (No answer.)"),
        (lambda: saying(BEGINNING), "al (The connection was lost.)"),
    ],
    ids=["an answer", "cut", "broken off", "none", "no end"],
)
def test_the_script_with_an_event_source(chromium, make, shown):
    """It shows the answer, or why there is none or no more of it."""
    assert visit(chromium, make(), shown_by_event_source) == (shown, [])


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: asking("all is well"), "all is well"),
        (lambda: asking(CUT), "all is (Cut short.)"),
        (lambda: asking(["al", QuotaError()]), "al (The answer broke off.)"),
        (lambda: asking(QuotaError()), " (No model can answer now.)"),
        (
            lambda: saying("<p>Sorry", 500, "text/html"),
            " (The server answered with HTTP 500.)",
        ),
        (lambda: saying(BEGINNING), "al (The connection was lost.)"),
    ],
    ids=["an answer", "cut", "broken off", "none", "a page", "no end"],
)
def test_the_script_with_fetch(chromium, make, shown):
    """It shows the answer, or why there is none or no more of it, and fails loudly."""
    assert visit(chromium, make(), shown_by_fetch) == (shown, [])


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        (shown_by_event_source, "al (The connection was lost.)"),
        (shown_by_fetch, "al (network error)"),
    ],
)
def test_a_worker_that_is_killed(chromium, read, shown):
    """It ends without the last chunk; what came before stays, and one is told."""
    has_been_read = threading.Event()

    def texts():
        yield BEGINNING
        assert has_been_read.wait(30)
        raise RuntimeError("killed")

    def play(page):
        page.wait_for_function("document.querySelector('#answer').textContent")
        has_been_read.set()

    app = make_app(lambda: Response(texts(), mimetype="text/event-stream"))
    assert visit(chromium, app, partial(read, play=play)) == (shown, [])


def test_the_script_with_fetch_stops(chromium):
    """An answer that is stopped has a mark, and stopping is no uncaught error."""

    def stop(page):
        page.get_by_text("al", exact=True).wait_for()
        page.evaluate("stopper.abort()")

    app = asking([Delay(0, "al"), Delay(10, "l is well")])
    found = visit(chromium, app, lambda page: shown_by_fetch(page, stop))
    assert found == ("al (Stopped.)", [])
