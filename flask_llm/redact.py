"""Takes keys out of text."""

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

MARK = "[redacted]"

# A shorter "key" is a test's stand-in: replacing every "k" would only garble the text.
_SHORTEST = 6


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every one of `secrets` replaced by "[redacted]".

    Args:
        text: Anything that may reach a log, a response or a page.
        secrets: Keys known to the app; those under six characters are left alone.
    """
    # Longest first: one key may begin with another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MARK)
    return text


def hidden_in(url: str | None) -> list[str]:
    """Return what may be secret in an address: a user, a password, a path, a query."""
    parts = urlsplit(url or "")
    hidden = [parts.username, parts.password, parts.query]
    hidden += [unquote(parts.username or ""), unquote(parts.password or "")]
    # A part of a path is one if it looks like a token; "completions" is none.
    hidden += re.findall(r"[^/]{16,}", parts.path)
    return sorted({each for each in hidden if each and len(each) >= _SHORTEST})
