"""What the extension's routes take and answer, as an OpenAPI document."""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any
from flask import Response, current_app, jsonify, request, url_for

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
    on = {
        _PLACEHOLDER.sub(r"{\1}", each.rule)
        for each in ROUTES
        if is_on(each, observing)
    }
    paths = document["paths"]
    document["paths"] = {path: paths[path] for path in paths if path in on}
    document["info"]["version"] = version("Flask-LLM")
    here = url_for(request.endpoint or "")
    document["servers"] = [{"url": here.removesuffix(_PATH)}]
    return jsonify(document)
