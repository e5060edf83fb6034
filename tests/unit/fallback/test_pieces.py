"""What is done to the texts of a stream on their way."""

import pytest
from generated import STEADY
from hypothesis import example, given
from hypothesis import strategies as st

from flask_llm.errors import BadAnswerError, encodable
from flask_llm.providers.answers import (
    cut_at,
    spoken,
    texts,
    until,
    visible,
    whole_characters,
    without_thoughts,
)

letters = st.text("ab \n", max_size=12)
stops = st.lists(st.text("ab \n", min_size=1, max_size=4), min_size=1, max_size=3)


class Source:
    """A generator of texts that notes whether it was closed early."""

    def __init__(self, pieces):
        self.closed = False
        self.drawn = 0
        self.run = self._run(pieces)

    def _run(self, pieces):
        try:
            for each in pieces:
                self.drawn += 1
                yield each
        except GeneratorExit:
            self.closed = True
            raise
        return "the end"


def drained(generator):
    """Return what a generator yields, and what it returns."""
    found = []
    while True:
        try:
            found.append(next(generator))
        except StopIteration as end:
            return found, end.value


@example(["aba", "b"], ["abab", "ba"])  # one within another that is under way
@example(["aba", "a"], ["abab", "ba"])
@STEADY
@given(st.lists(letters, max_size=6), stops)
def test_until_is_cut_at_of_the_whole(pieces, stops):
    """However a text is split, it ends where the whole of it would."""
    found, _ = drained(until(Source(pieces).run, stops))

    assert "".join(found) == cut_at("".join(pieces), stops)
    assert all(found)


@STEADY
@given(st.lists(letters, max_size=6), stops)
def test_until_tells_whether_it_left_early(pieces, stops):
    """What the source returns is known only if it was read to its end."""
    _, result = drained(until(Source(pieces).run, stops))
    whole = "".join(pieces)

    if cut_at(whole, stops) == whole:
        assert result == "the end"
    else:
        assert result is None


def test_until_closes_what_it_leaves():
    """A provider that goes on behind a stop text is told to end."""
    source = Source(["one STO", "P two", " three"])

    assert drained(until(source.run, ["STOP"])) == (["one "], None)
    assert (source.closed, source.drawn) == (True, 2)


def test_until_holds_back_no_more_than_it_must():
    """A text that begins no stop text goes on at once."""
    held = until(Source(["one S", "un", " two"]).run, ["STOP"])

    assert [next(held), next(held), next(held)] == ["one ", "Sun", " two"]


@STEADY
@given(st.lists(letters, max_size=6))
def test_visible_loses_nothing_that_can_be_seen(pieces):
    """What is held back comes with the first letter, or never if there is none."""
    found, result = drained(visible(Source(pieces).run))
    whole = "".join(pieces)

    assert "".join(found) == (whole if whole.strip() else "")
    assert not found or found[0].strip()
    assert result == "the end"


def test_visible_passes_on_without_delay():
    """After the first visible text each one comes as it is."""
    source = Source(["\n", " ", "a", "\n", "b"])
    seen = visible(source.run)

    assert next(seen) == "\n a"
    assert source.drawn == 3
    assert drained(seen) == (["\n", "b"], "the end")


halves = st.text(st.sampled_from("aé📏\ud83d\ude00\ude4c"), min_size=1, max_size=4)


@STEADY
@given(st.lists(halves, max_size=6))
def test_halves_of_characters_become_whole(pieces):
    """However it is cut, all of a text can be encoded, and is what the whole is."""
    found, result = drained(whole_characters(Source(pieces).run))

    assert "".join(found) == encodable("".join(pieces))
    "".join(found).encode()
    assert result == "the end"
    assert all(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 📏", "Größe 📏"),
        ("\ud83d\ude00!", "😀!"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00\ud83db", "\ufffd\ufffdb"),
        ("\ufeffa\ud83d", "\ufeffa\ufffd"),
    ],
)
def test_a_text_can_be_encoded(text, shown):
    """Two halves are a character, and one alone is the sign for what is none."""
    assert encodable(text) == shown


def test_only_a_first_half_is_held_back():
    """All else goes on at once."""
    source = Source(["Größe 📏", "a\ud83d", "\ude00b"])
    found = whole_characters(source.run)

    assert (next(found), source.drawn) == ("Größe 📏", 1)
    assert (next(found), source.drawn) == ("a", 2)
    assert drained(found) == (["😀b"], "the end")


@pytest.mark.parametrize(
    "wrap", [texts, whole_characters, visible, lambda it: until(it, ["x"])]
)
def test_closing_reaches_the_source(wrap):
    """The provider's stream ends with its reader's."""
    source = Source(["a", "b"])
    wrapped = wrap(source.run)
    next(wrapped)
    wrapped.close()

    assert source.closed


@pytest.mark.parametrize("odd", [None, b"a", 1])
def test_what_is_no_text_is_a_bad_answer(odd):
    """Also behind the first text, where an end must not be seen in a None."""
    found = texts(iter(["a", odd, "b"]))

    assert next(found) == "a"
    with pytest.raises(BadAnswerError, match=f"streamed {type(odd).__name__}, no text"):
        next(found)


def test_any_iterable_is_a_stream():
    """A list, or an SDK's own object, which is closed too; empty texts are left out."""

    class Sdk:
        closed = False

        def __iter__(self):
            return self

        def __next__(self):
            return "a"

        def close(self):
            self.closed = True

    sdk = Sdk()
    found = texts(sdk)
    next(found)
    found.close()

    assert sdk.closed
    assert drained(texts(["a", "", "b"])) == (["a", "b"], None)


THOUGHT = "<think>They want {a}. <b>No</b></think>\n\n"


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (THOUGHT + "Lisbon </think>", "Lisbon </think>"),
        (" \n" + THOUGHT + "Lisbon", "Lisbon"),
        ("<thin> air", "<thin> air"),
        ("Lisbon " + THOUGHT, "Lisbon " + THOUGHT),
        ("<think>never closed", "<think>never closed"),
        (THOUGHT, ""),
        ("", ""),
    ],
)
def test_thinking_in_tags_is_no_answer(text, answer, size):
    """Of servers that leave it in front of the text; whole, and in any pieces."""
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    assert "".join(spoken(pieces)) == without_thoughts(text) == answer


def test_what_is_no_thinking_is_handed_on_at_once():
    """No reader waits for more of it."""
    pieces = iter(["Lis", "bon"])
    assert next(spoken(each for each in pieces)) == "Lis"
    assert next(pieces) == "bon"
