import pytest

from flask_llm.errors import hidden_in, redact


def test_every_key_is_replaced():
    """No occurrence of a known key is left."""
    text = redact("key sk-12345678, again sk-12345678", ["sk-12345678"])

    assert text == "key [redacted], again [redacted]"


def test_a_key_that_begins_with_another_leaves_no_rest():
    """The longer key goes first."""
    assert redact("abcdef123", ["abcdef", "abcdef123"]) == "[redacted]"


def test_stand_ins_of_tests_do_not_garble_the_text():
    """Very short keys are no keys."""
    assert redact("a bad day", ["a", ""]) == "a bad day"


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        (None, []),
        ("https://api.example/v1", []),
        ("https://user:hunter22@proxy.example", ["hunter22"]),
        ("https://api.example/v1/chat/completions", []),
        ("https://api.example/a1b2c3d4e5f6a7b8/v1", ["a1b2c3d4e5f6a7b8"]),
        ("https://api.example/v1?token=abc", ["token=abc"]),
    ],
)
def test_what_an_address_may_hide(url, hidden):
    """A password, a token in the path and a query may be secrets; words are none."""
    assert hidden_in(url) == hidden
