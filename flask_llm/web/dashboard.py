"""The dashboard: who answers, what failed, how slow, and how much it costs."""

import re
from typing import Any
from flask import Response, current_app, jsonify, request

from ..resilience.clock import SYSTEM
from ..observe.source import RANGES, Source, SourceError
from ..observe.window import SOURCE
from .pages import page, stop, wants_html
from .report import in_full, remedy, report

_USUAL = "1h"

# As `Origin.new` makes them: no other one is looked for in a database.
_CALL_ID = re.compile(r"[0-9a-f]{24}")

_NOT_KNOWN = (
    "This call is not known, or not any more, or another process has it:"
    " LLM_USAGE=on keeps the calls of all."
)


def dashboard() -> Response:
    """Show the page. Asks no provider; a source that fails is said on the page."""
    settings = current_app.extensions["llm"].settings
    values = {"report": _report(), "settings": settings}
    return page("flask_llm/dashboard.html", **values)


def dashboard_data() -> Response:
    """Return what the page shows as JSON."""
    return jsonify(_report())


def dashboard_call(call_id: str) -> Response:
    """Show one call with all its attempts, as a page or as JSON."""
    try:
        record = _source().find(call_id) if _CALL_ID.fullmatch(call_id) else None
    except SourceError as error:
        stop(503, str(error))
    if record is None:
        stop(404, _NOT_KNOWN)
    call = in_full(record)
    if request.args.get("format") == "json" or not wants_html():
        return jsonify(call)
    return page("flask_llm/call.html", call=call, remedy=remedy)


def _report() -> dict[str, Any]:
    """Return the report of the range that the address names."""
    name = request.args.get("range", _USUAL)
    if name not in RANGES:
        stop(400, f"The range must be one of {', '.join(RANGES)}.")
    factory = current_app.extensions["llm"]
    status = factory.get_provider_status(detail=True)
    is_shared = factory.config.is_shared
    return report(_source(), status, name, SYSTEM.time(), is_shared=is_shared)


def _source() -> Source:
    source: Source = current_app.extensions[SOURCE]
    return source
