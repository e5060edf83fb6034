"""What a load balancer asks: does the process answer, and can it answer prompts."""

from flask import Response, current_app, jsonify

# A provider whose rest is over is tried by the next call.
_SERVING = {"closed", "half-open"}


def live() -> Response:
    """Tell that this process answers requests, whatever the providers do."""
    return jsonify(live=True)


def ready() -> tuple[Response, int]:
    """Tell whether some provider could be asked now. Asks none.

    Returns:
        Status 200 if so; 503 if each is resting or not set up.
    """
    found = current_app.extensions["llm"].get_provider_status(detail=True)
    chain = [found["primary"], *found["fallbacks"]]
    can_answer = any(each["state"] in _SERVING for each in chain)
    return jsonify(ready=can_answer), 200 if can_answer else 503
