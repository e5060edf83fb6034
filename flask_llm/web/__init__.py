"""What the extension serves over HTTP."""

from flask.blueprints import Blueprint, BlueprintSetupState

from .dashboard import protected
from .routes import ROUTES, is_on
from .sse import AppFactory, event_stream

__all__ = ["AppFactory", "api_bp", "event_stream"]

api_bp = Blueprint("flask_llm", __name__, static_folder="static")
"""The extension's routes, registered under LLM_URL_PREFIX."""

api_bp.after_request(protected)


@api_bp.record
def _register(state: BlueprintSetupState) -> None:
    """Give an app the routes of what is switched on there."""
    observing = state.app.extensions["llm"].config.observing
    for each in ROUTES:
        if is_on(each, observing):
            state.add_url_rule(each.rule, each.name, each.view, methods=[each.method])
