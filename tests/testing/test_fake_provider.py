from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_llm import LLMFactory, LLMResponse
from flask_llm.testing import Delay, FakeProvider
from flask_llm.types import Request


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
