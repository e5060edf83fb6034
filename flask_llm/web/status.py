"""The chain of providers: names and booleans for everybody, more for some."""

from flask import Response, current_app, jsonify, request

from .guard import guarded

_NO = {"", "0"}


def status() -> Response:
    """Return `LLMFactory.get_provider_status` as JSON. Asks no provider.

    With ``?detail=1`` it tells why somebody would not be asked, to those whom the
    guard lets in.
    """
    if request.args.get("detail", "") in _NO:
        return _shown(detail=False)
    return status_detail()  # type: ignore[no-any-return]  # as the decorators return it


@guarded
def status_detail() -> Response:
    """Return the status with all that is known."""
    return _shown(detail=True)


def _shown(*, detail: bool) -> Response:
    return jsonify(current_app.extensions["llm"].get_provider_status(detail=detail))
