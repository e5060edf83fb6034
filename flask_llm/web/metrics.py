"""The metrics, as Prometheus reads them."""

from flask import Response, current_app, request

from ..observe.metrics import exposition
from .pages import stop

def metrics() -> Response:
    """Return the metrics of all workers, in the format that is accepted."""
    accepted = request.headers.get("Accept", "")
    try:
        text, content_type = exposition(current_app, accepted)
    except LookupError as error:
        stop(404, str(error))
    except OSError as error:
        stop(503, f"PROMETHEUS_MULTIPROC_DIR cannot be used: {error}")
    return Response(text, content_type=content_type)
