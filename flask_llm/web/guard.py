"""Who may see more than names and booleans, and who may act."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from flask import abort, current_app

View = Callable[..., Any]
Authorize = Callable[[], Any]

NAME = "llm.guard"


class Guard:
    """Decides about the closed routes of one app.

    Args:
        decorators: Decorators of views that let only some in, such as Flask-Login's
            `login_required`; the first one is the outermost.
        authorize: Called within the request; lets it in by returning something true.
    """

    def __init__(
        self, decorators: Sequence[Callable[[View], View]], authorize: Authorize | None
    ) -> None:
        self._decorators = tuple(decorators)
        self._authorize = authorize

    @property
    def is_set(self) -> bool:
        """Whether the app has said who may come in."""
        return bool(self._decorators or self._authorize)

    def around(self, view: View) -> View:
        """Return a view that only those may see whom the guard lets in."""
        for each in reversed(self._decorators):
            view = each(view)
        return view

    def admits(self) -> bool:
        """Return whether `authorize` lets the current request in."""
        if self._authorize:
            return bool(self._authorize())
        return bool(self._decorators) or current_app.debug


def guarded(view: View) -> View:
    """Close a view but for those whom the app's guard lets in."""

    @wraps(view)
    def entered(*args: Any, **kwargs: Any) -> Any:
        guard: Guard = current_app.extensions[NAME]
        if not guard.admits():
            abort(403)
        return guard.around(view)(*args, **kwargs)

    return entered
