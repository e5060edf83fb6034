import pytest

from flask_llm.redact import hidden_in, redact


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
        ("https://api.example/tenants/4711?token=abc", ["tenants/4711", "token=abc"]),
    ],
)
def test_what_an_address_may_hide(url, hidden):
    """A password, a long path and a query may be secrets; "v1" is none."""
    assert hidden_in(url) == hidden
