from flask_llm.redact import redact


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
