"""Characters that nobody sees, and which of them a text needs."""

import re

_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u200b-\u200f"  # soft hyphen, zero width, marks
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"  # direction, operators, BOM
    "\u115f\u1160\u3164\uffa0\u17b4\u17b5"  # fillers, vowels without a sound
    "\u180b-\u180f\ufe00-\ufe0f"  # selectors
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # shorthand, music
    "\U000e0000-\U000e0fff"  # tags, selectors
)
_EMOJI = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_MONGOLIAN = "\u1800-\u180a\u1810-\u18af"
# Scripts whose letters take other shapes beside a joiner: the relatives of Arabic and
# Devanagari, with Mongolian, Khmer and Adlam.
_SHAPED = (
    "\u0600-\u061b\u061d-\u0dff\u1000-\u109f\u1700-\u17b3\u17b6-\u17ff"
    f"{_MONGOLIAN}\u1900-\u1cff\ua800-\ua95f\ua980-\uaaff\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
# What belongs to a visible character. Each looks only at characters that stay, so that
# nothing which is removed can hold apart what would else be a row.
_NEEDED = "|".join(
    (
        f"(?:(?<=[{_EMOJI}])|(?<=[{_EMOJI}]\ufe0f))\u200d(?=[{_EMOJI}])",
        f"(?<=[{_SHAPED}])[\u200c\u200d]",
        f"(?<=[^\\s{_HIDDEN}])\u200c(?=[{_SHAPED}])",
        f"(?<=[^\\s{_HIDDEN}])[{_SELECTORS}]",
        f"(?<=[{_MONGOLIAN}])[\u180b-\u180f]",
        # The flags of England, Scotland and Wales.
        "(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f",
    )
)
_EITHER = re.compile(f"({_NEEDED})|[{_HIDDEN}]")


def without_hidden(text: str) -> str:
    """Return a text without the characters in which instructions can be hidden.

    Args:
        text: Any text.
    """
    return _EITHER.sub(lambda found: found[1] or "", text)
