"""The tries of a call in a line: as signs for eyes, and as words for ears."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from .kinds import reason

_SKIPPED = {"cooldown": "resting", "unavailable": "not set up"}


def steps(path: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tries of a call, equal ones after each other as one.

    Args:
        path: The `path` of a call in the report, or its attempts.

    Returns:
        For each step `provider`, `tone` ("ok", "failed" or "skipped"), `mark` such as
        "✕429", `words` such as "failed: quota exceeded (429)", and `times`.
    """
    told = [_step(each) for each in path]
    return [{**step, "times": len(list(same))} for step, same in groupby(told)]


def path_label(path: Iterable[Mapping[str, Any]]) -> str:
    """Return the tries of a call in a line: "gemini ✕429 → claude ✓"."""
    return " → ".join(
        f"{step['provider']} {step['mark']}{_times(step['times'])}"
        for step in steps(path)
    )


def path_words(path: Iterable[Mapping[str, Any]]) -> str:
    """Return the same for ears: "gemini failed: quota exceeded (429), then …"."""
    return ", then ".join(
        f"{step['provider']} {step['words']}{_times(step['times'])}"
        for step in steps(path)
    )


def _step(tried: Mapping[str, Any]) -> dict[str, Any]:
    kind, status = tried["outcome"], tried["status"]
    if tried["skipped"]:
        tone, sign = "skipped", f"– {_SKIPPED.get(kind, reason(kind))}"
        words = f"was skipped: {reason(kind)}"
    elif kind == "success":
        tone, sign, words = "ok", "✓", "answered"
    elif kind == "closed":
        tone, sign, words = "skipped", "– closed", "was stopped by the caller"
    else:
        tone, sign = "failed", f"✕{status or reason(kind)}"
        words = f"failed: {reason(kind)}" + (f" ({status})" if status else "")
    provider = tried["provider"]
    return {"provider": provider, "tone": tone, "mark": sign, "words": words}


def _times(number: int) -> str:
    return f" \N{MULTIPLICATION SIGN}{number}" if number > 1 else ""
