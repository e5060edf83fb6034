"""The dashboard: who answers, what failed, how slow, and how much it costs."""

from typing import Any

from flask import Response, current_app, jsonify, request

from ..clock import SYSTEM
from ..observe.source import RANGES, Source, SourceError
from ..observe.window import SOURCE
from .formats import FORMATS
from .pages import page, stop, wants_html
from .report import in_full, report

_USUAL = "1h"


def dashboard() -> Response:
    """Show the page. Asks no provider; a source that fails is said on the page."""
    settings = current_app.extensions["llm"].settings
    values = {"report": _report(), "settings": settings}
    return page("flask_llm/dashboard.html", **FORMATS, **values)


def dashboard_data() -> Response:
    """Return what the page shows as JSON."""
    return jsonify(_report())


def dashboard_call(call_id: str) -> Response:
    """Show one call with all its attempts, as a page or as JSON."""
    try:
        record = _source().find(call_id)
    except SourceError as error:
        stop(503, str(error))
    if record is None:
        stop(404, "This call is not known, or not any more.")
    call = in_full(record)
    if request.args.get("format") == "json" or not wants_html():
        return jsonify(call)
    return page("flask_llm/call.html", **FORMATS, call=call)


def _report() -> dict[str, Any]:
    """Return the report of the range that the address names."""
    name = request.args.get("range", _USUAL)
    if name not in RANGES:
        stop(400, f"The range must be one of {', '.join(RANGES)}.")
    status = current_app.extensions["llm"].get_provider_status(detail=True)
    return report(_source(), status, name, SYSTEM.time())


def _source() -> Source:
    source: Source = current_app.extensions[SOURCE]
    return source
