"""The time limit of a job, an exception out of a signal's handler, is the caller's."""

import signal
import time
from typing import Annotated

import pytest
from faultserver import FaultServer, faults
from pydantic import AfterValidator, BaseModel
from wired import settings

from flask_llm import LLMFactory
from flask_llm.signals import generation_finished
from flask_llm.testing import FakeProvider


class TimeLimitError(Exception):
    """As Celery's SoftTimeLimitExceeded, and RQ's JobTimeoutException: a plain one."""


class Death:
    """As RQ's death penalty: its handler is a method."""

    def handle(self, *_):
        raise TimeLimitError


def handle(*_):
    raise TimeLimitError


@pytest.fixture(params=[handle, Death().handle], ids=["function", "method"])
def limited(request):
    """Let the limit pass in a moment, when whatever is asked is asked."""
    before = signal.signal(signal.SIGALRM, request.param)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Waits(FakeProvider):
    """A provider that is under way when the limit passes."""

    wraps = False

    def answer(self, request):
        try:
            time.sleep(60)
        except Exception as error:
            if self.wraps:
                raise ConnectionError("aborted") from error
            raise


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("deadline", [None, 50.0])
def test_it_ends_the_call(limited, wraps, deadline):
    """No other provider is asked, also where a library has wrapped it."""
    first, second = Waits(name="first"), FakeProvider(name="second")
    first.wraps = wraps
    factory = LLMFactory(first, [second], config={})
    limited()
    with pytest.raises(TimeLimitError):
        factory.generate_content("hello", deadline=deadline)
    assert second.calls == []


def test_it_comes_out_of_an_sdk(limited):
    """Which catches exceptions of all kinds."""
    with FaultServer() as server:
        config = settings("claude", server.url, seconds=60)
        factory = LLMFactory("claude", [FakeProvider()], config=config)
        factory.generate_content("warm up")
        server.script("anthropic", faults.hang)
        limited()
        with pytest.raises(TimeLimitError):
            factory.generate_content("hello")


def test_the_same_exception_of_a_provider_is_its_failure(limited):
    """Told apart by where it was raised."""
    first = FakeProvider(TimeLimitError(), name="first")
    response = LLMFactory(first, [FakeProvider("hi")], config={}).generate_content("x")
    assert [each.outcome for each in response.attempts] == ["unknown", "success"]


class Slow(FakeProvider):
    """A provider whose set-up takes long, as an SDK's import may."""

    def is_available(self):
        return wait()


def wait(*_, **__):
    """Take as long as the limit needs to pass."""
    return time.sleep(60)


def received(factory):
    generation_finished.connect(wait, factory)
    return {}


def filtered(factory):
    factory.output_filter(wait)
    return {}


def validated(_):
    class Colour(BaseModel):
        name: Annotated[str, AfterValidator(lambda _: wait())]

    return {"schema": Colour}


@pytest.mark.parametrize("where", [received, filtered, validated])
def test_it_comes_out_of_the_app_s_own_code(limited, where):
    """Whose other exceptions are logged, or fail the answer."""
    fake = FakeProvider('{"name": "red"}')
    factory = LLMFactory(fake, [], config={})
    more = where(factory)
    limited()
    with pytest.raises(TimeLimitError):
        factory.generate_content("hello", **more)


def test_it_comes_out_of_a_set_up(limited):
    """A first call imports an SDK, which may take longer than a job may."""
    factory = LLMFactory(Slow(), [FakeProvider("late")], config={})
    limited()
    with pytest.raises(TimeLimitError):
        factory.generate_content("hello")
