"""Filters of prompts and answers: how they are registered, run, and the built-in ones.

Every pattern is bounded or possessive, so that no text takes more than linear time.

A prompt filter gets the `Request` and returns one; an output filter gets the
`LLMResponse` and returns one. Either may raise `Rejected`. A filter that fails, or that
returns something else, lets nothing through. Those that are shipped are off until an
app adds them::

    llm.prompt_filter(max_prompt_chars(20_000))
    llm.prompt_filter(strip_control_characters)
    llm.output_filter(forbid_pattern(r"(?i)as an ai language model"))

    @llm.prompt_filter
    @on_text
    def without_code_names(text):
        return text.replace("Project Osprey", "the project")
"""

import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import Lock
from typing import NamedTuple, TypeVar

from .errors import (
    BadAnswerError,
    InvalidRequestError,
    LLMError,
    ProviderError,
    let_through,
)
from .types import LLMResponse, Request, require

__all__ = [
    "Filters",
    "OutputFilter",
    "PromptFilter",
    "Rejected",
    "TextFilter",
    "forbid_pattern",
    "max_prompt_chars",
    "on_text",
    "redact_personal_data",
    "strip_control_characters",
]

log = logging.getLogger("flask_llm")

S = TypeVar("S", Request, LLMResponse)

PromptFilter = Callable[[Request], Request]
"""Gets a request and returns it, or a changed one; may raise `Rejected`."""

OutputFilter = Callable[[LLMResponse], LLMResponse]
"""Gets an answer and returns it, or a changed one; may raise `Rejected`."""

_Function = TypeVar("_Function", bound=Callable[..., object])
_Prompt = TypeVar("_Prompt", bound=PromptFilter)
_Output = TypeVar("_Output", bound=OutputFilter)


class Rejected(LLMError):  # noqa: N818  # it is a decision, not a fault
    """What a filter raises to refuse a prompt or an answer, with the reason."""


class _Added:
    """The functions that were added in one place.

    Each list is replaced as a whole, so that a call under way goes through its own.
    """

    prompt: tuple[PromptFilter, ...] = ()
    output: tuple[OutputFilter, ...] = ()


class Filters:
    """The filters of an app, in the order in which they were added.

    Args:
        parents: Filters that come before these, such as those of all apps; what is
            added to them later counts too.

    Attributes:
        layers: What was added to the parents, then what was added here.
    """

    def __init__(self, parents: "Iterable[Filters]" = ()) -> None:
        self._added = _Added()
        self._lock = Lock()
        inherited = (each for parent in parents for each in parent.layers)
        self.layers: tuple[_Added, ...] = (*inherited, self._added)

    def prompt_filter(self, function: _Prompt) -> _Prompt:
        """Add a function that looks at every prompt; to be used as a decorator.

        Args:
            function: Gets the `Request` and returns it, or a changed one; may raise
                `Rejected`.

        Returns:
            The function.
        """
        return self._add(function, _PROMPT)

    def output_filter(self, function: _Output) -> _Output:
        """Add a function that looks at every answer; to be used as a decorator.

        Args:
            function: Gets the `LLMResponse` and returns it, or a changed one; may raise
                `Rejected`.

        Returns:
            The function.
        """
        return self._add(function, _OUTPUT)

    def _add(self, function: _Function, side: "_Side") -> _Function:
        _require_filter(function, side)
        with self._lock:
            before = getattr(self._added, side.name)
            setattr(self._added, side.name, (*before, function))
        return function

    @property
    def has_output(self) -> bool:
        """Whether anything looks at the answers."""
        for layer in self.layers:  # noqa: SIM110  # asked in every call
            if layer.output:
                return True
        return False

    def ask(self, request: Request) -> Request:
        """Return a request as the prompt filters leave it.

        Args:
            request: What the caller asks for.

        Raises:
            ProviderError: A filter refused it (`InvalidRequestError`), or failed.
        """
        for layer in self.layers:
            if layer.prompt:
                request = _through(layer.prompt, request, _PROMPT)
        return request

    def check(self, response: LLMResponse) -> LLMResponse:
        """Return an answer as the output filters leave it.

        Args:
            response: A provider's answer.

        Raises:
            BadAnswerError: A filter rejected it, or failed.
        """
        for layer in self.layers:
            response = _through(layer.output, response, _OUTPUT)
        return response


class _Side(NamedTuple):
    """Which way a text goes.

    Attributes:
        name: What the filters of this side are called.
        refused: What a refusal is called.
        error: What a refusal means.
        failure: What it means if a filter fails: the app is to blame, not the prompt.
    """

    name: str
    refused: str
    error: type[ProviderError]
    failure: type[ProviderError]


_PROMPT = _Side("prompt", "prompt refused", InvalidRequestError, ProviderError)
_OUTPUT = _Side("output", "answer rejected", BadAnswerError, BadAnswerError)


def only_for(*sides: str) -> Callable[[_Function], _Function]:
    """Return a decorator for a function that is no filter of the other sides.

    Args:
        sides: "prompt", "output", or nothing for a function that makes a filter.
    """

    def mark(function: _Function) -> _Function:
        function.sides = sides  # type: ignore[attr-defined]  # read below
        return function

    return mark


def _require_filter(function: object, side: _Side) -> None:
    """Raise unless a function may be a filter of a side.

    Raises:
        TypeError: It is none; tells what is.
    """
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(f"a filter must be a function, not {kind}")
    sides = getattr(function, "sides", (side.name,))
    if side.name not in sides:
        name = getattr(function, "__name__", "it")
        advice = f"filters the {sides[0]} only" if sides else "makes a filter: call it"
        raise TypeError(f"{name} {advice}")


def _through(functions: Iterable[Callable[[S], S]], seen: S, side: _Side) -> S:
    for function in functions:
        result = _result(function, seen, side)
        # Raised here, it carries no trace of an exception that may quote the text.
        if isinstance(result, ProviderError):
            raise result
        seen = result
    return seen


def _result(function: Callable[[S], S], seen: S, side: _Side) -> S | ProviderError:
    name = getattr(function, "__name__", type(function).__name__)
    try:
        result = function(seen)
    except Rejected as why:
        return side.error(why, reason=f"{side.refused} by {name}")
    except Exception as error:  # noqa: BLE001  # it is the app's own code
        let_through(error)
        _log_failure(f"The {side.name} filter {name}", error)
    else:
        if isinstance(result, type(seen)):
            return result
        kind = type(result).__name__
        log.error("The %s filter %s returned a %s", side.name, name, kind)
    return side.failure(reason=f"{side.name} filter {name} failed")


def _log_failure(who: str, error: Exception) -> None:
    """Log where a filter failed; the exception's own text may quote the prompt."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed: %s\n%s", who, type(error).__name__, lines)


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


class TextFilter:
    """A filter for prompts and for answers, made by `on_text`.

    Args:
        function: Gets a text and returns what takes its place.
    """

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, seen: S) -> S:
        """Return a copy with each text changed."""
        if isinstance(seen, Request):
            return seen.map_texts(self._changed)
        return replace(seen, content=self._changed(seen.content))

    def _changed(self, text: str) -> str:
        changed = self._function(text)
        if not isinstance(changed, str):
            raise TypeError(f"{self.__name__} must return a str")
        return changed


def on_text(function: Callable[[str], str]) -> TextFilter:
    """Make a filter out of a function from text to text.

    The filter is good for prompts, where it sees the text of the system and of each
    message, and for answers.

    Args:
        function: Gets a text and returns what takes its place; may raise `Rejected`.
    """
    return TextFilter(function)


@only_for()
def max_prompt_chars(limit: int) -> PromptFilter:
    """Make a prompt filter that refuses what is too long.

    Args:
        limit: The most characters that the conversation and the system's text may have
            together.

    Raises:
        TypeError: The limit is no whole number.
        ValueError: It is below 1.
    """
    require("max_prompt_chars: the limit", limit, int)
    if limit < 1:
        raise ValueError("max_prompt_chars: the limit must be 1 or more")

    @only_for("prompt")
    def max_prompt_chars(request: Request) -> Request:
        parts = (part for each in request.messages for part in each.parts)
        texts = [part for part in parts if isinstance(part, str)]
        length = sum(map(len, texts), len(request.system))
        if length > limit:
            raise Rejected(f"{length} characters, at most {limit} are allowed")
        return request

    return max_prompt_chars


@on_text
def strip_control_characters(text: str) -> str:
    """Remove the characters that nobody sees, in which instructions can be hidden.

    Removed are the controls (C0, C1 and DEL) except tab and line ends; zero-width
    spaces, joiners, marks and invisible operators; soft hyphens and fillers; the
    characters that turn the direction of writing; tags; and all but one of a row of
    variation selectors, whatever else hides in it. Kept is what belongs to a visible
    character: joiners within emoji and beside letters of the scripts that need them,
    the tags of a flag, one variation selector.
    """
    return without_hidden(text)


@on_text
def redact_personal_data(text: str) -> str:
    """Replace e-mail addresses, card numbers and phone numbers.

    "[e-mail]", "[card]" and "[phone]" take their places. Cards are numbers of 13 to 19
    digits in the usual groups whose check digit is right; phone numbers are those with
    a "+", in common national forms, or after a word such as "phone". Dates, times,
    prices, versions, pairs of coordinates, valid IBANs, UUIDs and IP addresses are
    left. No pattern knows all personal data: names and addresses are not found.
    """
    return redacted(text)


@only_for()
def forbid_pattern(
    pattern: str | re.Pattern[str], name: str | None = None
) -> TextFilter:
    """Make a filter that rejects a text in which a pattern is found.

    Args:
        pattern: A regular expression.
        name: What the pattern is called in errors; they never quote the text.

    Raises:
        ValueError: It is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"forbid_pattern: {error}") from None

    def forbid_pattern(text: str) -> str:
        if compiled.search(text):
            raise Rejected("a forbidden pattern was found")
        return text

    if name is not None:
        forbid_pattern.__name__ = name
    return on_text(forbid_pattern)
