"""The pages of the dashboard.

Whatever an app changes in its Jinja, or gives to all of its templates, changes nothing
here: neither what is escaped, nor the delimiters, nor a name.
"""

import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from flask import Response, abort, current_app, jsonify, make_response, request, url_for
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ..observe.aggregates import RANGES, DataSource, SourceError
from ..observe.memory import SOURCE
from ..resilience.clock import SYSTEM

_FIELD = Markup('<input type="hidden" name="{}" value="{}">')


def drawn(template: str, /, **values: Any) -> str:
    """Return a page as text: a template such as "flask_llm/dashboard.html", filled."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from .formats import FORMATS

    templates = Path(__file__).with_name("templates")
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True)
    own = {"request": request, "url_for": url_for, "csrf_field": csrf_field}
    environment.globals.update(FORMATS, **own)
    return environment


def csrf_field() -> Markup:
    """Return the field with the token that Flask-WTF wants; nothing if there is none.

    An app that cannot make one, as without a secret key, has its page all the same.
    """
    try:
        make: Any = current_app.jinja_env.globals.get("csrf_token") or _from_context()
        token = make()
    except Exception:  # noqa: BLE001  # it is the app's: anything, or nothing at all
        return Markup()
    name = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
    return _FIELD.format(name, token)


def _from_context() -> Any:
    """Return what the app's context processors give its templates for a token."""
    context: dict[str, Any] = {}
    current_app.update_template_context(context)
    return context["csrf_token"]


# Whatever text got into a page as markup by mistake could load and send nothing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_STATIC = "flask_llm.static"


def page(template: str, status: int = 200, /, **values: Any) -> Response:
    """Return a page of ours, which may load nothing but our own files."""
    response = make_response(drawn(template, **values), status)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def protected(response: Response) -> Response:
    """Add what holds for every response of the extension's own routes."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != _STATIC:
        response.headers["Cache-Control"] = "no-store"
    return response


def wants_html() -> bool:
    """Return whether the client is a browser that shows a page, and no program."""
    kinds = ["application/json", "text/html"]  # the first one for those that take all
    return request.accept_mimetypes.best_match(kinds) == "text/html"


def refusal(status: int, text: str) -> Response:
    """Return an error as a page to a browser, and as JSON to a program.

    Its text says why, without anything secret.
    """
    if wants_html():
        title = HTTPStatus(status).phrase
        return page("flask_llm/refusal.html", status, title=title, text=text)
    return make_response({"error": text}, status)


def stop(status: int, text: str) -> NoReturn:
    """End the request with an error; see `refusal`."""
    abort(refusal(status, text))


_USUAL = "1h"

# As `CallContext.new` makes them: no other one is looked for in a database.
_CALL_ID = re.compile(r"[0-9a-f]{24}")

_NOT_KNOWN = (
    "This call is not known, or not any more, or another process has it:"
    " LLM_USAGE=on keeps the calls of all."
)


def dashboard() -> Response:
    """Show the page. Asks no provider; a source that fails is reported on the page."""
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
    from .report import in_full, remedy

    call = in_full(record)
    if request.args.get("format") == "json" or not wants_html():
        return jsonify(call)
    return page("flask_llm/call.html", call=call, remedy=remedy)


def _report() -> dict[str, Any]:
    """Return the report of the range that the address names."""
    from .report import report

    name = request.args.get("range", _USUAL)
    if name not in RANGES:
        stop(400, f"The range must be one of {', '.join(RANGES)}.")
    factory = current_app.extensions["llm"]
    status = factory.get_provider_status(detail=True)
    is_shared = factory.config.is_shared
    return report(_source(), status, name, SYSTEM.time(), is_shared=is_shared)


def _source() -> DataSource:
    source: DataSource = current_app.extensions[SOURCE]
    return source
