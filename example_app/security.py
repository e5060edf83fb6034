"""What every page of the app is protected with."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: nothing inline, nothing from elsewhere."""

LOCAL_ONLY = "LOCAL_ONLY"
"""Key of the setting that says that only this machine can reach the app.

Set it for no app behind a proxy: there every visitor seems to be on this machine.
"""


def init_app(app: Flask) -> None:
    """Protect an app."""
    app.before_request(_refuse_other_sites)
    app.after_request(_add_headers)


def may_watch() -> bool:
    """Return whether the visitor may see the dashboard, which tells what calls cost.

    A developer in debug mode may, and the person before the demo. An app with users
    would ask who is logged in.
    """
    if current_app.config.get(LOCAL_ONLY):
        return ip_address(request.remote_addr or "::").is_loopback
    return current_app.debug


def _refuse_other_sites() -> None:
    """Refuse what another site made the visitor's browser send: each call costs."""
    if request.method not in {"GET", "HEAD", "OPTIONS"} and not _own_site():
        abort(403, "This form was sent from another site.")


def _own_site() -> bool:
    """Return whether a request comes from our pages, or from no page at all."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    # Older browsers tell only the origin; programs such as curl tell neither.
    origin = request.headers.get("Origin")
    # Without the scheme, which a proxy in front of us may have changed.
    return origin is None or urlsplit(origin).netloc == request.host


def _add_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
