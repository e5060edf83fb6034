"""Who may see the pages and act on them, and the warning if nobody may."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, run_command
from werkzeug.wrappers import Response

from ..config.parsers import shown
from ..config.settings import LLMConfig
from .dashboard import refusal

View = Callable[..., Any]
Authorize = Callable[[], Any]

NAME = "llm.guard"

_HOW = (
    "Closed: this app has not said who may come in. For its developer: pass"
    " FlaskLLM(view_decorators=[…]) or FlaskLLM(authorize=…), or use debug mode."
)
_NO = "Closed: you may not come in here."


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """Decides about the closed routes of one app.

    Attributes:
        decorators: Decorators of views that let only some in, such as Flask-Login's
            `login_required`; the first one is the outermost.
        authorize: Called within the request, and within the decorators. True lets it
            in, False or None does not; a response is the answer.
    """

    decorators: Sequence[Callable[[View], View]] = ()
    authorize: Authorize | None = None
    _views: dict[View, View] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.decorators, list | tuple):
            raise TypeError("view_decorators must be a list of decorators")
        for each in self.decorators:
            if not callable(each):
                raise TypeError(
                    f"view_decorators has {shown(each)}, which is no decorator"
                )
        if not (self.authorize is None or callable(self.authorize)):
            raise TypeError("authorize must be a function without arguments")

    @property
    def is_set(self) -> bool:
        """Whether the app has said who may come in."""
        return bool(self.decorators) or self.authorize is not None

    def around(self, view: View) -> View:
        """Return a view for those only whom the guard lets in; the same each time."""
        if view not in self._views:
            # Two threads may both make one; the first to store it wins.
            self._views.setdefault(view, self._decorated(view))
        return self._views[view]

    def _decorated(self, view: View) -> View:
        @wraps(view)
        def entered(*args: Any, **kwargs: Any) -> Any:
            refusal = self._refusal()
            return view(*args, **kwargs) if refusal is None else refusal

        decorated: View = entered
        for each in reversed(self.decorators):
            decorated = each(decorated)
        return decorated

    def _refusal(self) -> Response | None:
        """Return what is answered instead; None to whom the guard lets in."""
        if not self.is_set:
            return None if current_app.debug else refusal(403, _HOW)
        if self.authorize is None:
            return None
        allowed = current_app.ensure_sync(self.authorize)()
        if isinstance(allowed, Response):
            return allowed
        if allowed is None or isinstance(allowed, bool):
            return None if allowed else refusal(403, _NO)
        # A tuple that was meant as a refusal would be true: nobody comes in by mistake.
        kind = type(allowed).__name__
        raise TypeError(f"authorize must return True, False or a response, not {kind}")


def guarded(view: View) -> View:
    """Close a view but for those whom the app's guard lets in."""

    @wraps(view)
    def entered(*args: Any, **kwargs: Any) -> Any:
        guard: Guard = current_app.extensions[NAME]
        return current_app.ensure_sync(guard.around(view))(*args, **kwargs)

    return entered


def is_command() -> bool:
    """Return whether a command of Flask's runs that serves nothing."""
    context = click.get_current_context(silent=True)
    if context is None or context.command is run_command:
        return False
    return isinstance(context.find_root().command, AppGroup)


log = logging.getLogger("flask_llm")


def warn_if_closed(app: Flask, config: LLMConfig, guard: Guard) -> None:
    """Warn the developer of closed routes that nobody may see.

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
