"""The page that says why another one is not shown."""

import pytest
from flask import Flask
from page_markup import words

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider

BROWSER = {"Accept": "text/html"}
BACK = 'href="/llm/dashboard">Back to the dashboard</a>'
UNKNOWN = f"/llm/dashboard/calls/{'0' * 24}"


def refusal(path, **config):
    """Return a page of an app that is open in debug mode only."""
    app = Flask("refusing")
    app.config |= {"LLM_PRIMARY_PROVIDER": FakeProvider(), **config}
    app.config |= {"LLM_FALLBACK_PROVIDERS": []}
    FlaskLLM(app)
    response = app.test_client().get(path, headers=BROWSER)
    assert response.status_code in {400, 403, 404}
    return response.text


@pytest.mark.parametrize("path", [UNKNOWN, "/llm/dashboard?range=1y"])
def test_a_refusal_leads_back_to_the_dashboard(path):
    """Whoever followed an old link is not lost."""
    page = refusal(path, DEBUG=True)
    assert BACK in page
    assert 'rel="icon"' in page
    assert "dashboard.css" in page


def test_a_call_that_another_process_has():
    """The page says that, and how to see the calls of all."""
    said = "another process has it: LLM_USAGE=on keeps the calls of all."
    assert said in words(refusal(UNKNOWN, DEBUG=True))


def test_a_refusal_of_something_else_leads_nowhere():
    """There may be no dashboard to go back to."""
    page = refusal("/llm/status?detail=1", LLM_DASHBOARD="off")
    assert "/llm/dashboard" not in page
    assert 'rel="icon"' in page
