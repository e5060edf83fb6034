"""Checks of the app: settings, start, its server and versions."""

import argparse
import ast
import configparser
import logging
import os
import platform
import re
import shlex
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...config.parsers import installed
from ...config.settings import LLMConfig
from ...errors import ConfigurationError
from ...fallback.provider_handle import ProviderHandle, provider_of
from ...providers import internals
from .checks import CheckContext, Finding, described, guarded

_USUAL: dict[str, Any] = {"timeout": 30, "worker_class": "sync", "threads": 1}
_FILE = "gunicorn.conf.py"


class UnreadableError(Exception):
    """A setting is computed, so that only gunicorn itself knows it."""


def worker_timeout(arguments: str, folder: Path) -> float | None:
    """Return the seconds after which gunicorn kills a worker that answers a request.

    Args:
        arguments: What GUNICORN_CMD_ARGS says.
        folder: Where gunicorn is started.

    Returns:
        The seconds; None without a limit. Workers of other classes than "sync" show
        that they are alive while they answer, so they have none.

    Raises:
        UnreadableError: It is computed.
    """
    written = _arguments(arguments)
    file = folder / str(written.pop("config", _FILE)).removeprefix("file:")
    settings = _USUAL | _of_file(file) | written
    if None in settings.values():
        raise UnreadableError(file.name)
    if settings["worker_class"] != "sync" or settings["threads"] > 1:
        return None
    return float(settings["timeout"]) or None


def _arguments(arguments: str) -> dict[str, Any]:
    """Return the options that are given; argparse is what gunicorn reads them with."""
    parser = argparse.ArgumentParser(
        add_help=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("-t", "--timeout", type=int)
    parser.add_argument("-k", "--worker-class")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-c", "--config")
    known, _ = parser.parse_known_args(shlex.split(arguments))
    return vars(known)


def _of_file(file: Path) -> dict[str, Any]:
    """Return the settings that a configuration file assigns; None for computed ones."""
    if not file.is_file():
        return {}
    found: dict[str, Any] = {}
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        for target in _targets(statement):
            if target in _USUAL:
                found[target] = _literal(statement)
    return found


def _targets(statement: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _literal(statement: ast.stmt) -> Any:
    try:
        return ast.literal_eval(statement.value)  # type: ignore[attr-defined]  # an assignment's
    except ValueError:
        return None


_AREA = "settings"
_THREADED = {"enable-threads", "threads"}
_NEEDS_THREADS = "threads, which deadlines, streams, usage log and shared state need"
_OTHERS = 0o077


def debug(context: CheckContext) -> Iterator[Finding]:
    """Check whether the app is in debug mode."""
    if context.debug:
        message = "on: whoever meets an error can run code in the app"
        advice = "never on a server that others reach"
        yield Finding("warning", _AREA, "debug", message, advice)


def deadline(context: CheckContext) -> Iterator[Finding]:
    """Check whether a call can outlast the worker that makes it."""
    if context.factory is None:
        return
    limit = None
    if installed("gunicorn"):
        arguments = os.environ.get("GUNICORN_CMD_ARGS", "")
        try:
            limit = worker_timeout(arguments, context.folder)
        except UnreadableError as where:
            message = f"gunicorn's timeout is computed in {where}, so unknown here"
            yield Finding("note", _AREA, "LLM_DEADLINE", message)
    yield _deadline(context.factory.config, limit)


def uwsgi(context: CheckContext) -> Iterator[Finding]:
    """Check whether uWSGI would run the threads that background work needs."""
    files = [each for each in sorted(context.folder.glob("*.ini")) if _of_uwsgi(each)]
    for file in files:
        if _THREADED & _of_uwsgi(file).keys():
            yield Finding("ok", _AREA, file.name, "uWSGI runs threads")
        else:
            message = f"without enable-threads uWSGI runs no {_NEEDS_THREADS}"
            advice = "write enable-threads = true"
            yield Finding("warning", _AREA, file.name, message, advice)
    if not files and installed_version("uWSGI"):
        message = f"is installed: without --enable-threads it runs no {_NEEDS_THREADS}"
        yield Finding("note", _AREA, "uWSGI", message)


def _of_uwsgi(file: Path) -> dict[str, str | None]:
    """Return what a file sets for uWSGI, which takes a key several times."""
    read = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        read.read(file, encoding="utf-8")
        return dict(read["uwsgi"])
    except (configparser.Error, KeyError, OSError, UnicodeDecodeError):
        return {}


def limits(context: CheckContext) -> Iterator[Finding]:
    """Report limits of an account that each process would count for itself."""
    if context.factory is None or context.factory.config.is_shared:
        return
    for entry in context.entries:
        settings = entry.settings
        if settings and (settings.rate or settings.token_rate):
            message = f"each process counts the limits of {entry.name} for itself"
            advice = "set LLM_STATE_URL, or give each process its part"
            yield Finding("warning", _AREA, "LLM_STATE_URL", message, advice)


def addresses(context: CheckContext) -> Iterator[Finding]:
    """Report which keys travel in plain text."""
    for entry in (*context.entries, *context.spare):
        yield from guarded(entry.name, partial(_address, entry))


def notices(context: CheckContext) -> Iterator[Finding]:
    """Report what was odd while the settings were read: typos, plug-ins left out."""
    for sentence in context.factory.notices if context.factory else ():
        yield Finding("warning", _AREA, "", sentence)


def env_file(context: CheckContext) -> Iterator[Finding]:
    """Check whether other users of the machine can read the keys."""
    for file in _env_files(context):
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


def _address(entry: ProviderHandle) -> Iterator[Finding]:
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


def _env_files(context: CheckContext) -> list[Path]:
    """Return the `.env` files that an app here may read: its own, and the nearest."""
    if os.name != "posix":
        return []
    upwards = (folder / ".env" for folder in (context.folder, *context.folder.parents))
    files = {file for file in [next(filter(Path.is_file, upwards), None)] if file}
    if root := context.root:
        home = root.parent if (root / "__init__.py").is_file() else root
        files |= {root / ".env", home / ".env"}
    return sorted(filter(Path.is_file, files))


def start(context: CheckContext) -> Iterator[Finding]:
    """Report each fault of the configuration, or what else stops the app."""
    error = context.error
    if isinstance(error, ConfigurationError):
        for fault in error.faults:
            key, _, rest = fault.partition(" ")
            yield Finding("error", "configuration", key, rest)
    elif error is not None:
        message = f"cannot be loaded: {described(error)}"
        yield Finding("error", "app", "start", message)
    elif context.factory is None:
        advice = "call FlaskLLM(app), or init_app(app) in your create_app()"
        yield Finding("error", "app", "start", "this app has no FlaskLLM", advice)
    else:
        yield Finding("ok", "app", "start", "starts, and its configuration is sound")


def logger(_: CheckContext) -> Iterator[Finding]:
    """Report a logger that somebody's configuration has switched off."""
    if logging.getLogger("flask_llm").disabled:
        yield Finding(
            "warning",
            "logs",
            "flask_llm",
            "its logger is disabled; the first WARNING switches it on again",
            "give logging.config disable_existing_loggers=False, or set a level",
        )


_ITSELF = "Flask-LLM"


def versions(context: CheckContext) -> Iterator[Finding]:
    """Report the versions, and which are older than Flask-LLM needs."""
    yield Finding("ok", "versions", "Python", platform.python_version())
    least = _least()
    for name in ["Flask", _ITSELF, *_distributions(context)]:
        if found := installed_version(name):
            yield _compared(name, found, least.get(name.lower(), "0"))


def ended(context: CheckContext) -> Iterator[Finding]:
    """Report which SDKs of the chain their makers support no longer."""
    for entry in context.entries:
        yield from guarded(entry.name, partial(_ended, entry))


def parts(_: CheckContext) -> Iterator[Finding]:
    """Report which parts of the SDKs were not found in this process.

    Those of a client are known once it is made: when providers are asked.
    """
    for part, otherwise in internals.missing().items():
        yield Finding(
            "warning",
            "versions",
            part,
            f"gone from the installed package: {otherwise}",
            f"update {_ITSELF}, or install an older version of the package",
        )


def installed_version(distribution: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _ended(entry: ProviderHandle) -> Iterator[Finding]:
    if sentence := getattr(provider_of(entry), "ended", ""):
        yield Finding("warning", "versions", entry.name, str(sentence))


def _distributions(context: CheckContext) -> list[str]:
    """Return the SDKs of all known providers, by their names on PyPI."""
    providers = [*map(provider_of, context.entries), *dict(context.others()).values()]
    names = {getattr(each, "distribution", None) for each in providers}
    return sorted(name for name in names if isinstance(name, str))


def _least() -> dict[str, str]:
    """Return the oldest version that Flask-LLM works with, by lower-case name."""
    found = (re.match(r"([\w.-]+)>=([\d.]+)", each) for each in requires(_ITSELF) or ())
    return {each[1].lower(): each[2] for each in found if each}


def _compared(name: str, found: str, least: str) -> Finding:
    if _numbers(found) >= _numbers(least):
        return Finding("ok", "versions", name, found)
    message = f"{found} is older than {least}, which Flask-LLM needs"
    return Finding(
        "warning", "versions", name, message, f'pip install -U "{name}>={least}"'
    )


def _numbers(version: str) -> list[int]:
    """Return the release as numbers; what follows, such as "rc1", does not count."""
    release = re.match(r"[\d.]*", version)
    parts = release[0].split(".") if release else []
    return [int(part) for part in parts if part]
