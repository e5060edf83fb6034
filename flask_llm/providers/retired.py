"""When models end, as the SDKs know it.

Their tables are read from the source of the installed packages: importing anthropic for
it would take more than a second.
"""

import ast
import re
from collections.abc import Mapping
from datetime import date
from email.utils import parsedate
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# A table of anthropic, from model to "November 6th, 2024".
_ANTHROPIC = re.compile(r"^DEPRECATED_MODELS = (\{.*?^\})", re.DOTALL | re.MULTILINE)

# An entry in a docstring of openai: `- "gpt-5", "o3": Announced shutdown date: …`, with
# line breaks anywhere.
_OPENAI = re.compile(
    r'((?:"[\w.-]+",\s+)*"[\w.-]+"):\s+Announced\s+shutdown\s+date:\s+'
    r"(\d{4}-\d\d-\d\d)"
)


@cache
def anthropic_ends() -> Mapping[str, date]:
    """Return the last day of each model that anthropic's table names."""
    source = _source("anthropic", "resources/messages/messages.py")
    try:
        table = ast.literal_eval(_ANTHROPIC.findall(source)[0])
        return {model: _day(words) for model, words in table.items()}
    except (LookupError, ValueError, SyntaxError, TypeError, AttributeError):
        return {}


@cache
def openai_ends() -> Mapping[str, date]:
    """Return the last day of each model that openai's table names."""
    source = _source("openai", "types/shared/chat_model.py")
    try:
        return {
            model: date.fromisoformat(day)
            for models, day in _OPENAI.findall(source)
            for model in re.findall(r'"(.+?)"', models)
        }
    except ValueError:
        return {}


def _source(package: str, file: str) -> str:
    """Return a file of an installed package, without importing it; "" if not there."""
    try:
        (folder,) = find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
        return Path(folder, file).read_text("utf-8")
    except (OSError, ImportError, AttributeError, TypeError, ValueError):
        return ""


def _day(words: str) -> date:
    """Return the day of "November 6th, 2024", whatever the process's locale is."""
    month, day, year = words.split()
    parsed = parsedate(f"{day.rstrip('sthndr,')} {month} {year} 00:00")
    return date(*parsed[:3])  # type: ignore[index]
