"""When models end, as the SDKs know it.

Their tables are read from the source of the installed packages: importing anthropic for
it would take more than a second. They are private, so a release may move them: an SDK
that is installed and yields none is reported.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from email.utils import parsedate
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from . import internals

# Where a table is, in a version of the SDK or another.
_ANTHROPIC_FILES = (
    "_data/deprecated_models.py",  # since 2.14
    "resources/messages/messages.py",
)
_OPENAI_FILES = ("types/shared/chat_model.py",)

# A table of anthropic, from model to "November 6th, 2024".
_ANTHROPIC = re.compile(
    r"^DEPRECATED_MODELS(?::[^=\n]+)? = (\{.*?^\})", re.DOTALL | re.MULTILINE
)

# An entry in a docstring of openai: `- "gpt-5", "o3": Announced shutdown date: …`, with
# line breaks anywhere.
_OPENAI = re.compile(
    r'((?:"[\w.-]+",\s+)*"[\w.-]+"):\s+Announced\s+shutdown\s+date:\s+'
    r"(\d{4}-\d\d-\d\d)"
)

# What anthropic's table named until 2.14. It drops models at their end, or later.
_ENDED_BEFORE = {
    "claude-1.3": date(2024, 11, 6),
    "claude-1.3-100k": date(2024, 11, 6),
    "claude-instant-1.1": date(2024, 11, 6),
    "claude-instant-1.1-100k": date(2024, 11, 6),
    "claude-instant-1.2": date(2024, 11, 6),
    "claude-2.0": date(2025, 7, 21),
    "claude-2.1": date(2025, 7, 21),
    "claude-3-sonnet-20240229": date(2025, 7, 21),
    "claude-3-opus-20240229": date(2026, 1, 5),
    "claude-3-7-sonnet-latest": date(2026, 2, 19),
    "claude-3-7-sonnet-20250219": date(2026, 2, 19),
    "claude-3-5-haiku-latest": date(2026, 2, 19),
    "claude-3-5-haiku-20241022": date(2026, 2, 19),
    "claude-opus-4-0": date(2026, 6, 15),
    "claude-opus-4-20250514": date(2026, 6, 15),
    "claude-sonnet-4-0": date(2026, 6, 15),
    "claude-sonnet-4-20250514": date(2026, 6, 15),
    "claude-mythos-preview": date(2026, 6, 30),
    "claude-sonnet-4-5": date(2026, 11, 30),
    "claude-sonnet-4-5-20250929": date(2026, 11, 30),
}


@cache
def anthropic_ends() -> Mapping[str, date]:
    """Return the last day of each model that is known to end or to have ended."""
    return _ENDED_BEFORE | _table("anthropic", _ANTHROPIC_FILES, _anthropic_table)


@cache
def openai_ends() -> Mapping[str, date]:
    """Return the last day of each model that openai's table names."""
    return _table("openai", _OPENAI_FILES, _openai_table)


def _anthropic_table(source: str) -> dict[str, date]:
    found = _ANTHROPIC.search(source)
    table = ast.literal_eval(found[1]) if found else {}
    return {model: _day(words) for model, words in table.items()}


def _openai_table(source: str) -> dict[str, date]:
    return {
        model: date.fromisoformat(day)
        for models, day in _OPENAI.findall(source)
        for model in re.findall(r'"(.+?)"', models)
    }


def _table(
    package: str, files: tuple[str, ...], read: Callable[[str], dict[str, date]]
) -> dict[str, date]:
    """Return the first table that a file of a package holds, or report its absence."""
    for source in _sources(package, files):
        try:
            if table := read(source):
                return table
        except (ValueError, SyntaxError, TypeError, AttributeError):
            continue  # a shape that is not known here
    if _folder(package):
        internals.report(
            f"{package}'s table of ended models",
            "nothing tells that a model of it ends",
        )
    return {}


def _sources(package: str, files: tuple[str, ...]) -> Iterator[str]:
    """Yield those files of an installed package that are there; nothing is imported."""
    folder = _folder(package)
    for file in files if folder else ():
        try:
            yield Path(folder, file).read_text("utf-8")
        except (OSError, ValueError):
            continue


def _folder(package: str) -> str:
    """Return where a package is installed; "" if it is not."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # something else stands under its name
        return ""
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return folders[0] if folders else ""


def _day(words: str) -> date:
    """Return the day of "November 6th, 2024", whatever the process's locale is."""
    month, day, year = words.split()
    parsed = parsedate(f"{day.rstrip('sthndr,')} {month} {year} 00:00")
    if parsed is None:
        raise ValueError(f"no day: {words}")
    return date(*parsed[:3])
