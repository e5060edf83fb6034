"""What an error body says, whatever its shape is."""

import json

import pytest

from flask_llm.providers.error_bodies import codes_of, words_of

INNER = {"error": {"message": "Too long", "code": "x", "type": "y"}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "Bad"}, "Bad"),
        ({"error": "Bad"}, "Bad"),
        ({"error": {"message": "Bad"}}, "Bad"),
        ([{"error": {"message": "Bad"}}], "Bad"),
        ({"errors": [{"message": "Bad"}, {"message": "Worse"}]}, "Bad; Worse"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "Bad", "input": "P"}]},
            "body.n: Bad",
        ),
        ({"detail": "Bad"}, "Bad"),
        ("Bad", "Bad"),
        ({"message": json.dumps(INNER)}, "Too long"),
        (
            {
                "message": "Provider returned error",
                "metadata": {"raw": json.dumps(INNER)},
            },
            "Provider returned error: Too long",
        ),
        ("<b>Bad</b> request", "<b>Bad</b> request"),
        ("<!DOCTYPE html><title>403</title>", ""),
        ({"message": ' <?xml version="1.0"?><html>'}, ""),
        ({"message": 5}, ""),
        ({"error": None}, ""),
        (None, ""),
        ("{broken", "{broken"),
    ],
)
def test_words(body, words):
    """Whatever holds words is read; a web page holds none."""
    assert words_of(body) == words


def test_codes():
    """The outer ones first; what is no text is none."""
    body = [{"code": 400, "type": "outer", "error": {"code": "inner", "status": "S"}}]
    assert list(codes_of(body)) == ["outer", "inner", "S"]


def test_depth_and_size_are_bounded():
    """A body that is nested without end is not followed there."""
    body = "deep"
    for _ in range(5000):
        body = [body]
    assert words_of(body) == ""
    assert words_of("[" * 15_000) == "[" * 15_000
    assert words_of([{"message": "m"}] * 1000).count("m") == 8
