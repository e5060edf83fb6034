"""Which versions are installed, of Python, Flask and the SDKs. Imports no SDK."""

import platform
import re
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version

from ..fallback.provider_handle import ChainEntry
from ..links import provider_of
from ..providers import internals
from .finding import Finding, guarded
from ..cli.doctor.checks import Subject

_ITSELF = "Flask-LLM"


def versions(subject: Subject) -> Iterator[Finding]:
    """Tell the versions, and which are older than Flask-LLM needs.

    Args:
        subject: What is examined.
    """
    yield Finding("ok", "versions", "Python", platform.python_version())
    least = _least()
    for name in ["Flask", _ITSELF, *_distributions(subject)]:
        if found := installed_version(name):
            yield _compared(name, found, least.get(name.lower(), "0"))


def ended(subject: Subject) -> Iterator[Finding]:
    """Tell which SDKs of the chain their makers support no longer.

    Args:
        subject: What is examined.
    """
    for entry in subject.entries:
        yield from guarded(entry.name, partial(_ended, entry))


def parts(_: Subject) -> Iterator[Finding]:
    """Tell which parts of the SDKs have been looked for in vain, in this process.

    Those of a client are known once it is made: when providers are asked.

    Args:
        _: What is examined; the SDKs are the same for all.
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


def _ended(entry: ChainEntry) -> Iterator[Finding]:
    if sentence := getattr(provider_of(entry), "ended", ""):
        yield Finding("warning", "versions", entry.name, str(sentence))


def _distributions(subject: Subject) -> list[str]:
    """Return the SDKs of all known providers, by their names on PyPI."""
    providers = [*map(provider_of, subject.entries), *dict(subject.others()).values()]
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
