"""Conversations, schemas and streams with the real model. Needs the extra `local`."""

import threading
import time
from dataclasses import replace
from enum import StrEnum

import pytest
from needs import needs_gevent
from pydantic import BaseModel, Field, ValidationError
from real_time import AT_ONCE_S
from test_local import PATCHED, needs_model, run

from flask_llm.errors import (
    BadAnswerError,
    ContextLengthError,
    InvalidRequestError,
    ProviderError,
)
from flask_llm.providers import llama_cpp as llama
from flask_llm.providers.local import LocalProvider
from flask_llm.resilience.stream_reader import Cancellation, current_cancellation
from flask_llm.schema import Schema
from flask_llm.types import Image, Request

pytestmark = needs_model

STORY = Request("Tell a long story.", max_tokens=400)
SAYING = [
    {"role": "user", "content": "Say apple."},
    {"role": "assistant", "content": "apple"},
    {"role": "user", "content": "Say river."},
    {"role": "assistant", "content": "river"},
    {"role": "user", "content": "Say moon."},
]


class Kind(StrEnum):
    INVOICE = "invoice"
    RECEIPT = "receipt"


class Customer(BaseModel):
    city: str = Field(max_length=20)
    postcode: str | None = Field(None, max_length=8)


class Position(BaseModel):
    name: str = Field(max_length=12)
    quantity: int


class Invoice(BaseModel):
    kind: Kind
    customer: Customer
    lines: list[Position] = Field(min_length=1, max_length=2)
    note: str | None = Field(None, max_length=20)


class Reading(BaseModel):
    temperature: float = Field(le=5)


@pytest.fixture(scope="module")
def provider():
    return LocalProvider(context=1024)


@pytest.fixture
def chunks(monkeypatch):
    """Return a list that grows with each chunk of a generation."""
    seen, run = [], llama.Engine.run

    def watched(self, body, on_chunk):
        run(self, body, lambda chunk: seen.append(chunk) or on_chunk(chunk))

    monkeypatch.setattr(llama.Engine, "run", watched)
    return seen


def streamed(provider, request):
    """Return the texts of a stream, and the response at its end."""
    texts, stream = [], provider.stream(request)
    while True:
        try:
            texts.append(next(stream))
        except StopIteration as end:
            return texts, end.value


def is_idle(seconds=AT_ONCE_S):
    """Return whether nobody generates any more, soon."""
    stop = time.monotonic() + seconds
    while llama._gate._inside and time.monotonic() < stop:
        time.sleep(0.005)
    return not llama._gate._inside


class TestConversation:
    def test_system(self, provider):
        """The model's template takes what the system says, and the model heeds it."""
        told = "The user's name is Ada. Greet the user as Ada."
        response = provider.answer(Request("What is my name?", 0.0, 12, system=told))
        assert "Ada" in response.content
        assert "Ada" not in provider.answer(Request("What is my name?", 0, 12)).content

    def test_turns(self, provider):
        """The template takes several turns, and the model goes on as they went."""
        assert provider.answer(Request(SAYING, 0.0, 6)).content == "moon"
        assert provider.answer(Request(SAYING[-1:], 0.0, 6)).content != "moon"

    def test_stop(self, provider):
        """The answer ends before a stop text, and is complete."""
        whole = provider.answer(Request("Name a color.", 0.0, 20)).content
        word = whole.split()[3]
        ended = provider.answer(Request("Name a color.", 0.0, 20, stop=("\0", word)))
        assert ended.content == whole.partition(word)[0]
        assert ended.metadata["finish_reason"] == "stop"

    def test_pictures(self, provider):
        """Pictures are refused at once."""
        picture = Request([{"role": "user", "content": [Image(b"\x89PNG\r\n\x1a\n")]}])
        for ask in (provider.answer, lambda request: streamed(provider, request)):
            with pytest.raises(InvalidRequestError) as caught:
                ask(picture)
            assert caught.value.reason == "takes no images"
            assert caught.value.provider == "local"


class TestSchema:
    PROMPT = "Write an invoice for Ada in Paris, about two pens and a book."

    def test_it_is_kept(self, provider):
        """Enum, nested objects, lists and optional fields come out as described."""
        request = Request(self.PROMPT, 0.0, 300, schema=Schema(Invoice))
        first = provider.answer(request)
        assert first.metadata["finish_reason"] == "stop"
        assert Invoice.model_validate_json(first.content).lines
        assert provider.answer(request).content == first.content
        texts, _ = streamed(provider, request)
        assert "".join(texts) == first.content

    def test_bounds_of_numbers_are_not_kept(self, provider):
        """So the answer has to be checked, which the chain does."""
        prompt = "Give the temperature nine hundred."
        response = provider.answer(Request(prompt, 0.0, 40, schema=Schema(Reading)))
        assert response.metadata["finish_reason"] == "stop"
        with pytest.raises(ValidationError, match="less than or equal to 5"):
            Reading.model_validate_json(response.content)

    def test_a_schema_that_llama_cannot_say(self, provider):
        """It is told in words, and the model answers."""
        nowhere = Schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})
        request = Request("Hello", 0.0, 5, schema=nowhere)
        plain = provider.answer(Request("Hello", 0.0, 5))
        told = provider.answer(request)
        assert told.usage.input_tokens > plain.usage.input_tokens

    def test_what_the_library_refuses(self, provider):
        """A refusal is one of the request, and not tried again in vain."""
        format_ = {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
        body |= {"response_format": format_}
        with pytest.raises(
            InvalidRequestError, match="unrecognized type odd"
        ) as caught:
            provider._ask(lambda engine: engine.run(body, lambda _: False))
        assert caught.value.status == 400
        assert not caught.value.retryable


class TestStream:
    def test_pieces(self, provider):
        """The pieces are the text, and the end tells what an answer at once would."""
        request = Request("Name a color.", 0.0, 20)
        texts, response = streamed(provider, request)
        answer = provider.answer(request)
        assert len(texts) > 10
        assert "".join(texts) == answer.content
        assert response.metadata == answer.metadata
        assert response.content == ""

    def test_too_long_a_prompt(self, provider):
        """An error of the library comes out as it does without a stream."""
        with pytest.raises(ContextLengthError, match="but the context holds 1024"):
            streamed(provider, Request("word " * 3000))

    def test_silence(self, provider):
        """The time limits the silence while the prompt is read, and is told."""
        with pytest.raises(BadAnswerError) as caught:
            streamed(provider, Request("word " * 100, timeout=0.01))
        assert caught.value.summary == "timeout (shorten the prompt)"
        assert is_idle()

    def test_the_time_is_no_limit_of_the_whole(self, provider, later):
        """A stream that goes on may take longer than its silences."""
        request, texts = Request("Tell a story.", 0.0, 20), []
        for each in provider.stream(replace(request, timeout=60)):
            texts.append(each)
            later(50)
        assert texts == streamed(provider, request)[0]

    def test_closing_stops_the_generation(self, provider, chunks):
        """The server is free for the next call within a token."""
        stream = provider.stream(STORY)
        next(stream)
        stream.close()
        before = len(chunks)
        assert is_idle()
        assert len(chunks) < before + 20
        assert provider.answer(Request("Hi", 0.0, 3)).content

    def test_cutting_the_line_stops_it(self, provider):
        """A reader in another thread wakes at once, and the generation ends."""
        cancellation, begun, ends = Cancellation(), threading.Event(), []

        def read():
            current_cancellation.set(cancellation)
            try:
                for _ in provider.stream(STORY):
                    begun.set()
            except ProviderError as error:
                ends.append(error.reason)

        reader = threading.Thread(target=read)
        reader.start()
        assert begun.wait(60)
        cancellation.cancel()
        reader.join(AT_ONCE_S)
        assert not reader.is_alive()
        assert ends == ["stream without an end"]
        assert is_idle()

    def test_two_streams(self, provider):
        """One waits for the other, and each gets its own text."""
        asked = Request("Name a color.", 0.0, 8), Request("Name a city.", 0.0, 8)
        alone = [provider.answer(each).content for each in asked]
        first, second = map(provider.stream, asked)
        pairs = [(next(first), first), (next(second), second)]
        texts = ["".join([head, *each]) for head, each in pairs]
        assert texts == alone


class TestProcess:
    """A process may fork, end or be patched while a stream is open."""

    BEGUN = (
        "import os, sys\n"
        "from flask_llm.providers.local import LocalProvider\n"
        "from flask_llm.types import Request\n"
        "p = LocalProvider(context=512)\n"
        "stream = p.stream(Request('Tell a story.', 0.0, 60))\n"
        "head = next(stream)\n"
    )

    def test_end(self):
        """The generation is stopped, and the process ends without a word."""
        assert run(self.BEGUN + "print('end')") == "end\n"

    def test_fork(self):
        """The parent reads on to the end, and the child makes its own calls."""
        out = run(
            self.BEGUN + "whole = None\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    stream.close()\n"
            "    text = p.answer(Request('Name a color.', 0.0, 8)).content\n"
            "    own = ''.join(p.stream(Request('Name a color.', 0.0, 8)))\n"
            "    sys.exit(0 if text and text == own else 3)\n"
            "text = head + ''.join(stream)\n"
            "print(os.waitpid(child, 0)[1])\n"
            "print(text == p.answer(Request('Tell a story.', 0.0, 60)).content)"
        )
        assert out == "0\nTrue\n"

    @needs_gevent
    def test_greenlets(self):
        """Other greenlets run while one streams, and closing frees the server."""
        out = run(
            PATCHED + "from flask_llm.types import Request\n"
            "p, ticks = LocalProvider(context=512), []\n"
            "def tick():\n"
            "    while True:\n"
            "        ticks.append(gevent.sleep(0.01))\n"
            "gevent.spawn(tick)\n"
            "read = lambda: ''.join(p.stream(Request('Name a color.', 0.0, 20)))\n"
            "streams = [gevent.spawn(read) for _ in range(4)]\n"
            "gevent.joinall(streams)\n"
            "print(len({each.get() for each in streams}), len(ticks) > 10)\n"
            "print(streams[0].get() == ask('Name a color.', 20))\n"
            "story = p.stream(Request('Tell a story.', 0.0, 400))\n"
            "next(story)\n"
            "story.close()\n"
            "before = len(seen)\n"
            "while llama._gate._inside:\n"
            "    gevent.sleep(0.01)\n"
            "print(len(seen) - before < 100)\n"
        )
        assert out == "1 True\nTrue\nTrue\n"

    @needs_gevent
    def test_a_killed_greenlet(self):
        """Its generation is stopped, so that a fork need not wait for it."""
        out = run(
            PATCHED + "from flask_llm.types import Request\n"
            "import os, sys\n"
            "p = LocalProvider(context=512)\n"
            "read = lambda: list(p.stream(Request('Tell a story.', 0.0, 400)))\n"
            "story = gevent.spawn(read)\n"
            "await_more()\n"
            "print(len(llama._gate._inside), flush=True)\n"
            "story.kill()\n"
            "before = len(seen)\n"
            "child = os.fork()\n"
            "stopped = len(seen) - before < 100\n"
            "text = ask('Name a color.')\n"
            "if child == 0:\n"
            "    sys.exit(0 if text else 3)\n"
            "print(stopped, os.waitpid(child, 0)[1])"
        )
        assert out == "1\nTrue 0\n"

    @needs_gevent
    def test_end_under_gevent(self):
        """An open stream does not keep a worker from ending."""
        out = run(
            PATCHED + "from flask_llm.types import Request\n"
            "p = LocalProvider(context=512)\n"
            "stream = p.stream(Request('Tell a story.', 0.0, 400))\n"
            "next(stream)\n"
            "print('end')"
        )
        assert out == "end\n"


def test_an_answer_does_not_depend_on_what_was_asked_before():
    """At temperature 0 the same prompt has the same answer, whoever asks in between."""
    provider = LocalProvider(context=1024)
    other = "Write a poem about the sea and its many colors."
    prompts = ["Tell me of Rome.", "Tell me of Rome.", other, "Tell me of Rome."]
    answers = [provider.generate_content(each, 0.0, 24).content for each in prompts]
    assert answers[0] == answers[1] == answers[3]
