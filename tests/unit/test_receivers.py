"""Receivers that fail, or take long: none of them changes an answer.

How long one takes, a clock of the tests says; it stands still unless told otherwise.
"""

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
import weakref

import pytest
from fake_clock import FakeClock

from flask_llm import LLMFactory, signals
from flask_llm.errors import QuotaError, TransientError
from flask_llm.signals import Aside
from flask_llm.testing import FakeProvider

ASIDE = signals._aside
WATCH = FakeClock()
A_MINUTE = 60
BROKEN = TransientError(reason="connection error")
ALL = [
    signals.generation_started,
    signals.attempt_started,
    signals.attempt_made,
    signals.retry_scheduled,
    signals.provider_switched,
    signals.circuit_changed,
    signals.generation_finished,
]


@pytest.fixture(autouse=True)
def _told_times(monkeypatch):
    """Receivers take the time that they say; nobody is left out before the test."""
    monkeypatch.setattr("flask_llm.signals.monotonic", WATCH.monotonic)
    monkeypatch.setattr(signals, "_aside", Aside())


def take(seconds):
    """Let time go by."""
    WATCH.now += seconds


def factory_of(**more):
    """Return a factory in whose first call each of the signals is sent."""
    first = FakeProvider(BROKEN, QuotaError(retry_after=30), name="gemini")
    second = FakeProvider("one two", name="claude")
    config = {"LLM_RETRY_DELAY": 0.001}
    return LLMFactory(first, [second], config=config, **more)


def asked(factory):
    return factory.generate_content("hello")


def streamed(factory):
    with factory.stream_content("hello") as stream:
        list(stream)
    return stream.response


def awaited(factory):
    return asyncio.run(factory.generate_content_async("hello"))


def awaited_stream(factory):
    async def read():
        async with await factory.stream_content_async("hello") as stream:
            async for _ in stream:
                pass
        return stream.response

    return asyncio.run(read())


def outcome(call):
    """Return all that a call leaves: its answer, its attempts, the circuits."""
    factory = factory_of()
    response = call(factory)
    tries = [(each.provider, each.outcome, each.error) for each in response.attempts]
    status = factory.get_provider_status(detail=True)
    rests = [each["state"] for each in (status["primary"], *status["fallbacks"])]
    return response.success, response.content, tries, status["current"], rests


def raising(sender, event):
    raise RuntimeError("no disk")


def slow(sender, event):
    take(2)


def slow_and_raising(sender, event):
    take(2)
    raise RuntimeError("no disk")


@pytest.mark.parametrize(
    ("signal", "receiver", "call"),
    [
        *((each, slow_and_raising, asked) for each in ALL),
        *((signals.attempt_made, each, asked) for each in (raising, slow)),
        *(
            (signals.attempt_made, slow_and_raising, each)
            for each in (streamed, awaited, awaited_stream)
        ),
    ],
    ids=lambda each: each.name if each in ALL else each.__name__,
)
def test_no_receiver_changes_an_answer(signal, receiver, call):
    """Neither its text, nor its attempts, nor what is known of the providers."""
    usual = outcome(call)
    heard = []

    def hear(sender, event):
        heard.append(event)
        receiver(sender, event)

    with signal.connected_to(hear):
        assert outcome(call) == usual
    assert heard
    assert usual[:2] == (True, "one two")


def test_a_lossless_one_hears_everything(caplog):
    """A machine that stood still for a moment makes no hole in what is counted."""
    heard = []

    @signals.lossless
    def count(sender, event):
        heard.append(event)
        take(2)

    factory = factory_of()
    with signals.generation_finished.connected_to(count):
        for _ in range(3):
            factory.generate_content("hello")
    assert len(heard) == 3
    assert "left out" not in caplog.text


def test_one_that_hangs_costs_its_time_once(caplog):
    """It is told of by its name, and hears nothing more for a minute."""
    heard = []

    def hang(sender, event):
        heard.append(event)
        take(2)

    factory = factory_of()
    with signals.attempt_made.connected_to(hang):
        for _ in range(5):
            factory.generate_content("hello")

    assert len(heard) == 1
    (line,) = [each for each in caplog.messages if "left out" in each]
    told = "A receiver of the signal attempt-made took 2.0 s, left out for 60 s: "
    assert line.startswith(f"{told}test_receivers.test_one_that_hangs")


def test_who_comes_while_it_hangs_does_not_wait_for_it(fake, caplog):
    """Only those of its first moment do, however long it hangs."""
    hanging, let_go = threading.Event(), threading.Event()
    heard = []

    def hang(sender, event):
        heard.append(event)
        hanging.set()
        let_go.wait(A_MINUTE)

    factory = LLMFactory(fake, [])
    with signals.generation_finished.connected_to(hang):
        first = threading.Thread(target=factory.generate_content, args=("hello",))
        first.start()
        assert hanging.wait(A_MINUTE)
        take(2)
        for _ in range(20):
            assert factory.generate_content("hello").success
        assert (first.is_alive(), len(heard)) == (True, 1)
        let_go.set()
        first.join()
        assert factory.generate_content("hello").success

    assert len(heard) == 1
    assert not signals._aside._runs
    told, _ = [each for each in caplog.messages if "left out" in each]
    assert "has been called for 1 s, left out for 60 s: test_receivers." in told


def test_who_comes_while_a_lossless_one_hangs_waits_too(fake):
    """It hears everything, and is not even looked at."""
    entered, let_go = threading.Semaphore(0), threading.Event()
    heard = []

    @signals.lossless
    def count(sender, event):
        heard.append(event)
        entered.release()
        assert let_go.wait(A_MINUTE)

    factory = LLMFactory(fake, [])
    ask = [
        threading.Thread(target=factory.generate_content, args=("hello",))
        for _ in range(3)
    ]
    with signals.generation_finished.connected_to(count):
        for each in ask:
            each.start()
            assert entered.acquire(timeout=A_MINUTE)
            take(2)
        let_go.set()
        for each in ask:
            each.join()

    assert len(heard) == 3


@pytest.mark.parametrize("end", [RuntimeError, SystemExit])
def test_a_run_that_fails_is_over(fake, end):
    """Nobody takes it for one that hangs."""

    def leave(sender, event):
        raise end

    hears = signals.generation_finished.connected_to(leave)
    with hears, contextlib.suppress(SystemExit):
        LLMFactory(fake, []).generate_content("hello")

    assert not signals._aside._runs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_hangs_in_a_parent_does_not_hang_in_its_child():
    """The threads of the parent do not go on there, so that none would end it."""
    run = ASIDE.began(slow, WATCH.now - 60)
    assert ASIDE.hangs(slow, 1)
    pid = os.fork()
    if pid == 0:
        os._exit(ASIDE.hangs(slow, 1))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ASIDE.hangs(slow, 1)
    ASIDE.ended(run)
    assert not ASIDE.hangs(slow, 1)


def test_a_muted_signal_is_not_sent(fake):
    """As blinker itself has it, for tests."""
    heard = []

    def hear(sender, event):
        heard.append(event)

    with signals.generation_finished.connected_to(hear):
        with signals.generation_finished.muted():
            LLMFactory(fake, []).generate_content("hello")
        assert heard == []
        LLMFactory(fake, []).generate_content("hello")
    assert len(heard) == 1


def test_one_that_hangs_is_left_out_of_all_its_signals(fake):
    """It is the same code, which waits for the same thing."""
    heard = []

    def hang(sender, event):
        heard.append(type(event).__name__)
        take(2)

    with (
        signals.generation_started.connected_to(hang),
        signals.generation_finished.connected_to(hang),
    ):
        LLMFactory(fake, []).generate_content("hello")

    assert heard == ["GenerationStarted"]


def test_it_hears_again_after_its_time(fake):
    """A database may be back."""
    heard = []

    def hang(sender, event):
        heard.append(event)
        take(2)

    factory = LLMFactory(fake, [])
    with signals.generation_finished.connected_to(hang):
        factory.generate_content("hello")
        factory.generate_content("hello")
        take(61)
        factory.generate_content("hello")

    assert len(heard) == 2


class Watcher:
    """Receivers that are methods of one object."""

    # An object with __eq__ and no __hash__, as a dataclass is one.
    __hash__ = None

    def __init__(self):
        self.heard = []

    def hang(self, sender, event):
        self.heard.append("hang")
        take(2)

    def quick(self, sender, event):
        self.heard.append("quick")

    def __call__(self, sender, event):
        self.hang(sender, event)

    def __eq__(self, other):
        return True


def test_methods_are_told_apart(fake):
    """By their object and their function, though each look makes another method."""
    first, second = Watcher(), Watcher()
    factory = LLMFactory(fake, [])
    with (
        signals.generation_finished.connected_to(first.hang),
        signals.generation_finished.connected_to(first.quick),
        signals.generation_finished.connected_to(second.quick),
    ):
        for _ in range(3):
            factory.generate_content("hello")

    assert sorted(first.heard) == ["hang", "quick", "quick", "quick"]
    assert second.heard == ["quick"] * 3


def test_an_object_that_can_be_called_is_left_out_too(fake, caplog):
    """It has no name; its class has."""
    watcher = Watcher()
    factory = LLMFactory(fake, [])
    with signals.generation_finished.connected_to(watcher):
        for _ in range(3):
            factory.generate_content("hello")

    assert watcher.heard == ["hang"]
    assert "test_receivers.Watcher" in caplog.text


def test_a_receiver_without_references_is_left_out_too(fake):
    """A built-in method cannot be referred to weakly, nor hashed by its object."""
    aside, heard = Aside(), []
    aside.put(heard.append, 60)

    assert aside.holds(heard.append)
    assert not aside.holds([].append)


def test_nobody_is_kept_alive():
    """A receiver that is left out goes when its owner goes; so do the notes of it."""
    aside = Aside()

    def make():
        def receiver(sender, event):
            pass

        return receiver

    gone = []
    for _ in range(100):
        receiver = make()
        gone.append(weakref.ref(receiver))
        aside.put(receiver, -1)
    del receiver
    gc.collect()

    assert not any(each() for each in gone)
    assert len(aside._until) == 1


def test_another_one_in_its_place_is_not_taken_for_it():
    """A number of an object that has gone may be given to the next one."""
    aside, first = Aside(), Watcher()
    aside.put(first.hang, 60)
    ((key, kept),) = aside._until.items()
    second = Watcher()
    aside._until = {(id(second), key[1]): kept}

    assert not aside.holds(second.hang)


def test_many_threads_at_once(fake, caplog):
    """Each may meet it once, none gets an error, and then nobody calls it."""
    heard = []

    def hang(sender, event):
        heard.append(event)
        time.sleep(0.01)  # in which others come
        take(2)

    factory = LLMFactory(fake, [])
    answers = []

    def ask():
        answers.extend(factory.generate_content("hello").success for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    with signals.generation_finished.connected_to(hang):
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    assert answers == [True] * 160
    assert 1 <= len(heard) <= 8


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("signal", [signals.attempt_made, signals.generation_finished])
def test_what_ends_the_caller_goes_out(fake, end, signal):
    """Somebody wants the thread, or the process, to end."""

    def leave(sender, event):
        raise end

    with signal.connected_to(leave), pytest.raises(end):
        LLMFactory(fake, []).generate_content("hello")


@pytest.mark.parametrize("signal", [signals.attempt_made, signals.generation_finished])
def test_an_answer_that_is_there_is_returned(clock, fake, signal):
    """However late a receiver has made it."""

    def late(sender, event):
        clock.sleep(60)

    factory = LLMFactory(fake, [], clock=clock)
    with signal.connected_to(late):
        response = factory.generate_content("hello", deadline=10)

    assert response.content == "a fake answer"


@pytest.mark.parametrize("call", ["generate_content", "stream_content"])
@pytest.mark.parametrize(
    "signal", [signals.generation_started, signals.attempt_started]
)
def test_nobody_is_blamed_for_time_that_a_receiver_took(clock, signal, call):
    """There is no time to ask; the call says so, and the provider does not rest."""
    fake = FakeProvider("hi", clock=clock)
    config = {"LLM_BREAKER_FAILURES": 1}
    factory = LLMFactory(fake, [], config=config, clock=clock)

    def late(sender, event):
        clock.sleep(60)

    with signal.connected_to(late):
        answer = getattr(factory, call)("hello", deadline=10)
    response = getattr(answer, "response", answer)

    assert response.metadata["error_kind"] == "deadline"
    assert fake.calls == []
    assert factory.get_provider_status(detail=True)["primary"]["reason"] is None


def test_what_a_slow_receiver_left_is_enough_for_the_next_one(clock):
    """An attempt's share is counted from what is left."""

    def late(sender, event):
        clock.sleep(6)

    factory = factory_of(clock=clock)
    with signals.attempt_started.connected_to(late):
        response = factory.generate_content("hello", deadline=20)

    assert response.success
    assert clock.now < 1020


def test_a_record_at_debug_is_no_obstacle(fake, caplog):
    """The traceback of a receiver that fails is one of its own record."""
    caplog.set_level(logging.DEBUG, "flask_llm")
    with signals.generation_finished.connected_to(raising):
        response = LLMFactory(fake, []).generate_content("hello")

    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info[0] is RuntimeError
    assert record.llm_call_id == response.metadata["call_id"]
