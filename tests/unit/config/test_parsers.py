from pathlib import Path

import pytest

from flask_llm.config import parsers


@pytest.mark.parametrize("key", ["sk-1", " sk-1\n"])
def test_keys_are_stripped(key):
    """Secret files end with a line break."""
    assert parsers.api_key(key) == "sk-1"


@pytest.mark.parametrize("key", ["sk 1", "sk-ключ", "sk-\x00", "sk\n1", 12345])
def test_a_malformed_key_is_a_fault_that_does_not_repeat_it(key):
    """No SDK gets to see such a key, and no error shows it."""
    with pytest.raises(ValueError, match=r"holds a space|needs quotes") as caught:
        parsers.api_key(key)
    assert str(key) not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://me:pw@x", "api.x.com", "http://", "http://me:pw@a b", 7]
)
def test_a_base_url_is_http(url):
    """Anything else is a fault, which does not repeat a password in it."""
    with pytest.raises(ValueError, match="must be an address that begins") as caught:
        parsers.url(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://x/v1?key=s3cret", r"must not hold a '\?' or a '#'"),
        ("https://x/v1#s3cret", r"must not hold a '\?' or a '#'"),
        ("http://me:s3cret@[::1", "whose host and port can be read"),
        ("http://me:s3cret@:80", "whose host and port can be read"),
        ("http://me:s3cret@x:port", "whose host and port can be read"),
        ("http://me:s3cret@x:70000", "whose host and port can be read"),
    ],
)
def test_a_base_url_can_be_read_and_extended(url, fault):
    """Else an SDK would fail at the first call, with the address in its words."""
    with pytest.raises(ValueError, match=fault) as caught:
        parsers.url(url)
    assert "s3cret" not in str(caught.value)


def test_a_base_url_loses_its_last_slash():
    """SDKs put their own path behind it."""
    assert parsers.url("https://proxy.example/v1/") == "https://proxy.example/v1"


def test_values_are_stripped():
    """A space behind a value in a .env file changes nothing."""
    assert parsers.url(" http://x ") == "http://x"
    assert parsers.url_prefix(" /llm ") == "/llm"
    assert parsers.text(" m ") == "m"
    assert parsers.whole()(" 7 ") == 7
    assert parsers.seconds()(" 7 ") == 7.0
    assert parsers.flag(" Yes ") is True


def test_a_path_is_a_text():
    """LLM_LOCAL_MODEL may be a `pathlib.Path` in a configuration file."""
    assert parsers.text(Path("models") / "x.gguf") == str(Path("models/x.gguf"))


def test_a_number_is_no_text():
    """`from_prefixed_env` turns what looks like a number into one."""
    with pytest.raises(ValueError, match="must be text, not int"):
        parsers.text(7)


class Revealing:
    """An object that tells a key when it is printed."""

    def __repr__(self):
        return "sk-12345678"


class Word(str):
    """A text that does."""

    __slots__ = ()
    __repr__ = Revealing.__repr__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("maybe", "'maybe'"),
        (None, "None"),
        (["a", 1], "['a', 1]"),
        ({"a": True}, "{'a': True}"),
        ("x" * 50, f"'{'x' * 15}…"),
        (Revealing(), "Revealing"),
        (Word("x"), "Word"),
        ([Revealing()], "list"),
        ({"a": Revealing()}, "dict"),
        (b"sk-1", "bytes"),
    ],
)
def test_a_fault_repeats_plain_values_only(value, shown):
    """Of an object it tells the type: what it says of itself may be a key."""
    assert parsers.shown(value) == shown
