"""How gunicorn is set up here, as far as that is written down. Runs none of it."""

import argparse
import ast
import shlex
from pathlib import Path
from typing import Any

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
