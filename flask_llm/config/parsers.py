"""Strict parsers of settings.

Each takes what the app's configuration or the environment holds and returns the value,
or raises ValueError with the second half of a sentence that begins with the key.
"""

import json
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
Parser = Callable[[Any], T]

_DAY = 86_400
_LONGEST_SHOWN = 16
_PLAIN = {str, int, float, bool, type(None)}

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_DURATION = r"(\d+(?:\.\d+)?)(ms|s|m|h)"

NONE = "none"
"""What a setting says to switch something off, where blank would mean the default."""

_FLAGS = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_SWITCHES = {True: "on", False: "off"}


def word(value: Any, words: Collection[str] = ()) -> str:
    """Return a setting's word as all parsers read it: stripped, in lower case.

    Args:
        value: What is set.
        words: Those that are known. Of "on" and "off" each other form is taken that
            `flag` knows, such as False.
    """
    plain = str(value).strip().lower()
    if plain not in words and plain in _FLAGS:
        switch = _SWITCHES[_FLAGS[plain]]
        return switch if switch in words else plain
    return plain


def is_off(value: Any) -> bool:
    """Return whether a setting says to switch off what has a value by default."""
    plain = str(value).strip().lower()
    return plain == NONE or (plain != "0" and _FLAGS.get(plain) is False)


def text(value: Any) -> str:
    """Parse a text, or a path as its text."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}")
    return value.strip()


def whole(least: int = 0) -> Parser[int]:
    """Return a parser of whole numbers from `least` up."""

    def parse(value: Any) -> int:
        plain = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"\d+", plain, re.ASCII):
            raise ValueError(f"must be a whole number, not {shown(value)}")
        if int(plain) < least:
            raise ValueError(f"must be {least} or more, not {plain}")
        return int(plain)

    return parse


def seconds(*, above_zero: bool = False) -> Parser[float]:
    """Return a parser of seconds, up to a day."""

    def parse(value: Any) -> float:
        number = _number(value)
        if not 0 <= number <= _DAY or (above_zero and number == 0):
            least = "more than 0" if above_zero else "0"
            raise ValueError(
                f"must be seconds, from {least} to {_DAY}, not {shown(value)}"
            )
        return number

    return parse


def duration(value: Any) -> float:
    """Parse how long something lasts, in seconds; -1 means for ever.

    Takes seconds, and durations as Go writes them, such as "1h30m".
    """
    plain = str(value).strip().lower()
    if plain in {"-1", "-1.0"}:
        return -1.0
    if re.fullmatch(f"(?:{_DURATION})+", plain, re.ASCII):
        parts = re.findall(_DURATION, plain, re.ASCII)
        return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return seconds()(value)
    except ValueError:
        fault = f"must be a duration such as 5m, seconds or -1, not {shown(value)}"
        raise ValueError(fault) from None


def fraction(value: Any) -> float:
    """Parse a part of a whole, from 0 to 1."""
    if not 0 <= (number := _number(value)) <= 1:
        raise ValueError(f"must be a number from 0 to 1, not {shown(value)}")
    return number


def weight(value: Any) -> float:
    """Parse a weight: a number from 0 up."""
    if not 0 <= (number := _number(value)) < math.inf:
        raise ValueError(f"must be a number, 0 or more, not {shown(value)}")
    return number


def share(value: Any) -> float:
    """Parse a part of a whole such as "20%"."""
    plain = str(value).strip()
    found = _number(plain.removesuffix("%")) / 100
    if isinstance(value, bool) or not plain.endswith("%") or not 0 <= found <= 1:
        raise ValueError(f"must be a share such as 20%, not {shown(value)}")
    return found


def _number(value: Any) -> float:
    """Return a value as a number; NaN if it is none."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def one_of(*words: str) -> Parser[str]:
    """Return a parser of a word out of a few."""

    def parse(value: Any) -> str:
        if (found := word(value, words)) not in words:
            allowed = f"{', '.join(words[:-1])} or {words[-1]}"
            raise ValueError(f"must be {allowed}, not {shown(value)}")
        return found

    return parse


def unless_none(parse: Parser[T]) -> Parser[T | None]:
    """Return a parser that also takes "none" or "off", where blank means a default."""

    def parse_or_none(value: Any) -> T | None:
        if is_off(value):
            return None
        try:
            return parse(value)
        except ValueError as fault:
            raise ValueError(f"{fault}; {NONE!r} switches it off") from None

    return parse_or_none


def flag(value: Any) -> bool:
    """Parse true/false, yes/no, on/off or 1/0, in any case."""
    parsed = _FLAGS.get(word(value))
    if parsed is None:
        raise ValueError(f"must be true or false, not {shown(value)}")
    return parsed


def provider(value: Any) -> Any:
    """Parse one provider: a name, "name:model", or an object as it is."""
    if not isinstance(value, str):
        return value
    name, colon, model = (part.strip() for part in value.partition(":"))
    if colon and not model:
        raise ValueError(f"names {shown(value)} without a model behind the colon")
    return f"{name}{colon}{model}"


def one_provider(value: Any) -> Any:
    """Parse the one name that the primary provider is."""
    if isinstance(value, str) and "," in value:
        raise ValueError(
            "names one provider; the others go into LLM_FALLBACK_PROVIDERS"
        )
    return provider(value)


def tags(value: Any) -> frozenset[str]:
    """Parse tags: words separated by commas, or a list of them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable) or isinstance(parts, Mapping | bytes):
        raise ValueError("must be words separated by commas, or a list of them")
    found = [text(each).lower() for each in parts]
    for each in found:
        if each and not re.fullmatch(r"[\w.-]+", each):
            raise ValueError(f"must be words separated by commas, not {shown(each)}")
    return frozenset(filter(None, found))


def providers(value: Any) -> tuple[Any, ...]:
    """Parse the fallbacks: names separated by commas, or a list of them."""
    if isinstance(value, str | bool):
        value = [] if is_off(value) else str(value).split(",")
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ValueError("must be names separated by commas, or a list of them")
    return tuple(each for each in map(provider, value) if each != "")


def mapping(of: str) -> Parser[Mapping[Any, Any]]:
    """Return a parser of a mapping, or of the JSON of one. No fault repeats the value.

    Args:
        of: What of, for the text of a fault: "endpoints by name".
    """

    def parse(value: Any) -> Mapping[Any, Any]:
        if isinstance(value, str):
            value = _from_json(value)
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a dict of {of}, or the JSON of one")
        return value

    return parse


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as fault:
        where = getattr(fault, "pos", 0) + 1
        hint = "; write double quotes" if re.search(r"[{,:]\s*'", text) else ""
        raise ValueError(f"is no valid JSON (at character {where}{hint})") from None


def url(value: Any) -> str:
    """Parse an http(s) address. It may hold a password, so no fault repeats it."""
    if not re.fullmatch(r"https?://[^\s/]+\S*", address := str(value).strip()):
        raise ValueError("must be an address that begins with http:// or https://")
    if "?" in address or "#" in address:
        raise ValueError("must not hold a '?' or a '#': paths are put behind it")
    if not _has_host(address):
        raise ValueError("must be an address whose host and port can be read")
    return address.rstrip("/")


def _has_host(address: str) -> bool:
    """Return whether an address names a host, and no port that there cannot be."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def url_prefix(value: Any) -> str:
    """Parse the path under which the blueprint is registered."""
    if not re.fullmatch(r"(/[\w.~-]+)+", path := str(value).strip()):
        raise ValueError(f"must be a path such as /llm, not {shown(value)}")
    return path


def api_key(value: Any) -> str:
    """Parse a key: stripped, printable ASCII, nothing blank inside.

    An HTTP header cannot carry anything else, and what SDKs make of such a key ranges
    from "Connection error." to printing it. No fault repeats the value.
    """
    if value is False:
        raise ValueError("must be text, or left out if there is none, not False")
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise ValueError("must be text; a key that looks like a number needs quotes")
    key = value.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("holds a space, a line break or a non-ASCII character")
    if key[0] in "\"'" and key[-1] == key[0]:
        raise ValueError("stands in quotes; write it without them")
    return key


def shown(value: Any) -> str:
    """Return a value for an error's text, cut in case a key was put there.

    Of an object only its type: its own text may hold a key.
    """
    if not _is_plain(value):
        return type(value).__name__
    written = repr(value)
    if len(written) <= _LONGEST_SHOWN:
        return written
    return f"{written[:_LONGEST_SHOWN]}…"


def _is_plain(value: Any) -> bool:
    """Return whether a value is plain data, or a container of some."""
    if type(value) is dict:
        return _is_plain([*value, *value.values()])
    held = value if type(value) in {list, tuple, set} else (value,)
    return {type(each) for each in held} <= _PLAIN


def is_folder(path: str | Path) -> bool:
    """Return whether there is such a folder, for this process.

    `Path.is_dir` raises where a folder on the way is closed, or a name is too long.
    """
    return os.path.isdir(path)  # noqa: PTH112  # as said above


def can_be_written(folder: Path) -> bool:
    """Return whether files can be made in a folder, which may still be missing."""
    path = folder.absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    return is_folder(there) and os.access(there, os.W_OK | os.X_OK)


@cache
def installed(module: str) -> bool:
    """Return whether a module could be imported, without importing it."""
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
