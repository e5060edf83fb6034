"""Looks at the markup of the dashboard's pages, without a browser."""

import html
import re
from html.parser import HTMLParser

import page_reports
from page_app import app_showing

CANARY = "\"'><img src=x onerror=alert(1)></script>{{ 7*7 }}"


class Elements(HTMLParser):
    """The start tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def app_page(report, refresh_s=3.0):
    """Return the page of a report."""
    app = app_showing(lambda: report, refresh_s)
    response = app.test_client().get("/llm/dashboard")
    assert response.status_code == 200
    return response.text


def shown(state):
    """Return the page of one of `page_reports`."""
    return app_page(getattr(page_reports, state)())


def call_page(made=page_reports.call):
    """Return the page of a call."""
    client = app_showing(page_reports.serving, call=made).test_client()
    return client.get("/llm/dashboard/calls/5f0c").text


def words(markup):
    """Return the text of some markup, with single spaces."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", markup)).split())


def poisoned(value):
    """Return a report whose every text from outside is the canary."""
    ours = {"state", "level", "kind", "outcome", "role", "name", "call_id"}
    if isinstance(value, dict):
        return {
            key: each if key in ours else poisoned(each) for key, each in value.items()
        }
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return CANARY if isinstance(value, str) else value
