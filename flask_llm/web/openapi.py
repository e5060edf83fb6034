"""What the extension's routes take and answer, as an OpenAPI document."""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Response, current_app, jsonify, request

from .routes import ROUTES, is_on

_FILE = Path(__file__).with_name("openapi.json")
_PATH = "/openapi.json"
_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")


def openapi() -> Response:
    """Return the document: of the routes that this app has, below their prefix.

    It is open, since it tells shapes only.
    """
    document: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    observing = current_app.extensions["llm"].config.observing
    here = {
        _PLACEHOLDER.sub(r"{\1}", each.rule)
        for each in ROUTES
        if is_on(each, observing)
    }
    paths = document["paths"]
    document["paths"] = {path: paths[path] for path in paths if path in here}
    document["info"]["version"] = version("Flask-LLM")
    prefix = request.script_root + request.path.removesuffix(_PATH)
    document["servers"] = [{"url": prefix}]
    return jsonify(document)
