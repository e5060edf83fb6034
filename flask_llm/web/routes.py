"""Every route of the extension, and whether it is closed."""

from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from ..observing import Observing
from .guard import View, guarded

class Route(NamedTuple):
    """A route, whose module is imported by its first request.

    Attributes:
        rule: Its path below LLM_URL_PREFIX.
        place: Module and function of its view, such as "health:live".
        part: The observer that it belongs to, as in `Observing`; empty for none.
        is_closed: Whether only those see it whom the app's guard lets in.
        method: The HTTP method.
    """

    rule: str
    place: str
    part: str = ""
    is_closed: bool = True
    method: str = "GET"

    @property
    def name(self) -> str:
        """Its endpoint, below "flask_llm."."""
        return self.place.partition(":")[2]

    @property
    def view(self) -> View:
        """The view, guarded if the route is closed."""
        module, _, name = self.place.partition(":")

        def late(**values: Any) -> Any:
            return getattr(import_module(f"{__package__}.{module}"), name)(**values)

        late.__name__ = late.__qualname__ = name
        return guarded(late) if self.is_closed else late


_open = partial(Route, is_closed=False)
_action = partial(Route, part="dashboard", method="POST")
_PROVIDER = "/dashboard/providers/<path:name>"

ROUTES = (
    _open("/status", "status:status"),
    _open("/health/live", "health:live"),
    _open("/health/ready", "health:ready"),
    _open("/openapi.json", "openapi:openapi"),
    Route("/metrics", "metrics:metrics", "metrics"),
    Route("/dashboard", "dashboard:dashboard", "dashboard"),
    Route("/dashboard/data", "dashboard:dashboard_data", "dashboard"),
    Route("/dashboard/calls/<call_id>", "dashboard:dashboard_call", "dashboard"),
    _action(f"{_PROVIDER}/test", "actions:test_provider"),
    _action(f"{_PROVIDER}/reset", "actions:reset_provider"),
)


def is_on(route: Route, observing: Observing) -> bool:
    """Return whether an app has a route."""
    return not route.part or bool(getattr(observing, route.part))
