"""Checks of what watches: usage log, metrics, traces, shared state."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ...config.parsers import can_be_written, installed, is_folder
from ...config.state_url import store_of
from ...errors import redact
from .checks import CheckContext, Finding, fault_of

_AREA = "observing"

# Seconds. libpq gives a server three to answer.
_PATIENCE_S = 5.0
_STATEMENT_S = 2.0

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def usage_log(context: CheckContext) -> Iterator[Finding]:
    """Write to the usage log, and take it back."""
    observing = context.observing
    if observing.usage:
        key = "LLM_USAGE_URL" if observing.usage_url else "LLM_USAGE"
        yield _written(key, observing.usage_url, context.instance)
    elif observing.dashboard:
        message = "off: the dashboard shows the last hour of one process"
        advice = "on keeps the calls of all workers, over restarts"
        yield Finding("note", _AREA, "LLM_USAGE", message, advice)


def metrics(context: CheckContext) -> Iterator[Finding]:
    """Check whether the processes of a server can count together."""
    if not context.observing.metrics:
        return
    if _FOLDER in os.environ:
        yield _counted(os.environ[_FOLDER])
    else:
        message = f"on, without {_FOLDER}: each process shows its own calls only"
        advice = (
            f"right for one process; for more set {_FOLDER} to an empty folder, and"
            " child_exit in gunicorn.conf.py (docs/metrics.md)"
        )
        yield Finding("note", _AREA, "LLM_METRICS", message, advice)


def traces(context: CheckContext) -> Iterator[Finding]:
    """Check whether somebody takes the spans."""
    if not context.observing.traces:
        return
    from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

    key = "LLM_TRACES"
    if not isinstance(get_tracer_provider(), ProxyTracerProvider):
        yield Finding("ok", _AREA, key, "an SDK takes the spans")
    elif installed("opentelemetry.sdk"):
        message = "on, but no SDK is set up in this process: spans go nowhere"
        advice = "trace.set_tracer_provider(…) in the app, or opentelemetry-instrument"
        yield Finding("note", _AREA, key, message, advice)
    else:
        message = "on, but no SDK of OpenTelemetry is installed: spans go nowhere"
        advice = "pip install opentelemetry-sdk, and set it up"
        yield Finding("warning", _AREA, key, message, advice)


def content(context: CheckContext) -> Iterator[Finding]:
    """Check whether prompts and answers are logged."""
    if context.observing.log_content:
        message = "on: whoever reads the log reads prompts and answers"
        advice = "only keys and some personal data are taken out; off in production"
        yield Finding("warning", _AREA, "LLM_LOG_CONTENT", message, advice)


def guard(context: CheckContext) -> Iterator[Finding]:
    """Report which pages nobody can see."""
    observing = context.observing
    parts = {"dashboard": observing.dashboard, "metrics": observing.metrics}
    closed = " and ".join(name for name, is_on in parts.items() if is_on)
    if closed and not (context.debug or context.guarded):
        message = f"{closed} closed to everybody: nobody was given access"
        advice = "FlaskLLM(view_decorators=[…]) or FlaskLLM(authorize=…)"
        yield Finding("note", _AREA, "access", message, advice)


def _written(key: str, url: str, folder: str) -> Finding:
    """Judge the usage log."""
    from ...observe.usage.database import why
    from ...observe.usage.queries import probe
    from ...observe.usage.settings import database_url_of

    place = database_url_of(url, folder)
    describe = partial(why, secrets=place.secrets)
    fault = fault_of(partial(probe, place, _STATEMENT_S), _PATIENCE_S, describe)
    where = str(place.file) if place.file else "the database"
    if fault:
        message = f"{where} cannot be written ({fault}): calls are lost"
        return Finding("error", _AREA, key, message)
    if place.file and not place.file.exists():
        return Finding("ok", _AREA, key, f"the first call makes {where}")
    return Finding("ok", _AREA, key, f"{where} can be written")


def _counted(folder: str) -> Finding:
    """Judge the folder in which the processes count."""
    if not (folder and can_be_written(Path(folder))):
        message = "must be a folder that can be made and written to"
        advice = f"mkdir -p {folder}, before the server starts" if folder else ""
        return Finding("error", _AREA, _FOLDER, message, advice)
    if _is_left_over(Path(folder)):
        message = "has the counts of a server that has ended: they would be added"
        advice = "empty it each time before the server starts"
        return Finding("warning", _AREA, _FOLDER, message, advice)
    if not is_folder(folder):
        return Finding("ok", _AREA, _FOLDER, f"the first call makes {folder}")
    return Finding("ok", _AREA, _FOLDER, f"{folder} can be written to")


def _is_left_over(folder: Path) -> bool:
    """Return whether a folder has counts, and none of a process that lives."""
    pids = {each.stem.rpartition("_")[2] for each in folder.glob("*.db")}
    return bool(pids) and not any(map(_is_alive, pids))


def _is_alive(pid: str) -> bool:
    if os.name != "posix" or not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


_KEY = "LLM_STATE_URL"
_STORE_PATIENCE_S = 2.0


def store(context: CheckContext) -> Iterator[Finding]:
    """Write and read something harmless."""
    if context.factory is None:
        return
    url = context.factory.config.state_url
    scheme = url.partition("://")[0]
    if scheme == "memory":
        message = "memory://, so each worker learns for itself who is to rest"
        advice = "share it with sqlite:///… on one host, redis://… on many"
        yield Finding("note", "store", _KEY, message, advice)
        return
    if why := _fault(url):
        message = f"{scheme} does not answer ({why}); each worker learns for itself"
        yield Finding("error", "store", _KEY, message)
    else:
        yield Finding("ok", "store", _KEY, f"{scheme} keeps what is written")


def _fault(url: str) -> str:
    """Return what is wrong with a store, without its password; empty if nothing is."""
    fault = fault_of(lambda: store_of(url).check(), _STORE_PATIENCE_S)
    parts = urlsplit(url)
    return redact(fault, [parts.password or "", parts.query])
