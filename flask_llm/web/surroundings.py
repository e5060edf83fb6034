"""What a call learns of the HTTP request in which it is made."""

from flask import Request, g, has_request_context, request

# As proxies write it, and as Flask extensions keep it on `g`.
_HEADER = "HTTP_X_REQUEST_ID"
_ATTRIBUTE = "request_id"

_MOST = 128


def surroundings() -> tuple[str, str | None]:
    """Return the endpoint and the number of the current request, if there is one.

    The number is `g.request_id`, as an extension or the app itself has set it, else
    what the proxy in front has sent as X-Request-ID. It is anybody's word: one that is
    long, or no plain text, is left out.
    """
    if not has_request_context():
        return "", None
    # Past the proxy, of which each look costs a microsecond of every call.
    served: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    number = g.get(_ATTRIBUTE) or served.environ.get(_HEADER)
    fits = isinstance(number, str) and number.isprintable() and len(number) <= _MOST
    return served.endpoint or "", number if fits else None
