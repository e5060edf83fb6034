"""The command `flask llm`.

It is found by its entry point, so that it is there even if the app cannot start. Every
app has it; its commands are imported when one of them is run or listed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import AppGroup

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..factory import LLMFactory


class _Commands(AppGroup):
    """Commands that say what is wrong with the configuration without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        _import_commands()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        _import_commands()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None


def _import_commands() -> None:
    """Let the commands add themselves to the group."""
    import_module(f"{__name__}.commands")


llm_commands = _Commands("llm", help="Ask language models; see how they are set up.")


def current_factory() -> "LLMFactory":
    """Return the app's factory, or end the command."""
    if found := current_app.extensions.get("llm"):
        return found  # type: ignore[no-any-return]  # app.extensions is untyped
    raise click.ClickException("This app has no FlaskLLM: call FlaskLLM(app) first.")
