"""The routes: status, health, metrics, actions and the dashboard."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flask import Response, current_app, jsonify, request

from ..config.settings import Observing
from ..factory import LLMFactory
from ..fallback.probe import outcome
from ..observe.metrics import exposition
from .dashboard import (
    dashboard,
    dashboard_call,
    dashboard_data,
    page,
    stop,
    wants_html,
)
from .guard import View, guarded

_NO = {"", "0"}


def status() -> Response:
    """Return `LLMFactory.get_provider_status` as JSON. Asks no provider.

    With ``?detail=1`` it has why a provider would not be asked, for those whom the
    guard lets in.
    """
    if request.args.get("detail", "") in _NO:
        return _shown(detail=False)
    return status_detail()  # type: ignore[no-any-return]  # as the decorators return it


@guarded
def status_detail() -> Response:
    """Return the status with all that is known."""
    return _shown(detail=True)


def _shown(*, detail: bool) -> Response:
    return jsonify(current_app.extensions["llm"].get_provider_status(detail=detail))


# A provider whose cooldown is over is tried by the next call.
_SERVING = {"closed", "half-open"}


def live() -> Response:
    """Answer that this process answers requests, whatever the providers do."""
    return jsonify(live=True)


def ready() -> tuple[Response, int]:
    """Answer whether some provider could be asked now. Asks none.

    Returns:
        Status 200 if so; 503 if the circuit of each is open, or it is not set up.
    """
    found = current_app.extensions["llm"].get_provider_status(detail=True)
    chain = [found["primary"], *found["fallbacks"]]
    can_answer = any(each["state"] in _SERVING for each in chain)
    return jsonify(ready=can_answer), 200 if can_answer else 503


def metrics() -> Response:
    """Return the metrics of all workers, in the format that is accepted."""
    accepted = request.headers.get("Accept", "")
    try:
        text, content_type = exposition(current_app, accepted)
    except LookupError as error:
        stop(404, str(error))
    except OSError as error:
        stop(503, f"PROMETHEUS_MULTIPROC_DIR cannot be used: {error}")
    return Response(text, content_type=content_type)


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


class Route(NamedTuple):
    """A route.

    Attributes:
        rule: Its path below LLM_URL_PREFIX.
        function: Its view; the endpoint, below "flask_llm.", has its name.
        part: The observer that it belongs to, as in `Observing`; empty for none.
        is_closed: Whether only those see it whom the app's guard lets in.
        method: The HTTP method.
    """

    rule: str
    function: Callable[..., Any]
    part: str = ""
    is_closed: bool = True
    method: str = "GET"

    @property
    def name(self) -> str:
        """Its endpoint, below "flask_llm."."""
        return self.function.__name__

    @property
    def view(self) -> View:
        """The view, guarded if the route is closed."""
        return guarded(self.function) if self.is_closed else self.function


_open = partial(Route, is_closed=False)
_action = partial(Route, part="dashboard", method="POST")
_PROVIDER = "/dashboard/providers/<path:name>"

ROUTES = (
    _open("/status", status),
    _open("/health/live", live),
    _open("/health/ready", ready),
    Route("/metrics", metrics, "metrics"),
    Route("/dashboard", dashboard, "dashboard"),
    Route("/dashboard/data", dashboard_data, "dashboard"),
    Route("/dashboard/calls/<call_id>", dashboard_call, "dashboard"),
    _action(f"{_PROVIDER}/test", test_provider),
    _action(f"{_PROVIDER}/reset", reset_provider),
)


def is_on(route: Route, observing: Observing) -> bool:
    """Return whether an app has a route."""
    return not route.part or bool(getattr(observing, route.part))
