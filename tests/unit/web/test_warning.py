"""The line at start that tells which routes are closed to everybody."""

import logging

import pytest
from flask import Flask
from flask_login import login_required

from flask_llm import FlaskLLM


def started(caplog, **config):
    """Return the warnings of an app's start."""
    caplog.clear()
    app = Flask("testapp")
    app.config |= config
    access = config.pop("access", {})
    app.debug = config.pop("DEBUG", False)
    FlaskLLM(app, **access)
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_one_warning_at_start_names_what_is_closed(caplog):
    """With the paths, and what to pass."""
    (warning,) = started(caplog, LLM_METRICS="on", LLM_URL_PREFIX="/ai")

    assert warning == (
        "/ai/dashboard, /ai/metrics, /ai/status?detail=1 are closed to everybody: pass"
        " FlaskLLM(view_decorators=[…]) or FlaskLLM(authorize=…) to say who may see"
        " them. LLM_DASHBOARD=off takes the dashboard away."
    )


@pytest.mark.parametrize(
    "config",
    [
        {"LLM_DASHBOARD": "off"},
        {"DEBUG": True},
        {"access": {"authorize": lambda: True}},
        {"access": {"view_decorators": [login_required]}},
    ],
)
def test_no_warning_where_nothing_is_closed_by_default(caplog, config):
    """Without a dashboard, in debug mode, or where the app has said who may come."""
    assert started(caplog, **config) == []


def test_commands_do_not_warn_of_routes_that_they_do_not_serve(caplog):
    """`flask llm ask` prints to a terminal; `flask run` serves."""
    app = Flask("testapp")
    app.cli.command("jobs")(lambda: FlaskLLM(app))
    app.test_cli_runner().invoke(args=["jobs"])

    assert "llm" in app.extensions
    assert caplog.messages == []
