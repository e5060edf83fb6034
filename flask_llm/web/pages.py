"""How our own pages are sent: nothing foreign runs in them, and nobody keeps them."""

from http import HTTPStatus
from typing import Any, NoReturn
from flask import Response, abort, make_response, request

from .drawing import drawn

# Whatever text got into a page as markup by mistake could load and send nothing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_STATIC = "flask_llm.static"


def page(template: str, status: int = 200, /, **values: Any) -> Response:
    """Return a page of ours.

    Args:
        template: Its name, such as "flask_llm/dashboard.html".
        status: Its HTTP status.
        **values: What the template is given.
    """
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

    Args:
        status: The HTTP status.
        text: Why, without anything secret.
    """
    if wants_html():
        title = HTTPStatus(status).phrase
        return page("flask_llm/refusal.html", status, title=title, text=text)
    return make_response({"error": text}, status)


def stop(status: int, text: str) -> NoReturn:
    """End the request with an error; see `refusal`."""
    abort(refusal(status, text))
