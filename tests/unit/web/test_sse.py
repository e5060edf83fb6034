"""How events are written, and what they may say."""

import json

import pytest

from flask_llm.errors import BY_KIND
from flask_llm.types import Attempt, LLMResponse
from flask_llm.web import sse


def test_an_event_is_one_block():
    """Its name, its data on one line, and the empty line that ends it."""
    assert sse.event("delta", {"text": "a"}) == 'event: delta\ndata: {"text": "a"}\n\n'


def test_an_event_may_have_an_id():
    """The id comes with the event, so that a browser knows both or neither."""
    assert sse.event("start", {}, "x") == "id: x\nevent: start\ndata: {}\n\n"


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb\r", "\n\nevent: done\ndata: {}\n\n", "\u2028", "\ud83d"]
)
def test_no_text_leaves_its_line(text):
    """Neither line breaks nor half a character can end an event or forge one."""
    sent = sse.event("delta", {"text": text})
    name, data, *end = sent.encode().decode().split("\n")
    assert (name, end) == ("event: delta", ["", ""])
    assert "\r" not in sent
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


def test_a_heartbeat_is_a_comment():
    """A parser passes over a line that begins with a colon."""
    assert sse.HEARTBEAT.startswith(":")
    assert sse.HEARTBEAT.endswith("\n\n")


def test_each_provider_that_failed_is_told_once():
    """After retries the last word counts; who answered in the end has not failed."""
    attempts = [
        Attempt("one", "transient"),
        Attempt("one", "quota"),
        Attempt("two", "transient"),
        Attempt("two", "success"),
    ]
    assert sse.failed(attempts) == [
        {"provider": "one", "kind": "quota", "reason": "quota exceeded"}
    ]


@pytest.mark.parametrize("kind", [*BY_KIND, "unknown", "of a plug-in"])
def test_only_our_own_words_are_told(kind):
    """Of every kind the reason is the package's, not the provider's, without advice."""
    attempt = Attempt("one", kind, error="HTTP 401 for key sk-123 (set LLM_X)")
    ((told),) = sse.failed([attempt])
    assert told["kind"] == kind
    assert told["reason"]
    assert "sk-123" not in sse.error(kind, [attempt])
    assert "LLM_" not in sse.error(kind, [attempt])


def test_the_last_event_tells_that_an_answer_is_cut_but_no_warnings():
    """A reader learns that it ends at its limit; models and parameters stay here."""
    known = {"finish_reason": "length", "warnings": ["top_k is not sent to big-1"]}
    sent = sse.done(LLMResponse(True, "Hi", "one", None, known))
    assert '"finish_reason": "length"' in sent
    assert "top_k" not in sent
