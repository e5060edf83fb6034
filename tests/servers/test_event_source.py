"""The browser's own `EventSource` at a streamed response."""

import pytest
from flask import Flask, current_app
from serving import served

from flask_llm import FlaskLLM
from flask_llm.errors import QuotaError
from flask_llm.testing import FakeProvider

pytestmark = pytest.mark.slow

# Reads until the browser gives the source up, and tells all that it has seen.
READ = """closes => new Promise((resolve) => {
  const source = new EventSource("/stream"), seen = [];
  const see = (event) => seen.push([event.type, event.data && JSON.parse(event.data)]);
  for (const name of ["start", "delta", "restart"]) source.addEventListener(name, see);
  source.addEventListener("done", (event) => {
    see(event);
    if (closes) { source.close(); setTimeout(() => resolve(seen), 100); }
  });
  source.onerror = (event) => {
    if (event.data) see(event);
    if (source.readyState === EventSource.CLOSED) resolve(seen);
  };
})"""


def make_app(fake):
    app = Flask("testapp")
    app.config |= {"LLM_PRIMARY_PROVIDER": fake, "LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    app.get("/", endpoint="index")(lambda: "a page")

    @app.get("/stream")
    def stream():
        return current_app.llm.stream_response("hello")

    return app


def read(chromium, app, *, closes):
    seen = []
    with served(app) as address:
        chromium.visit(address, lambda page: seen.extend(page.evaluate(READ, closes)))
    return seen


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "forgets to close"])
def test_an_event_source_is_answered_once(chromium, closes):
    """One that its page does not close connects again, and asks no model twice."""
    fake = FakeProvider("all is \n\nwell …")
    seen = read(chromium, make_app(fake), closes=closes)

    assert [name for name, _ in seen if name != "delta"] == ["start", "done"]
    assert "".join(data["text"] for name, data in seen if name == "delta") == (
        "all is \n\nwell …"
    )
    assert len(fake.calls) == 1


def test_an_event_source_that_nobody_can_answer_gives_up(chromium):
    """The status 503 ends it at the first try."""
    fake = FakeProvider(QuotaError())
    assert read(chromium, make_app(fake), closes=True) == []
    assert len(fake.calls) == 1
