"""Whether a process serves requests."""

import click
from flask.cli import AppGroup, run_command

def is_command() -> bool:
    """Return whether a command of Flask's runs that serves nothing."""
    context = click.get_current_context(silent=True)
    if context is None or context.command is run_command:
        return False
    return isinstance(context.find_root().command, AppGroup)
