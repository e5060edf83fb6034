"""Server-sent events by their standard, in the one form that every SDK reads."""

import pytest

from flask_llm.providers.transport import plain_events

ANSWER = b'data: {"a": 1}\n\nevent: stop\ndata: {"b": 2}\n\n'

WAYS = {
    "as it is": ANSWER,
    "lines that end in CRLF": ANSWER.replace(b"\n", b"\r\n"),
    "lines that end in CR": ANSWER.replace(b"\n", b"\r"),
    "no space behind the colon": ANSWER.replace(b": {", b":{"),
    "numbers": ANSWER.replace(b"data: {", b"id: 7\ndata: {"),
    "comments between events": ANSWER.replace(b"\n\n", b"\n\n: ping\n\n"),
    "comments within events": ANSWER.replace(b"data", b": ping\nretry: 5\ndata"),
    "the name of those without one": b"event: message\n" + ANSWER,
    "no blank line at the end": ANSWER[:-1],
    "an empty event": b"data\n\ndata:\n\n" + ANSWER,
}


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("way", WAYS)
def test_ways(way, size):
    """In whatever pieces they come, the events are the same."""
    text = WAYS[way]
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    found = b"".join(plain_events(pieces)).split(b"\n\n")

    events = [b'data: {"a": 1}', b'event: stop\ndata: {"b": 2}', b""]
    order = [sorted(each.split(b"\n"), reverse=True) for each in found]
    assert order == [sorted(each.split(b"\n"), reverse=True) for each in events]


def test_data_in_several_lines():
    """They are lines of one event."""
    assert b"".join(plain_events([b"data: {\ndata: }\n\n"])) == b"data: {\ndata: }\n\n"


def test_what_is_plain_is_handed_on_at_once():
    """Piece by piece, without a copy."""
    pieces = [b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"]
    assert all(a is b for a, b in zip(plain_events(pieces), pieces, strict=True))
