"""The settings in force, as they may be shown: no key, no password, no credentials."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import encodable
from .redact import hidden_in, redact

_SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASS(WORD|WD|PHRASE)?S?(_|$)|PWD|CREDENTIAL|AUTH|HEADER|COOKIE"
    r"|SIGNATURE"
)
_NUMBER_NAME = re.compile(r"(TOKENS|TIMEOUT)$")
# A text that may be an address with a password in it; "name:model@date" is none.
_ADDRESS = re.compile(r"//|:.*[:/].*@", re.DOTALL)
_FLAGS = {True: "on", False: "off"}

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force.

    Attributes:
        key: Its name.
        value: Its parsed value; never shown as it is.
        source: Where it comes from: "app.config", "environment", "default", a preset,
            an argument's name, or a place in LLM_PROVIDERS.
    """

    key: str
    value: Any = field(repr=False)
    source: str

    @property
    def is_secret(self) -> bool:
        """Whether it may only be told whether it is set.

        Of a plug-in's settings only the names tell; a number of tokens is no secret.
        """
        if _NUMBER_NAME.search(self.key) and isinstance(self.value, float | int | None):
            return False
        return bool(_SECRET_NAME.search(self.key))

    def shown(self, secrets: Collection[str]) -> dict[str, Any]:
        """Return what a page may tell of it.

        Args:
            secrets: Keys that are in no text.
        """
        return {
            "key": self.key,
            "value": redact(encodable(self._value()), secrets),
            "source": self.source,
            "secret": self.is_secret,
        }

    def _value(self) -> str:
        if self.value is None and self.source != DEFAULT:
            return "none"
        if self.value is None or self.value == "":
            return "not set"
        return "set" if self.is_secret else _text(self.value)


def shown_address(url: str) -> str:
    """Return an address without its user, password, query and whatever looks secret.

    Of one that cannot be read, or that others may read otherwise, only that it is set.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "set"
    if url.count("@") > parts.netloc.count("@"):
        return "set"  # a password with a slash ends what is taken for the host
    user = "…@" if "@" in parts.netloc else ""
    query = "?…" if parts.query or parts.fragment else ""
    path = redact(parts.path, hidden_in(url))
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{path}{query}"


def _text(value: Any) -> str:
    """Return a value as text; of an object only what it is, since its text may tell."""
    if isinstance(value, bool):
        return _FLAGS[value]
    if isinstance(value, int | float):
        return format(value, ".12g")
    if isinstance(value, str):
        return shown_address(value) if _ADDRESS.search(value) else value
    if isinstance(value, Mapping | list | tuple):
        return ", ".join(map(_text, value)) or "none"
    # A provider object in the chain.
    named = getattr(value, "get_provider_name", lambda: type(value).__name__)
    return str(named())
