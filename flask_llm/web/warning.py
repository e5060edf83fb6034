"""The one line at start that tells which routes are closed to everybody."""

import logging
from flask import Flask

from ..config.settings import LLMConfig
from ..observe.serving import is_command
from .guard import Guard

log = logging.getLogger("flask_llm")


def warn_if_closed(app: Flask, config: LLMConfig, guard: Guard) -> None:
    """Tell the developer of closed routes that nobody has been given.

    Args:
        app: The app. In debug mode they are open.
        config: Its settings.
        guard: Its guard.
    """
    observing = config.observing
    parts = {"dashboard": observing.dashboard, "metrics": observing.metrics}
    on = [name for name, is_on in parts.items() if is_on]
    if app.debug or guard.is_set or not on or is_command():
        return
    closed = [f"{config.url_prefix}/{each}" for each in (*on, "status?detail=1")]
    silent = " LLM_DASHBOARD=off takes the dashboard away." if "dashboard" in on else ""
    log.warning(
        "%s are closed to everybody: pass FlaskLLM(view_decorators=[…]) or"
        " FlaskLLM(authorize=…) to say who may see them.%s",
        ", ".join(closed),
        silent,
    )
