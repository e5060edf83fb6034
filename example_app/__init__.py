"""A small inbox that sorts its mails with a language model.

Run it with ``flask --app example_app run`` or ``gunicorn "example_app:create_app()"``,
or see it at work in the terminal with ``python -m example_app``.
"""

import os
from collections.abc import Mapping
from typing import Any

from dotenv import load_dotenv
from flask import Flask

from flask_llm import FlaskLLM

from . import security, views

DEFAULTS: Mapping[str, Any] = {
    "LLM_PRIMARY_PROVIDER": "gemini",
    # The last one needs no key, so that the app answers on any machine.
    "LLM_FALLBACK_PROVIDERS": "claude,local",
    # Somebody looks at a page that does not load: the next provider is a better bet
    # than a third try, and long waits belong into a background task.
    "LLM_RETRY_PRESET": "web",
    "LLM_TIMEOUT": 10,
}

llm = FlaskLLM(authorize=security.may_watch)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the app.

    Settings come from `config` first, then from the environment and `.env`, then from
    `DEFAULTS`.

    Args:
        config: Settings that win over everything else, for tests and demos.

    Returns:
        The app; its factory is `app.llm`.
    """
    # Flask's own commands have read .env already; gunicorn has not.
    if not os.environ.get("FLASK_SKIP_DOTENV"):
        load_dotenv()
    app = Flask(__name__)
    app.config.update(config or {})
    _set_defaults(app)
    llm.init_app(app)
    security.init_app(app)
    app.register_blueprint(views.inbox)
    return app


def _set_defaults(app: Flask) -> None:
    """Fill in what neither the configuration nor the environment says."""
    for key, value in DEFAULTS.items():
        # app.config wins over the environment, so a default must not be put there
        # when somebody has made a choice in .env.
        if not os.environ.get(key, "").strip():
            app.config.setdefault(key, value)
