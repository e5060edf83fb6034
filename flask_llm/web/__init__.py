"""What the extension serves over HTTP."""

from flask import Blueprint, Response, current_app, jsonify

from .streaming import AppFactory, event_stream

__all__ = ["AppFactory", "api_bp", "event_stream"]

api_bp = Blueprint("flask_llm", __name__)
"""The extension's routes, registered under LLM_URL_PREFIX."""


@api_bp.get("/status")
def status() -> Response:
    """Return `LLMFactory.get_provider_status` as JSON. Asks no provider."""
    return jsonify(current_app.extensions["llm"].get_provider_status())
