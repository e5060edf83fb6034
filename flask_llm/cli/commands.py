"""The commands ask, status, models, reset and doctor."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click
from flask import Flask, current_app
from flask.cli import NoAppException, ScriptInfo

from ..errors import (
    ConfigurationError,
    ProviderError,
    StreamInterrupted,
    harmless,
)
from ..factory import LLMFactory
from ..fallback.provider_handle import ProviderHandle, model_of, provider_name
from ..fallback.stream import LLMStream
from ..types import LLMResponse
from ..web.guard import NAME as GUARD
from . import current_factory, llm_commands
from .usage import usage

if TYPE_CHECKING:
    from .doctor import CheckContext, Finding


@dataclass(frozen=True, slots=True)
class Offer:
    """What one provider offers for the app's key.

    Attributes:
        provider: Its name in the configuration.
        configured: The models that the app asks it for.
        models: All that it offers.
        error: Why it tells none; holds no key.
    """

    provider: str
    configured: list[str]
    models: list[str]
    error: str | None = None

    def is_configured(self, model: str) -> bool:
        """Return whether the app asks for this model, perhaps by another name."""
        return any(_is(model, each) for each in self.configured)

    @property
    def not_offered(self) -> list[str]:
        """The models that the app asks for and the provider does not list."""
        return [
            each
            for each in self.configured
            if not any(_is(model, each) for model in self.models)
        ]


def offers(
    factory: LLMFactory, config: Mapping[str, Any], name: str | None = None
) -> list[Offer]:
    """Ask the providers of the chain, or one of any name, which models they offer.

    Args:
        factory: The app's factory.
        config: The app's configuration.
        name: A provider or an endpoint, in the chain or not; None for all of the chain.

    Raises:
        ConfigurationError: There is no provider of that name.
    """
    by_name: dict[str, list[ProviderHandle]] = {}
    for entry in factory.entries:
        by_name.setdefault(provider_name(entry), []).append(entry)
    if name is not None:
        others = by_name.get(name) or LLMFactory(name, [], config=config).entries
        by_name = {name: list(others)}
    return [_offer(each, entries) for each, entries in by_name.items()]


def _is(model: str, configured: str) -> bool:
    """Return whether a model of a list is the configured one, by whatever name."""
    names = {model, f"models/{model}", model.removesuffix(":latest")}
    return configured in names or PurePath(configured).name == f"{model}.gguf"


def _offer(name: str, entries: Sequence[ProviderHandle]) -> Offer:
    """Ask the first of some links that differ in their models only."""
    configured = [model for entry in entries if (model := model_of(entry))]
    try:
        return Offer(name, configured, entries[0].list_models())
    except ProviderError as error:
        return Offer(name, configured, [], str(error))


_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def print_stream(stream: LLMStream) -> LLMResponse:
    """Print an answer as it comes; return its response."""
    with stream, suppress(StreamInterrupted):  # the response says so
        for text in stream:
            click.echo(harmless(text), nl=False)
    if stream.text:
        click.echo()
    assert stream.response is not None  # it is over
    return stream.response


def print_about(response: LLMResponse) -> None:
    """Print who answered, or what went wrong, to standard error."""
    if not response.success:
        click.echo(response.error, err=True)
        return
    usage = response.usage
    tokens = f"{usage.input_tokens}+{usage.output_tokens} tokens" if usage else None
    cost = None if response.cost_usd is None else f"${response.cost_usd:.6f}"
    seconds = f"{response.metadata['latency_s']:.2f} s"
    who = response.provider_name, response.model
    known = filter(None, (*who, tokens, cost, seconds))
    click.echo(f"({', '.join(map(str, known))})", err=True)


def print_offer(offer: Offer) -> None:
    """Print a provider's models; why there are none goes to standard error."""
    if offer.error:
        click.echo(f"{offer.provider}: {offer.error}", err=True)
        return
    click.echo(f"{offer.provider} (* configured: {', '.join(offer.configured) or '-'})")
    for model in offer.models:
        click.echo(f"{'*' if offer.is_configured(model) else ' ':>3} {model}")
    for model in offer.not_offered:
        click.echo(f"{model} is configured, but not offered", err=True)


def print_findings(findings: "Iterable[Finding]") -> None:
    """Print what the doctor has found, a sign of each level before it."""
    from .doctor.report import report

    for level, sign, text in report(findings, sys.stdout.encoding or "ascii"):
        click.echo(click.style(sign, fg=_COLORS.get(level or "")) + text)


def print_json(data: Any) -> None:
    """Print readable JSON; escaped where standard output has not all characters."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=2, default=str)
    click.echo(text)


_FIELDS = ("success", "content", "provider_name", "error", "metadata")

llm_commands.add_command(usage)

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
        response = current_factory().generate_content(*asked)
        print_json({name: getattr(response, name) for name in _FIELDS})
    else:
        response = print_stream(current_factory().stream_content(*asked))
        print_about(response)
    if not response.success:
        raise click.exceptions.Exit(1)


@llm_commands.command()
@_as_json
def status(*, as_json: bool) -> None:
    """Show the chain of providers, and who could be asked. Asks nobody."""
    found = current_factory().get_provider_status(detail=True)
    if as_json:
        print_json(found)
        return
    links = [found["primary"], *found["fallbacks"]]
    roles = ["primary", *["fallback"] * len(found["fallbacks"])]
    width = max(20, *(len(each["name"]) for each in links))
    for role, each in zip(roles, links, strict=True):
        state = each["reason"] or "available"
        click.echo(f"{role:<9} {each['name']:<{width}} {state}")


@llm_commands.command()
@click.argument("provider")
def reset(provider: str) -> None:
    """Close the circuit of PROVIDER, so that the next call asks it again.

    Reaches the servers through LLM_STATE_URL. Exits with 1 if it cannot.
    """
    factory = current_factory()
    if not factory.config.is_shared:
        raise click.ClickException(
            "with LLM_STATE_URL=memory:// each process has circuits of its own, and no"
            " command reaches them: use the dashboard, or restart the server"
        )
    try:
        factory.reset(provider)
    except LookupError as error:
        raise click.BadParameter(str(error), param_hint="PROVIDER") from None
    except OSError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{provider}: the next call asks it again")


@llm_commands.command()
@click.argument("provider", required=False)
@_as_json
def models(provider: str | None, *, as_json: bool) -> None:
    """List the models that the chain's providers offer for your keys, or PROVIDER's.

    Asks over the network, which costs nothing. Exits with 1 if nobody answers.
    """
    try:
        found = offers(current_factory(), current_app.config, provider)
    except ConfigurationError as error:
        # The app's own is sound, since it has started.
        faults = [each.removeprefix("primary_provider ") for each in error.faults]
        raise click.BadParameter("; ".join(faults), param_hint="PROVIDER") from None
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            print_offer(each)
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
    from .doctor import CHECKS, examine, parts
    from .doctor import live as ask_each

    app, context = _check_context(ctx.ensure_object(ScriptInfo))
    with app.app_context() if app else nullcontext():
        agreed = live and _agreed(context, yes=yes)
        asked = (ask_each, parts) if agreed else ()
        findings = examine(context, (*CHECKS, *asked))
    bad = {"error", "warning"} if strict else {"error"}
    ok = not any(finding.level in bad for finding in findings)
    if as_json:
        print_json({"ok": ok, "findings": [asdict(each) for each in findings]})
    else:
        print_findings(findings)
    ctx.exit(0 if ok else 1)


def _check_context(info: ScriptInfo) -> "tuple[Flask | None, CheckContext]":
    """Load the app and return it as the doctor sees it, even if it cannot start."""
    from .doctor import CheckContext

    info.set_debug_flag = False  # the app's own setting is what a server would run with
    today = datetime.now(UTC).date()
    try:
        app = info.load_app()
    except NoAppException as error:
        # Of an import that fails Flask's text is the traceback.
        cause = error.__context__
        return None, CheckContext(
            today, error=cause if isinstance(cause, ImportError) else error
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # an app may raise anything
        return None, CheckContext(today, error=error)
    return app, CheckContext(
        today,
        factory=app.extensions.get("llm"),
        config=app.config,
        debug=app.debug,
        guarded=GUARD in app.extensions and app.extensions[GUARD].is_set,
        root=Path(app.root_path),
        instance=app.instance_path,
    )


def _agreed(context: "CheckContext", *, yes: bool) -> bool:
    """Return whether each provider may be asked, which costs money."""
    names = ", ".join(entry.name for entry in context.able)
    if yes or not names:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("--live asks before it costs money: add --yes for that.")
    question = f"Ask {names} once each? This costs a fraction of a cent."
    return click.confirm(question, err=True)
