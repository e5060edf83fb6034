"""What the commands print."""

import json
import sys
import click
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import StreamInterrupted
from ..offers import Offer
from ..stream import LLMStream
from ..types import LLMResponse

if TYPE_CHECKING:
    from .doctor import Finding

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def print_stream(stream: LLMStream) -> LLMResponse:
    """Print an answer as it comes; return its response."""
    with stream, suppress(StreamInterrupted):  # the response says so
        for text in stream:
            click.echo(text, nl=False)
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
