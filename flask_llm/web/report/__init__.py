"""What the dashboard shows, as plain data: made of a source, and of how it stands."""

import os
from collections.abc import Mapping
from typing import Any

from ...observe.aggregates import About, DataSource, Span
from .providers import chain, entries, in_full, listed, remedy
from .queries import Findings, span_of
from .series import UNKNOWN, breakdown, charts, openings, tiles
from .status_line import Lately, headline

__all__ = ["in_full", "remedy", "report"]

_HOUR_S = 3600

_USAGE = "The calls of all workers, from the usage log."
_MEMORY = (
    "This process's calls of the last hour; LLM_USAGE=on keeps them for all workers."
)
_LONG_MEMORY = (
    "This process's calls of the last hour, for no more is kept; LLM_USAGE=on keeps"
    " those of all workers, and for longer."
)
_NO_CALLS = (
    "This process has seen no calls in the last hour: each knows its own only, and"
    " forgets them when it ends. LLM_USAGE=on keeps them for all workers."
)
_OWN_VIEW = (
    "Each process rests its providers by itself; this is the view of process {}."
    " LLM_STATE_URL lets all share one."
)


def report(
    source: DataSource,
    status: Mapping[str, Any],
    range_name: str,
    now: float,
    *,
    is_shared: bool,
) -> dict[str, Any]:
    """Return all that the dashboard shows. Fit for JSON; asks no provider.

    Args:
        source: Where the numbers are from. If it cannot be read they are None.
        status: What `get_provider_status(detail=True)` returns.
        range_name: One of `observe.aggregates.RANGES`.
        now: Seconds since 1970.
        is_shared: Whether all processes share their open circuits.
    """
    span = span_of(range_name, now)
    found = Findings.of(source, span)
    numbers = _numbers(found)
    calls = numbers["calls"]
    links = entries(status)
    lately = Lately.of(found.recent, links, now)
    return {
        "generated_at": now,
        "range": _range(range_name, span),
        "source": _source(found.about, span),
        "headline": headline(links, lately, calls, range_name=range_name, now=now),
        "chain": chain(status, found, lately),
        "note": _note(found.about, is_shared=is_shared),
        "tiles": numbers,
        "charts": charts(found.by_time, found.attempts, span),
        "openings": openings(found.changes, span),
        "breakdown": breakdown(found.by_purpose),
        "recent": [listed(each) for each in found.recent],
    }


def _numbers(found: Findings) -> dict[str, Any]:
    return tiles(found.by_purpose, found.attempts) if found.is_readable else UNKNOWN


def _note(about: About, *, is_shared: bool) -> str | None:
    """Return that the chain may stand otherwise elsewhere; None if it does not."""
    is_alone = is_shared or about.kind == "memory"
    return None if is_alone else _OWN_VIEW.format(os.getpid())


def _range(name: str, span: Span) -> dict[str, Any]:
    return {
        "name": name,
        "since": span.since,
        "until": span.until,
        "width_s": span.range.width,
    }


def _source(about: About, span: Span) -> dict[str, Any]:
    return {
        "kind": about.kind,
        "text": _told(about, span),
        "since": about.since,
        "error": about.error,
        "lost": about.lost,
        "waiting": about.waiting,
        "write_error": about.write_error,
    }


def _told(about: About, span: Span) -> str:
    """Return where the numbers come from, in a sentence."""
    if about.kind == "usage":
        return _USAGE
    if about.since is None:
        return _NO_CALLS
    return _LONG_MEMORY if span.range.seconds > _HOUR_S else _MEMORY
