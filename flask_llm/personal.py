"""Personal data in a text: e-mail addresses, card numbers, phone numbers.

Every pattern is bounded or possessive, so that no text takes more than linear time.
"""

import re
from collections.abc import Iterator

_SPACE = " \u00a0\u2007\u2009\u202f"
_DASH = r"\-\u2010-\u2013"
_GAP = _SPACE + _DASH

_EMAIL = re.compile(
    r"""(?<![\w.%+-])[\w.%+-]++@   # a run of such characters is tried only once
        (?:[\w-]++\.)+(?:xn--[a-z0-9-]+|[^\W\d_]{2,})   # vue@3.4.21 is none""",
    re.VERBOSE,
)

# What looks like a number of a person, and is none: it is left as it is.
_KEPT = re.compile(
    rf"""(?<!\w)(?<!\d[./{_DASH}])(?:
        [0-9]{{4}}[{_DASH}][0-9]{{2}}[{_DASH}][0-9]{{2}}   # 2026-11-23
          (?:[T{_SPACE}][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]{{1,9}})?)?
             (?:Z|[{_SPACE}]?[+-][0-9]{{2}}:?[0-9]{{2}})?)?(?![./{_DASH}]?\w)
      | [0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}(?![./{_DASH}]?\w)
      | [0-9]{{8}}T[0-9]{{6}}Z?(?!\w)
      | [0-9]{{1,2}}[./{_DASH}][0-9]{{1,2}}[./{_DASH}][0-9]{{2,4}}(?![./{_DASH}]?[0-9])
      | [0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}(?!\.?[0-9])   # 192.0.2.1
      | [+-]?[0-9]{{1,3}}\.[0-9]{{4,15}},[{_SPACE}]?[+-]?[0-9]{{1,3}}\.[0-9]{{4,15}}
          (?!\.?\w)   # a place on Earth
      | [0-9A-Fa-f]{{8}}-(?:[0-9A-Fa-f]{{4}}-){{3}}[0-9A-Fa-f]{{12}}(?!\w)   # a UUID
      | (?P<iban>[A-Z]{{2}}[0-9]{{2}}(?:[{_SPACE}]?[A-Z0-9]{{4}}){{2,7}}
          (?:[{_SPACE}]?[A-Z0-9]{{1,3}})?)(?!\w)
    )""",
    re.VERBOSE,
)
_SHORTEST_IBAN = 15

_FIRST = r"(?<![\w.,])(?=[2-68])"
# The ways in which cards are written; the first digit tells that it is one.
_CARDS = tuple(
    re.compile(_FIRST + f"[{_GAP}]?".join(f"[0-9]{{{n}}}" for n in groups) + r"(?!\w)")
    for groups in (
        ("4", "4", "4", "4"),
        ("4", "6", "4,5"),
        ("4", "4", "4", "4", "1,3"),
        ("4", "4", "5"),
        ("13,19",),
    )
)

_APART = rf"(?<!\w)(?<!\w[./{_DASH}])(?<!\d[,:])(?<![+$€£])"
_END = rf"(?!\w|[.,:/{_DASH}][0-9])"
_PHONES = (
    # +49 (0)30 123456, +1-202-555-0143, 0049 30 123456; all after +1 have ten digits
    re.compile(
        rf"(?<![\w+])(?:\+|(?:00(?=[1-9][0-9]{{0,2}}[./{_GAP}])))"
        rf"(?:1(?:[.()/{_GAP}]{{0,3}}[0-9]){{10,14}}"
        rf"|[2-9](?:[.()/{_GAP}]{{0,3}}[0-9]){{7,14}}){_END}"
    ),
    # (202) 555-0143, 1-800-555-0199
    re.compile(
        rf"{_APART}(?:1[.{_GAP}])?(?:\([1-9][0-9]{{2}}\)[.{_GAP}]?"
        rf"|[1-9][0-9]{{2}}[.{_GAP}])[0-9]{{3}}[.{_GAP}][0-9]{{4}}{_END}"
    ),
    # 030/1234567, (030) 123456, 020 7946 0958, 06 12 34 56 78
    re.compile(
        rf"{_APART}\(?(?=0[0-9]{{1,4}}\)?[./{_GAP}])0[1-9]"
        rf"(?:[.)/{_GAP}]{{0,3}}[0-9]){{7,10}}{_END}"
    ),
    # mobile numbers of Germany and the United Kingdom in one piece
    re.compile(rf"{_APART}0(?:1[5-7][0-9]{{8,9}}|7[0-9]{{9}}){_END}"),
)
# After such a word any number is one but a date or a card; the words of the second row
# mean other things too, so that there the number or what is between has to tell.
_CALLED = re.compile(
    rf"""(?<!\w)((?i:
          (?:(?:tele)?phone|telefon|tel|fon|fax|whatsapp)
            (?:[{_SPACE}](?:no|nr|number|is))?[.:]{{0,2}}
        | (?:mobile?|handy|cell|call)
            (?:[{_SPACE}](?:no|nr|number|is)[.:]{{0,2}} | [.:]{{1,2}}
              | (?=[{_SPACE}]{{0,3}}\(?(?:\+|0[0-9])))
        )[{_SPACE}]{{0,3}})
        (?!(?:19|20)[0-9]{{2}}[./{_DASH}][0-9]{{2}}[./{_DASH}][0-9]{{2}}(?![0-9])
          |[0-3]?[0-9][./{_DASH}][0-3]?[0-9][./{_DASH}](?:19|20)[0-9]{{2}}(?![0-9])
          |(?:[0-9]{{4}}[{_GAP}]){{3}}[0-9])
        \+?\(?[0-9](?:[./(){_GAP}]{{0,3}}[0-9]){{6,14}}{_END}""",
    re.VERBOSE,
)

# Digits as bytes: as they are, and doubled with the digits added up.
_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_TWICE = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
_SPACES = re.compile(f"[{_SPACE}]")
_NO_DIGIT = re.compile("[^0-9]")


def redacted(text: str) -> str:
    """Return a text without personal data.

    Args:
        text: Any text, of any length.

    Returns:
        The text with "[e-mail]", "[card]" and "[phone]" in their places.
    """
    text = _CALLED.sub(r"\1[phone]", _EMAIL.sub("[e-mail]", text))
    left: list[str] = []
    done = 0
    for start, end in _kept(text):
        left += (_without_numbers(text[done:start]), text[start:end])
        done = end
    return "".join([*left, _without_numbers(text[done:])])


def _kept(text: str) -> Iterator[tuple[int, int]]:
    """Yield where that begins and ends which is left as it is."""
    at = 0
    while found := _KEPT.search(text, at):
        start, at = found.span()
        if found["iban"] and (length := _iban_length(found[0])):
            at = start + length
        elif found["iban"]:
            continue
        yield start, at


def _iban_length(text: str) -> int:
    """Return how much of a text is an IBAN, since words may follow it."""
    ends = [len(text), *(gap.start() for gap in _SPACES.finditer(text))]
    return max((end for end in ends if _is_iban(text[:end])), default=0)


def _is_iban(text: str) -> bool:
    """Tell whether the check digits are right (ISO 7064)."""
    number = _SPACES.sub("", text)
    if len(number) < _SHORTEST_IBAN:
        return False
    digits = "".join(str(int(each, 36)) for each in number[4:] + number[:4])
    return int(digits) % 97 == 1


def _without_numbers(text: str) -> str:
    for card in _CARDS:
        text = _without_cards(text, card)
    for phone in _PHONES:
        text = phone.sub("[phone]", text)
    return text


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
