"""The command `flask llm`."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click
from flask.cli import AppGroup

from .extension import current_llm
from .types import LLMResponse

llm_commands = AppGroup("llm", help="Ask language models, and see how they are set up.")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@llm_commands.command()
@click.argument("prompt")
@click.option("--temperature", type=float, default=0.0, show_default=True)
@click.option("--max-tokens", type=int, default=1024, show_default=True)
@_as_json
def ask(prompt: str, temperature: float, max_tokens: int, *, as_json: bool) -> None:
    """Answer PROMPT through the app's chain of providers; "-" reads standard input.

    Exits with 1 if no provider answers.
    """
    if prompt == "-":
        prompt = sys.stdin.read()
    response = current_llm.generate_content(prompt, temperature, max_tokens)
    if as_json:
        _print_json(asdict(response))
    else:
        _print_answer(response)
    if not response.success:
        raise click.exceptions.Exit(1)


@llm_commands.command()
@_as_json
def status(*, as_json: bool) -> None:
    """Show the chain of providers, and who could be asked. Asks nobody."""
    if as_json:
        _print_json(current_llm.get_provider_status(detail=True))
        return
    found = current_llm.get_provider_status(detail=True)
    _print_provider("primary", found["primary"])
    for fallback in found["fallbacks"]:
        _print_provider("fallback", fallback)


def _print_answer(response: LLMResponse) -> None:
    """Print the text; who answered, or what went wrong, goes to standard error."""
    if not response.success:
        click.echo(response.error, err=True)
        return
    click.echo(response.content)
    usage = response.usage
    tokens = f"{usage.input_tokens}+{usage.output_tokens} tokens" if usage else None
    seconds = f"{response.metadata['latency_s']:.2f} s"
    known = filter(None, (response.provider_name, response.model, tokens, seconds))
    click.echo(f"({', '.join(map(str, known))})", err=True)


def _print_provider(role: str, provider: dict[str, Any]) -> None:
    state = provider["reason"] or "available"
    click.echo(f"{role:<9} {provider['name']:<20} {state}")


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))
