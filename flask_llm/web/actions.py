"""What can be done from the dashboard: ask one provider, close its circuit."""

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit
from flask import Response, current_app, jsonify, request

from ..factory import LLMFactory
from ..fallback.probe import outcome
from .pages import page, stop, wants_html

# Below the 30 s after which gunicorn kills a worker that does not answer.
_PATIENCE_S = 20.0

_EVERYWHERE = "the next call asks it again"
_HERE = "in this process the next call asks it again; others know for themselves"

Action = Callable[[LLMFactory, str], tuple[bool, str]]


def _answering(action: Action) -> Callable[[str], Response]:
    """Make a view of an action; another site cannot make a browser send it."""

    @wraps(action)
    def view(name: str) -> Response:
        factory: LLMFactory = current_app.extensions["llm"]
        if not _is_from_here():
            stop(403, "This comes from another site.")
        if name not in {each.name for each in factory.entries}:
            stop(404, "No such provider is in the chain.")
        ok, text = action(factory, name)
        values = {"provider": name, "ok": ok, "text": text}
        if wants_html():
            return page("flask_llm/action.html", **values)
        return jsonify(values)

    return view


def _is_from_here() -> bool:
    """Return whether a page of ours sends it, or no browser does.

    As Go's http.CrossOriginProtection does, which needs neither token nor cookie.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.host
    except ValueError:  # "http://["
        return False


@_answering
def test_provider(factory: LLMFactory, name: str) -> tuple[bool, str]:
    """Ask one provider, which costs a little money."""
    response = factory.test(name, _PATIENCE_S)
    return response.success, outcome(response)


@_answering
def reset_provider(factory: LLMFactory, name: str) -> tuple[bool, str]:
    """Close a provider's circuit, so that the next call asks it."""
    try:
        factory.reset(name)
    except OSError as error:
        return False, f"{error}; {_HERE}"
    return True, _EVERYWHERE if factory.config.is_shared else _HERE
