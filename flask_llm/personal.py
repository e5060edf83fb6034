"""Personal data in a text: e-mail addresses, card numbers, phone numbers.

Every pattern is bounded or possessive, so that no text takes more than linear time.
"""

import re

_EMAIL = re.compile(
    r"""(?<![\w.%+-])[\w.%+-]++@   # a run of such characters is tried only once
        [\w-]++(?:\.[\w-]++)+""",
    re.VERBOSE,
)

# What looks like a number of a person, and is none: it is left as it is.
_KEPT = re.compile(
    r"""(?<!\w)(?<!\d[./-])(
        [0-9]{4}-[0-9]{2}-[0-9]{2}     # 2026-11-23, with 05:54:15.123+01:00
          (?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?
             (?:Z|[ ]?[+-][0-9]{2}:?[0-9]{2})?)?(?![-./]?\w)
      | [0-9]{4}/[0-9]{2}/[0-9]{2}(?![-./]?\w)
      | [0-9]{8}T[0-9]{6}Z?(?!\w)
      | [0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}(?![./-]?[0-9])
      | [0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?[0-9])                       # 192.0.2.1
      | [0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?!\w)      # a UUID
      | [A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?!\w)  # IBAN
    )""",
    re.VERBOSE,
)

_GAP = r"[ \-\u00a0\u202f\u2010-\u2013]?"
_FIRST = r"(?<![\w.,])(?=[2-68])"
# The ways in which cards are written; the first digit tells that it is one.
_CARDS = tuple(
    re.compile(_FIRST + _GAP.join(f"[0-9]{{{n}}}" for n in groups) + r"(?!\w)")
    for groups in (
        ("4", "4", "4", "4"),
        ("4", "6", "4,5"),
        ("4", "4", "4", "4", "1,3"),
        ("4", "4", "5"),
        ("13,19",),
    )
)

_APART = r"(?<!\w)(?<!\w[./-])(?<!\d[,:])(?<![+$€£])"
_END = r"(?!\w|[.,:/-][0-9])"
_PHONES = (
    # +49 (0)30 123456, +1-202-555-0143; 0049 30 123456
    re.compile(
        rf"(?<![\w+])(?:\+|(?:00(?=[1-9][0-9]{{0,2}}[ ./-])))[1-9]"
        rf"(?:[ .()/-]{{0,3}}[0-9]){{7,14}}{_END}"
    ),
    # (202) 555-0143, 1-800-555-0199
    re.compile(
        rf"{_APART}(?:1[ .-])?(?:\([1-9][0-9]{{2}}\)[ .-]?|[1-9][0-9]{{2}}[ .-])"
        rf"[0-9]{{3}}[ .-][0-9]{{4}}{_END}"
    ),
    # 030/1234567, (030) 123456, 020 7946 0958, 06 12 34 56 78
    re.compile(
        rf"{_APART}\(?(?=0[0-9]{{1,4}}\)?[ ./-])0[1-9]"
        rf"(?:[ ./)-]{{0,3}}[0-9]){{7,10}}{_END}"
    ),
    # mobile numbers of Germany and the United Kingdom in one piece
    re.compile(rf"{_APART}0(?:1[5-7][0-9]{{8,9}}|7[0-9]{{9}}){_END}"),
)
# After such a word any number is one.
_CALLED = re.compile(
    r"""(?<!\w)((?i:(?:tele)?phone|telefon|tel|fon|fax|mobile?|handy|cell|call|whatsapp)
        (?:[ ](?:no|nr|number|is))?[.:]{0,2}[ ]{0,3})
        \(?[0-9](?:[ ./()-]{0,2}[0-9]){6,14}(?![\w]|[.,:/-][0-9])""",
    re.VERBOSE,
)

# Digits as bytes: as they are, and doubled with the digits added up.
_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_TWICE = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
_NO_DIGIT = re.compile("[^0-9]")


def redacted(text: str) -> str:
    """Return a text without personal data.

    Args:
        text: Any text, of any length.

    Returns:
        The text with "[e-mail]", "[card]" and "[phone]" in their places.
    """
    parts = _KEPT.split(_EMAIL.sub("[e-mail]", text))
    parts[::2] = [_without_numbers(part) for part in parts[::2]]
    return "".join(parts)


def _without_numbers(text: str) -> str:
    for card in _CARDS:
        text = _without_cards(text, card)
    for phone in _PHONES:
        text = phone.sub("[phone]", text)
    return _CALLED.sub(r"\1[phone]", text)


def _without_cards(text: str, card: re.Pattern[str]) -> str:
    kept: list[str] = []
    done = at = 0
    while found := card.search(text, at):
        at = found.start() + 1  # a card may begin inside what is none
        if _is_valid(found[0]):
            kept += (text[done : found.start()], "[card]")
            done = at = found.end()
    return "".join([*kept, text[done:]])


def _is_valid(number: str) -> bool:
    """Tell whether the check digit is right (Luhn)."""
    digits = _NO_DIGIT.sub("", number).encode()
    total = sum(digits[-1::-2].translate(_ONCE)) + sum(digits[-2::-2].translate(_TWICE))
    return total % 10 == 0
