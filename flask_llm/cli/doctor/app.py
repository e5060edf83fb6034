"""Settings that are allowed, but not safe."""

import os
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ...config.settings import LLMConfig
from ...fallback.provider_handle import ChainEntry
from ...packages import installed
from ...doctor.finding import Finding, guarded
from ...doctor.gunicorn import UnreadableError, worker_timeout
from .checks import Subject

_AREA = "settings"
_OTHERS = 0o077


def debug(subject: Subject) -> Iterator[Finding]:
    """Tell whether the app is in debug mode.

    Args:
        subject: What is examined.
    """
    if subject.debug:
        message = "on: whoever meets an error can run code in the app"
        advice = "never on a server that others reach"
        yield Finding("warning", _AREA, "debug", message, advice)


def deadline(subject: Subject) -> Iterator[Finding]:
    """Tell whether a call can outlast the worker that makes it.

    Args:
        subject: What is examined.
    """
    if subject.factory is None:
        return
    limit = None
    if installed("gunicorn"):
        arguments = os.environ.get("GUNICORN_CMD_ARGS", "")
        try:
            limit = worker_timeout(arguments, subject.folder)
        except UnreadableError as where:
            message = f"gunicorn's timeout is computed in {where}, so unknown here"
            yield Finding("note", _AREA, "LLM_DEADLINE", message)
    yield _deadline(subject.factory.config, limit)


def addresses(subject: Subject) -> Iterator[Finding]:
    """Tell which keys travel in plain text.

    Args:
        subject: What is examined.
    """
    for entry in (*subject.entries, *subject.spare):
        yield from guarded(entry.name, partial(_address, entry))


def notices(subject: Subject) -> Iterator[Finding]:
    """Tell what was odd while the settings were read: typos, plug-ins left out.

    Args:
        subject: What is examined.
    """
    for sentence in subject.factory.notices if subject.factory else ():
        yield Finding("warning", _AREA, "", sentence)


def env_file(subject: Subject) -> Iterator[Finding]:
    """Tell whether other users of the machine can read the keys.

    Args:
        subject: What is examined.
    """
    for file in _env_files(subject):
        mode = file.stat().st_mode & 0o777
        if mode & _OTHERS:
            message = f"other users of this machine may read it (mode {mode:o})"
            yield Finding("warning", _AREA, str(file), message, f"chmod 600 {file}")


def _deadline(config: LLMConfig, limit: float | None) -> Finding:
    """Judge the deadline by gunicorn's limit, None if there is none or no gunicorn."""
    key, seconds = "LLM_DEADLINE", config.deadline
    if seconds is None:
        advice = "in requests use LLM_RETRY_PRESET=web or a deadline; else it is fine"
        return Finding("warning", _AREA, key, _endless(config, limit), advice)
    if limit is not None and seconds >= limit:
        message = (
            f"{seconds:g} s, but gunicorn kills a worker after {limit:g} s,"
            " in the middle of a call"
        )
        advice = f"set it below {limit:g}, or raise gunicorn's --timeout"
        return Finding("warning", _AREA, key, message, advice)
    below = f", below gunicorn's timeout of {limit:g} s" if limit else ""
    return Finding("ok", _AREA, key, f"{seconds:g} s{below}")


def _endless(config: LLMConfig, limit: float | None) -> str:
    """Return what it means that calls have no deadline."""
    tries = max(1, config.retry.max_attempts)
    killed = f"; gunicorn kills a worker after {limit:g} s" if limit else ""
    return (
        f"none: a request may wait for minutes, since a failing provider is asked up"
        f" to {tries} times, {config.timeout:g} s each, with waits between{killed}"
    )


def _address(entry: ChainEntry) -> Iterator[Finding]:
    settings = entry.settings
    if settings is None or not settings.api_key:
        return
    parts = urlsplit(settings.base_url or "")
    host = parts.hostname or ""
    if parts.scheme == "http" and not _is_loopback(host):
        message = f"the key of {entry.name} travels to {host} in plain text"
        key = settings.base_url_key
        yield Finding("warning", _AREA, key, message, "use https://")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _env_files(subject: Subject) -> list[Path]:
    """Return the `.env` files that an app here may read: its own, and the nearest."""
    if os.name != "posix":
        return []
    upwards = (folder / ".env" for folder in (subject.folder, *subject.folder.parents))
    files = {file for file in [next(filter(Path.is_file, upwards), None)] if file}
    if root := subject.root:
        home = root.parent if (root / "__init__.py").is_file() else root
        files |= {root / ".env", home / ".env"}
    return sorted(filter(Path.is_file, files))
