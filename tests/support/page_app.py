"""An app whose dashboard shows a report that a test has written."""

from collections.abc import Callable
from typing import Any

import page_reports
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.testing import FakeProvider
from flask_llm.web.dashboard import page
from flask_llm.web.report import remedy

Made = Callable[[], dict[str, Any]]


def app_showing(
    made: Made, refresh_s: float | None = 3.0, call: Made = page_reports.call
) -> Flask:
    """Return an app with our real routes, pages and headers, but a report of its own.

    Args:
        made: Makes the report; asked for each look.
        refresh_s: Seconds between two looks; None for the usual ones.
        call: Makes the call of the detail page.
    """
    app = Flask("shown")
    chain = [FakeProvider("pong", name=name) for name in ("gemini", "claude", "local")]
    app.config |= {
        "LLM_PRIMARY_PROVIDER": chain[0],
        "LLM_FALLBACK_PROVIDERS": chain[1:],
    }
    app.config |= {"LLM_DASHBOARD": "on", "DEBUG": True}
    FlaskLLM(app)

    def dashboard() -> Any:
        report = made()
        values = {"report": report, "settings": page_reports.settings()}
        if refresh_s is not None:
            values["refresh_s"] = refresh_s
        return page("flask_llm/dashboard.html", **values)

    app.view_functions["flask_llm.dashboard"] = dashboard
    app.view_functions["flask_llm.dashboard_call"] = lambda call_id: page(
        "flask_llm/call.html", call=call(), remedy=remedy
    )
    return app
