"""Characters that nobody sees, and which of them a text needs."""

import re

# What belongs to a visible character. Joiners: emoji, and scripts such as Devanagari
# and Persian. Tags: the flags of England, Scotland and Wales. One variation selector.
_JOINED = (
    "[\u00a9\u00ae\u0600-\u180d\u1810-\u1fff\u2190-\u2bff\u3030\u303d\u3297\u3299"
    "\ufe0f\U0001f000-\U0001faff]"
)
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NEEDED = (
    f"(?<={_JOINED})[\u200c\u200d](?={_JOINED})"
    "|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
    f"|(?<=[^\\s\u200b-\u200f{_SELECTORS}])[{_SELECTORS}]"
)
_HIDDEN = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u180e\u200b-\u200f"  # soft hyphen, zero width, marks
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, operators, BOM
    f"{_SELECTORS}\U000e0000-\U000e007f]"  # selectors, tags
)
_EITHER = re.compile(f"({_NEEDED})|{_HIDDEN}")


def without_hidden(text: str) -> str:
    """Return a text without the characters in which instructions can be hidden.

    Args:
        text: Any text.
    """
    return _EITHER.sub(lambda found: found[1] or "", text)
