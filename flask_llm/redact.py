"""Takes keys out of text."""

from collections.abc import Iterable

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
