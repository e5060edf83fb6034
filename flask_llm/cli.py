"""The command `flask llm`.

It is found by its entry point, so that it is there even if the app cannot start.
"""

import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, NoAppException, ScriptInfo

from .errors import ConfigurationError, StreamInterrupted
from .factory import LLMFactory
from .offers import Offer, offers
from .stream import LLMStream
from .types import LLMResponse

if TYPE_CHECKING:
    from .doctor import Finding, Subject

_FIELDS = ("success", "content", "provider_name", "error", "metadata")
_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


class _Commands(AppGroup):
    """Commands that say what is wrong with the configuration without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None


llm_commands = _Commands("llm", help="Ask language models; see how they are set up.")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@llm_commands.command()
@click.argument("prompt")
@click.option("--temperature", type=float, default=0.0, show_default=True)
@click.option("--max-tokens", type=int, default=1024, show_default=True)
@_as_json
def ask(prompt: str, temperature: float, max_tokens: int, *, as_json: bool) -> None:
    """Answer PROMPT through the app's chain of providers; "-" reads standard input.

    Prints the answer as it comes. Exits with 1 if no provider answers, or if the answer
    breaks off.
    """
    if prompt == "-":
        prompt = sys.stdin.read()
    asked = (prompt, temperature, max_tokens)
    if as_json:
        response = _llm().generate_content(*asked)
        _print_json({name: getattr(response, name) for name in _FIELDS})
    else:
        response = _print_stream(_llm().stream_content(*asked))
        _print_about(response)
    if not response.success:
        raise click.exceptions.Exit(1)


@llm_commands.command()
@_as_json
def status(*, as_json: bool) -> None:
    """Show the chain of providers, and who could be asked. Asks nobody."""
    found = _llm().get_provider_status(detail=True)
    if as_json:
        _print_json(found)
        return
    links = [found["primary"], *found["fallbacks"]]
    roles = ["primary", *["fallback"] * len(found["fallbacks"])]
    width = max(20, *(len(each["name"]) for each in links))
    for role, each in zip(roles, links, strict=True):
        state = each["reason"] or "available"
        click.echo(f"{role:<9} {each['name']:<{width}} {state}")


@llm_commands.command()
@click.argument("provider", required=False)
@_as_json
def models(provider: str | None, *, as_json: bool) -> None:
    """List the models that the chain's providers offer for your keys, or PROVIDER's.

    Asks over the network, which costs nothing. Exits with 1 if nobody answers.
    """
    try:
        found = offers(_llm(), current_app.config, provider)
    except ConfigurationError as error:
        # The app's own is sound, since it has started.
        faults = [each.removeprefix("primary_provider ") for each in error.faults]
        raise click.BadParameter("; ".join(faults), param_hint="PROVIDER") from None
    if as_json:
        _print_json([asdict(each) for each in found])
    else:
        for each in found:
            _print_offer(each)
    if all(each.error for each in found):
        raise click.exceptions.Exit(1)


@llm_commands.command(with_appcontext=False)
@click.option("--live", is_flag=True, help="Ask each provider once. This is not free.")
@click.option("--yes", is_flag=True, help="Do not ask before --live.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@_as_json
@click.pass_context
def doctor(
    ctx: click.Context, *, live: bool, yes: bool, strict: bool, as_json: bool
) -> None:
    """Look for what is wrong, missing, outdated or unsafe. Never shows a key.

    Works even if the app cannot start. Exits with 1 if there is an error.
    """
    from .doctor import CHECKS, examine
    from .doctor import live as ask_each

    app, subject = _subject(ctx.ensure_object(ScriptInfo))
    with app.app_context() if app else nullcontext():
        agreed = live and _agreed(subject, yes=yes)
        findings = examine(subject, (*CHECKS, ask_each) if agreed else CHECKS)
    bad = {"error", "warning"} if strict else {"error"}
    ok = not any(finding.level in bad for finding in findings)
    if as_json:
        _print_json({"ok": ok, "findings": [asdict(each) for each in findings]})
    else:
        _print_findings(findings)
    ctx.exit(0 if ok else 1)


def _llm() -> LLMFactory:
    """Return the app's factory, or end the command."""
    if found := current_app.extensions.get("llm"):
        return found  # type: ignore[no-any-return]  # app.extensions is untyped
    raise click.ClickException("This app has no FlaskLLM: call FlaskLLM(app) first.")


def _subject(info: ScriptInfo) -> "tuple[Flask | None, Subject]":
    """Load the app and return it as the doctor sees it, even if it cannot start."""
    from .doctor import Subject

    info.set_debug_flag = False  # the app's own setting is what a server would run with
    today = datetime.now(UTC).date()
    try:
        app = info.load_app()
    except NoAppException as error:
        # Of an import that fails Flask's text is the traceback.
        cause = error.__context__
        return None, Subject(
            today, error=cause if isinstance(cause, ImportError) else error
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # an app may raise anything
        return None, Subject(today, error=error)
    return app, Subject(
        today,
        factory=app.extensions.get("llm"),
        config=app.config,
        debug=app.debug,
        root=Path(app.root_path),
    )


def _agreed(subject: "Subject", *, yes: bool) -> bool:
    """Return whether each provider may be asked, which costs money."""
    names = ", ".join(entry.name for entry in subject.able)
    if yes or not names:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("--live asks before it costs money: add --yes for that.")
    question = f"Ask {names} once each? This costs a fraction of a cent."
    return click.confirm(question, err=True)


def _print_stream(stream: LLMStream) -> LLMResponse:
    """Print an answer as it comes; return its response."""
    with stream, suppress(StreamInterrupted):  # the response says so
        for text in stream:
            click.echo(text, nl=False)
    if stream.text:
        click.echo()
    assert stream.response is not None  # it is over
    return stream.response


def _print_about(response: LLMResponse) -> None:
    """Print who answered, or what went wrong, to standard error."""
    if not response.success:
        click.echo(response.error, err=True)
        return
    usage = response.usage
    tokens = f"{usage.input_tokens}+{usage.output_tokens} tokens" if usage else None
    seconds = f"{response.metadata['latency_s']:.2f} s"
    known = filter(None, (response.provider_name, response.model, tokens, seconds))
    click.echo(f"({', '.join(map(str, known))})", err=True)


def _print_offer(offer: Offer) -> None:
    """Print a provider's models; why there are none goes to standard error."""
    if offer.error:
        click.echo(f"{offer.provider}: {offer.error}", err=True)
        return
    click.echo(f"{offer.provider} (* configured: {', '.join(offer.configured) or '-'})")
    for model in offer.models:
        click.echo(f"{'*' if offer.is_configured(model) else ' ':>3} {model}")
    for model in offer.not_offered:
        click.echo(f"{model} is configured, but not offered", err=True)


def _print_findings(findings: "Iterable[Finding]") -> None:
    from .doctor.report import report

    for level, sign, text in report(findings, sys.stdout.encoding or "ascii"):
        click.echo(click.style(sign, fg=_COLORS.get(level or "")) + text)


def _print_json(data: Any) -> None:
    """Print readable JSON; escaped where standard output has not all characters."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=2, default=str)
    click.echo(text)
