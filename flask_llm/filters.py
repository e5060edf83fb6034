"""Filters: an app's own look at every prompt and every answer.

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

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from .characters import without_hidden
from .filtering import Filters, OutputFilter, PromptFilter, Rejected, only_for
from .personal import redacted
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

S = TypeVar("S", Request, LLMResponse)


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
