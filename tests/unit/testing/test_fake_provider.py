import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_llm import LLMFactory, LLMResponse, StreamInterrupted
from flask_llm.schema import Schema
from flask_llm.testing import Delay, FakeProvider
from flask_llm.types import Image, Message, Request


def texts(fake, count):
    return [fake.generate_content("hello").content for _ in range(count)]


def test_without_a_script_it_says_ok():
    """The least a test has to say."""
    assert texts(FakeProvider(), 2) == ["ok", "ok"]


def test_the_last_step_repeats():
    """One step for each call, and no surprise when the script ends."""
    assert texts(FakeProvider("a", "b"), 3) == ["a", "b", "b"]


def test_a_function_answers_from_the_prompt():
    """For tests that need an answer of their own for each prompt."""
    assert texts(FakeProvider(str.upper), 1) == ["HELLO"]


def test_an_exception_is_raised():
    """A failure of an SDK."""
    for step in (TimeoutError(), TimeoutError):
        with pytest.raises(TimeoutError):
            FakeProvider(step).generate_content("hello")


def test_a_response_is_returned_as_a_copy():
    """A failure that a provider returns; the script's own stays as it is."""
    scripted = LLMResponse(False, "", "x", "boom")
    returned = FakeProvider(scripted).generate_content("hello")
    returned.metadata["touched"] = True

    assert returned.error == "boom"
    assert scripted.metadata == {}


def test_a_delay_waits_on_the_clock(clock):
    """A slow provider costs a test no time."""
    fake = FakeProvider(Delay(20, "late"), clock=clock)

    assert texts(fake, 1) == ["late"]
    assert clock.waits == [20]


def test_calls_are_recorded():
    """A test can see what was asked."""
    fake = FakeProvider()
    fake.generate_content("hello", temperature=0.5, max_tokens=7)

    assert fake.calls == [Request("hello", 0.5, 7)]


def test_a_class_can_be_registered_under_a_name():
    """`LLM_PRIMARY_PROVIDER=fake` for an app that is configured by text."""
    LLMFactory.register_provider("fake", FakeProvider)
    response = LLMFactory("fake", []).generate_content("hello")

    assert (response.content, response.provider_name) == ("ok", "fake")


def test_threads_share_one_script():
    """Every step is played once, whoever comes first."""
    fake = FakeProvider(*map(str, range(100)))
    with ThreadPoolExecutor(8) as pool:
        played = pool.map(lambda _: fake.generate_content("x").content, range(100))

    assert sorted(played, key=int) == [str(n) for n in range(100)]


def played(generator):
    """Return what a stream yields, and what it returns."""
    found = []
    while True:
        try:
            found.append(next(generator))
        except StopIteration as end:
            return found, end.value


@pytest.mark.parametrize(
    ("step", "pieces"),
    [
        ("one two\nthree", ["one ", "two\n", "three"]),
        ("  one ", ["  ", "one "]),
        ("", []),
        (LLMResponse(True, "one two", "x"), ["one ", "two"]),
        (str.upper, ["ONE ", "TWO"]),
        (["on", "e t", "", "wo"], ["on", "e t", "", "wo"]),
        (("one",), ["one"]),
    ],
)
def test_a_stream_comes_word_by_word_or_as_given(step, pieces):
    """Joined it is what the plain call answers."""
    found, response = played(FakeProvider(step).stream(Request("one two")))

    assert found == pieces
    assert "".join(pieces) == response.content
    plain = FakeProvider(step).generate_content("one two")
    assert plain == response


def test_a_failed_response_streams_nothing():
    """It is returned, as from a plain call."""
    scripted = LLMResponse(False, "ignored", "x", "boom")

    assert played(FakeProvider(scripted).stream(Request("x"))) == ([], scripted)


@pytest.mark.parametrize(
    ("step", "before"),
    [
        (TimeoutError, 0),
        ([TimeoutError()], 0),
        (["one ", "two ", TimeoutError], 2),
        (["one ", Delay(0, TimeoutError())], 1),
    ],
)
def test_a_stream_fails_where_it_is_told_to(step, before):
    """Before the first piece, or after some; a plain call fails altogether."""
    stream = FakeProvider(step).stream(Request("x"))
    assert [next(stream) for _ in range(before)] == ["one ", "two "][:before]
    with pytest.raises(TimeoutError):
        next(stream)
    with pytest.raises(TimeoutError):
        FakeProvider(step).generate_content("x")


def test_a_stream_waits_on_the_clock(clock):
    """Between its pieces, and before the first."""
    fake = FakeProvider(Delay(3, ["one ", Delay(4, "two")]), clock=clock)
    factory = LLMFactory(fake, [], config={}, clock=clock)
    stream = factory.stream_content("x")
    assert clock.now == 1003

    assert (list(stream), clock.now) == (["one ", "two"], 1007)
    assert factory.generate_content("x").content == "one two"
    assert clock.waits == [3, 4, 3, 4]


def test_a_closed_stream_waits_no_longer():
    """A test that closes a stream is over when it is."""
    fake = FakeProvider(["one ", Delay(20, "two")])
    factory = LLMFactory(fake, [], config={"LLM_MAX_RETRIES": 1})
    threads = threading.active_count()
    factory.stream_content("x").close()
    bulkhead = factory._chain.bulkheads["fake"]
    for _ in range(3000):
        if bulkhead._workers._idle.get():
            break
        time.sleep(0.01)

    assert bulkhead._workers._idle.get()
    assert threading.active_count() <= threads + 1


def test_all_of_a_request_is_recorded(clock):
    """Messages, system prompt, stop texts and schema, but not the time it had."""
    fake = FakeProvider("{}", clock=clock)
    factory = LLMFactory(fake, [], config={}, clock=clock)
    talk = [Message("user", ("Hi", Image(b"GIF89a")))]
    told = {"system": "Be brief.", "stop": ["x"], "deadline": 9}
    list(factory.stream_content(talk, 0.5, 7, **told))
    factory.generate_content(talk, 0.5, 7, schema={"type": "object"}, **told)

    streamed, plain = fake.calls
    assert streamed == Request(talk, 0.5, 7, system="Be brief.", stop=("x",))
    assert (plain.messages, plain.timeout) == (streamed.messages, None)
    assert isinstance(plain.schema, Schema)


def test_a_replaced_method_is_called_by_streams_too(monkeypatch):
    """Tests patch `generate_content`, or write a subclass with one of its own."""

    class Own(FakeProvider):
        def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
            return LLMResponse(True, f"own {prompt}", self.name)

    patched = FakeProvider()
    monkeypatch.setattr(patched, "generate_content", Own().generate_content)
    for fake in (Own(), patched):
        assert played(fake.stream(Request("x")))[0] == ["own x"]
        assert fake.answer(Request("x")).content == "own x"


def test_a_class_under_a_name_can_break_off():
    """What an app does when an answer breaks off is a test of three lines."""
    fake = FakeProvider(["one ", ConnectionError()])
    with pytest.raises(StreamInterrupted, match="broke off"):
        list(LLMFactory(fake, [], config={}).stream_content("x"))
