"""Beside Alembic, which drops what an app's models do not name."""

from types import SimpleNamespace

import pytest
from flask import Flask

from flask_llm import FlaskLLM
from flask_llm.observe.usage import include_object
from flask_llm.testing import FakeProvider


@pytest.mark.parametrize(
    ("name", "type_", "reflected", "known", "included"),
    [
        ("flask_llm_calls", "table", True, None, False),
        ("flask_llm_calls", "table", True, "there", True),
        ("flask_llm_calls", "table", False, None, True),
        ("flask_llm_calls_finished_at", "index", True, None, True),
        ("users", "table", True, None, True),
        (None, "table", True, None, True),
    ],
)
def test_a_table_that_no_model_names(name, type_, reflected, known, included):
    """It is not looked at if it is the log's; all else is as ever."""
    assert include_object(None, name, type_, reflected, known) is included


@pytest.mark.parametrize("own", [None, lambda *item: item[1] != "secret"])
def test_flask_migrate_is_told(tmp_path, own):
    """By its settings in the app, beside a rule of the app's own."""
    app = Flask("testapp")
    settings = {} if own is None else {"include_object": own}
    app.extensions["migrate"] = SimpleNamespace(configure_args=settings)
    app.config |= {
        "LLM_PRIMARY_PROVIDER": FakeProvider(),
        "LLM_FALLBACK_PROVIDERS": [],
        "LLM_USAGE_URL": f"sqlite:///{tmp_path}/usage.db",
    }
    FlaskLLM(app, authorize=lambda: True)
    asked = settings["include_object"]

    assert not asked(None, "flask_llm_calls", "table", True, None)
    assert asked(None, "users", "table", True, None)
    assert asked(None, "secret", "table", True, None) is (own is None)
