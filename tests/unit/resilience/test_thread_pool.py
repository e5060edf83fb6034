"""Calls in threads that their callers may leave behind."""

import contextvars
import os
import threading
import time

import pytest
from real_time import AT_ONCE_S

from flask_llm.resilience.clock import SYSTEM
from flask_llm.resilience.thread_pool import Abandoned, ThreadPool

A_MINUTE = 60
current = contextvars.ContextVar("current", default="nobody")


@pytest.fixture
def workers():
    return ThreadPool(SYSTEM)


def test_a_call_returns_what_its_function_returns(workers):
    """The thread in between is not seen."""
    assert workers.call(lambda: 6 * 7, A_MINUTE) == 42


def test_a_call_raises_what_its_function_raises(workers):
    """Even what is no Exception."""
    with pytest.raises(ZeroDivisionError):
        workers.call(lambda: 1 / 0, A_MINUTE)
    with pytest.raises(KeyboardInterrupt):
        workers.call(lambda: (_ for _ in ()).throw(KeyboardInterrupt), A_MINUTE)


def test_a_caller_leaves_in_time(workers):
    """What never ends costs no more than the limit."""
    end = threading.Event()
    started = time.monotonic()
    with pytest.raises(Abandoned):
        workers.call(end.wait, 0.05)
    took = time.monotonic() - started
    assert took >= 0.05
    assert took < AT_ONCE_S
    end.set()


def test_the_context_is_the_callers(workers):
    """`current_app` and every other context variable is seen inside."""
    current.set("the caller")

    assert workers.call(current.get, A_MINUTE) == "the caller"


def test_threads_are_used_again(workers):
    """A thousand calls one after the other need one thread."""
    seen = {workers.call(threading.get_ident, A_MINUTE) for _ in range(1000)}

    assert len(seen) == 1


def test_calls_at_once_do_not_wait_for_each_other(workers):
    """Each has a thread, however many there are."""
    barrier = threading.Barrier(8)
    callers = [
        threading.Thread(
            target=workers.call, args=(lambda: barrier.wait(A_MINUTE), A_MINUTE)
        )
        for _ in range(8)
    ]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not barrier.broken


def test_without_threads_the_caller_does_it(workers, monkeypatch):
    """A process at its limit answers without a deadline rather than not at all."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert workers.call(threading.get_ident, A_MINUTE) == threading.get_ident()


def test_an_answer_is_not_kept(workers):
    """An idle thread holds nothing of its last call."""

    class Answer:
        pass

    answers = [workers.call(Answer, A_MINUTE)]
    gone = threading.Event()
    import weakref

    weakref.finalize(answers[0], gone.set)
    answers.clear()

    assert gone.wait(A_MINUTE)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_has_threads_of_its_own(workers):
    """The parent's idle threads are not there after a fork."""
    workers.call(int, A_MINUTE)
    child = os.fork()
    if child == 0:
        os._exit(workers.call(lambda: 7, A_MINUTE))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_caller_ended_while_a_thread_starts_loses_no_call(workers, monkeypatch):
    """The job was handed over before; it is done, and the thread is used again."""
    start = threading.Thread.start
    done = threading.Event()

    def start_and_be_ended(self):
        start(self)
        raise KeyboardInterrupt

    started = time.monotonic()
    monkeypatch.setattr(threading.Thread, "start", start_and_be_ended)
    with pytest.raises(KeyboardInterrupt):
        workers.call(done.set, A_MINUTE)
    assert done.wait(A_MINUTE)
    while not workers._idle.get():
        assert time.monotonic() - started < A_MINUTE
        time.sleep(0.001)
    assert workers.call(lambda: 42, A_MINUTE) == 42


def test_started_without_threads_it_is_refused(workers, monkeypatch):
    """The caller cannot run it, for it may wait for that very caller."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    with pytest.raises(RuntimeError):
        workers.start(lambda: done.append(1))
    assert done == []


def test_started_it_is_not_waited_for(workers):
    """What it raises is lost, and its thread is used again."""
    done = threading.Event()
    workers.start(lambda: 1 / 0)
    workers.start(done.set)

    assert done.wait(A_MINUTE)
