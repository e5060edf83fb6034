"""Private parts of other packages that a provider cannot do without.

No public name reaches them, so any release may move them. What each is for is then off:
the log says so once, and `flask llm doctor` shows it. A call fails only where it is all
that can be read, as of Cohere's streams.
"""

import logging
from typing import Any

log = logging.getLogger("flask_llm")

UNCUT = "a stream that is cut ends at its next byte only"
"""What it means that there is no way to the sockets of a client."""

_missing: dict[str, str] = {}  # what is gone, and what that means; of this process


def get(owner: Any, name: str, otherwise: str) -> Any:
    """Return a private attribute; None, and a warning, where there is none.

    Args:
        owner: An object of another package.
        name: The attribute.
        otherwise: What it means that it is gone, for whoever reads the log.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        report(f"{_class_of(owner)}.{name}", otherwise)
        return None


def replace(owner: Any, name: str, value: Any, otherwise: str) -> None:
    """Set a private attribute; where there is none, warn and leave the object alone.

    Args:
        owner: An object of another package.
        name: The attribute.
        value: What it shall be.
        otherwise: What it means that it is gone, for whoever reads the log.
    """
    if hasattr(owner, name):
        setattr(owner, name, value)
    else:
        report(f"{_class_of(owner)}.{name}", otherwise)


def report(part: str, otherwise: str) -> None:
    """Say, once in a process, that an installed package has no such part.

    Args:
        part: Its full name, such as "anthropic.Anthropic._custom_headers".
        otherwise: What that means.
    """
    if part not in _missing:
        _missing[part] = otherwise
        log.warning("%s is gone from the installed package: %s", part, otherwise)


def missing() -> dict[str, str]:
    """Return the parts that were looked for in vain, each with what that means."""
    return dict(_missing)


def _class_of(owner: Any) -> str:
    return f"{type(owner).__module__}.{type(owner).__qualname__}"
