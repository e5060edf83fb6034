import pytest

from flask_llm.errors import BadAnswerError, QuotaError
from flask_llm.providers.local import Generation


def chunk(finish=None, **delta):
    """Return a chunk as llama.cpp calls back with it."""
    return {"choices": [{"index": 0, "finish_reason": finish, "delta": delta}]}


USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def read(*chunks):
    """Return the texts of chunks, and what they tell."""
    told = Generation()
    return [told.take(each) for each in chunks], told


def test_a_whole_generation():
    """Its chunks tell text, end and tokens, each in a chunk of its own."""
    texts, told = read(
        chunk(role="assistant", content=None),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("stop"),
        {"choices": [], "usage": USAGE},
    )
    told.check()
    assert texts == ["", "Hel", "lo", "", ""]
    assert told.finish_reason == "stop"
    assert told.usage == {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([chunk(content="Hel")], "stream without an end"),
        ([chunk(content=" "), chunk("length")], "max_tokens used up before any text"),
        (
            [chunk(reasoning_content="Hm."), chunk("length")],
            "thinking used up max_tokens before any text",
        ),
    ],
)
def test_no_answer(chunks, reason):
    """What is not complete, or has no text for want of room, is no answer."""
    _, told = read(*chunks)
    with pytest.raises(BadAnswerError) as caught:
        told.check()
    assert caught.value.reason == reason


def test_an_error_among_the_chunks():
    """Its status says what it is, whatever came before it."""
    error = {"code": 429, "type": "rate_limit_error", "message": "slow down"}
    _, told = read(chunk(content="Hel"), {"error": error}, chunk("stop"))
    with pytest.raises(QuotaError, match="slow down"):
        told.check()
