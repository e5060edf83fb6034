"""What the extension serves over HTTP."""

from flask import Blueprint, Response, jsonify

from ..extension import current_llm

api_bp = Blueprint("flask_llm", __name__)
"""The extension's routes, registered under LLM_URL_PREFIX."""


@api_bp.get("/status")
def status() -> Response:
    """Return `LLMFactory.get_provider_status` as JSON. Asks no provider."""
    return jsonify(current_llm.get_provider_status())
