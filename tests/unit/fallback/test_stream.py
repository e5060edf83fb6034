"""Streamed answers, as the app's code reads them."""

import gc
import json
import logging
import pickle
import threading
import time
import tracemalloc
import weakref

import pytest
from cycles import left_in_cycles

from flask_llm import LLMFactory, LLMProvider, LLMResponse, Restart, StreamInterrupted
from flask_llm.errors import (
    AuthError,
    ContentBlockedError,
    InvalidRequestError,
    ParameterError,
    QuotaError,
    TransientError,
)
from flask_llm.resilience.clock import SystemClock
from flask_llm.resilience.stream_reader import _MOST_AHEAD, current_cancellation
from flask_llm.testing import Delay, FakeProvider

BROKEN = TransientError("the line is dead", reason="connection error")
KEY = "sk-canary-0123456789"
A_MINUTE = 60


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini", "claude", "third", and those."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude", "third"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock), fakes


def calls(fakes):
    return [len(each.calls) for each in fakes]


def outcomes(response):
    return [(each.provider, each.outcome) for each in response.attempts]


class Source(LLMProvider):
    """Streams what a generator function yields; notes when it is closed."""

    needs_key = False

    def __init__(self, play, name="source", most=None):
        self.play, self.name = play, name
        self.max_concurrency = most
        self.closed = threading.Event()

    def generate_content(self, prompt, temperature=0.0, max_tokens=1024):
        return LLMResponse(True, "whole", self.name)

    def get_provider_name(self):
        return self.name

    def is_available(self):
        return True

    def stream(self, request):
        try:
            yield from self.play()
        finally:
            self.closed.set()
        return LLMResponse(True, "", self.name)


def over(*providers, **config):
    return LLMFactory(providers[0], providers[1:], config=config)


def test_the_texts_and_then_the_response(clock):
    """What came piece by piece is what the whole call would have returned."""
    factory, _ = chain(clock, ["one two three"])
    with factory.stream_content("hello") as stream:
        assert stream.response is None
        assert stream.provider_name == "gemini"
        assert list(stream) == ["one ", "two ", "three"]

    whole = factory.generate_content("hello")
    assert stream.text == whole.content == stream.response.content
    assert stream.response.success
    call_id = stream.response.metadata["call_id"]
    own = {"first_token_s": 0.0, "call_id": call_id}
    assert stream.response.metadata == whole.metadata | own
    assert call_id != whole.metadata["call_id"]
    json.dumps(stream.response.metadata)


def test_the_first_text_is_there_before_the_call_returns(clock):
    """A failure before it can still become an error page."""
    factory, fakes = chain(clock, [Delay(7, "hi")])
    stream = factory.stream_content("hello")

    assert (clock.now, calls(fakes)) == (1007, [1])
    assert stream.wait(0) == "hi"
    assert stream.wait(9) is None
    assert stream.response.metadata["first_token_s"] == 7


@pytest.mark.parametrize(
    ("script", "waits", "asked"),
    [
        ([QuotaError()], [], 1),
        ([TransientError()], [5, 10, 20, 40], 5),
        ([AuthError()], [], 1),
        ([["\n", " ", BROKEN]], [5, 10, 20, 40], 5),
        ([[" \n"]], [], 1),
        ([""], [], 1),
        (
            [LLMResponse(False, "", "x", "quota exceeded", {"error_kind": "quota"})],
            [],
            1,
        ),
    ],
)
def test_a_failure_before_any_text_is_not_seen(clock, script, waits, asked):
    """It is retried as in a plain call, then the next provider streams."""
    factory, fakes = chain(clock, script, ["hi there"])
    with factory.stream_content("hello") as stream:
        assert list(stream) == ["hi ", "there"]

    assert (clock.waits, calls(fakes)) == (waits, [asked, 1])
    assert stream.response.provider_name == "claude"


def test_a_retry_that_helps_keeps_the_provider(clock):
    """One lost connection is no reason to ask somebody else."""
    factory, fakes = chain(clock, [BROKEN, "hi"], ["unused"])

    assert list(factory.stream_content("hello")) == ["hi"]
    assert (clock.waits, calls(fakes)) == ([5], [2, 0])


def test_a_parameter_that_is_learned_costs_no_wait(clock):
    """The provider is asked again at once, without it."""
    factory, fakes = chain(clock, [ParameterError(), "hi"])

    assert list(factory.stream_content("hello")) == ["hi"]
    assert (clock.waits, calls(fakes)) == ([], [2])


def test_total_failure_is_an_empty_stream(clock, caplog):
    """The view can still answer 503: there is a response, and no exception."""
    factory, _ = chain(clock, [QuotaError("60 a minute")], [["\n", AuthError()]])
    with factory.stream_content("hello") as stream:
        response = stream.response
        assert list(stream) == []

    assert not response.success
    assert response.error.startswith("All LLM providers failed: [gemini: quota exceed")
    assert outcomes(response) == [("gemini", "quota"), ("claude", "auth")]
    assert response.metadata["first_token_s"] is None
    assert response is stream.response
    (error,) = (each for each in caplog.records if "All LLM" in each.getMessage())
    assert error.levelno == logging.ERROR


def test_a_block_before_any_text_stops(clock):
    """A refusal is not shopped around in a stream either."""
    factory, fakes = chain(clock, [ContentBlockedError()], ["hi"])

    assert factory.stream_content("hello").response.error.startswith("LLM call stopped")
    assert calls(fakes) == [1, 0]


def test_who_breaks_off_interrupts_the_caller(clock):
    """With what came, why, and every attempt; nobody else is asked."""
    factory, fakes = chain(
        clock, [QuotaError()], [["one ", "two ", BROKEN]], ["unused"]
    )
    stream = factory.stream_content("hello")
    assert [next(stream), next(stream)] == ["one ", "two "]
    with pytest.raises(StreamInterrupted) as told:
        next(stream)

    error = told.value
    assert error.text == "one two "
    assert (error.error.provider, error.error.kind) == ("claude", "transient")
    assert [each.outcome for each in error.attempts] == ["quota", "transient"]
    assert str(error).startswith("claude broke off its answer: connection error")
    assert calls(fakes) == [1, 1, 0]
    assert not stream.response.success
    assert stream.response.content == ""
    assert stream.wait(1) is None
    again = pickle.loads(pickle.dumps(error))
    assert (again.text, again.attempts, str(again)) == (
        error.text,
        error.attempts,
        str(error),
    )


def test_a_restart_is_marked(clock):
    """The next provider begins anew, and the reader knows where."""
    factory, _ = chain(clock, [["one ", BROKEN]], [QuotaError()], ["uno dos"])
    with factory.stream_content("hello", on_interrupt="restart") as stream:
        texts = list(stream)

    assert texts == ["one ", "", "uno ", "dos"]
    (mark,) = (each for each in texts if isinstance(each, Restart))
    assert (mark.provider, mark.error) == ("third", "connection error")
    assert stream.text == stream.response.content == "uno dos"
    assert [kind for _, kind in outcomes(stream.response)] == [
        "transient",
        "quota",
        "success",
    ]


def test_a_restart_never_continues_an_answer(clock):
    """The next provider gets the caller's request, no beginning of an answer."""
    factory, fakes = chain(clock, [["one ", BROKEN]], ["uno"])
    list(factory.stream_content("hello", on_interrupt="restart", system="Count."))

    assert fakes[1].calls == fakes[0].calls


@pytest.mark.parametrize("others", [[], [[QuotaError()]], [[["\n", BROKEN]]]])
def test_a_restart_with_nobody_left_interrupts(clock, others):
    """What had come is told, and every attempt."""
    factory, fakes = chain(clock, [["one ", BROKEN]], *others, LLM_MAX_RETRIES=1)
    stream = factory.stream_content("hello", on_interrupt="restart")
    assert next(stream) == "one "
    with pytest.raises(StreamInterrupted) as told:
        next(stream)

    assert told.value.text == "one "
    assert told.value.error.provider == "gemini"
    assert len(told.value.attempts) == len(fakes)
    assert stream.response.attempts == told.value.attempts


def test_two_restarts(clock):
    """Each one throws away what came before it."""
    factory, _ = chain(clock, [["a", BROKEN]], [["b", BROKEN]], [["c", BROKEN]])
    stream = factory.stream_content("hello", on_interrupt="restart")
    texts = [next(stream) for _ in range(5)]
    with pytest.raises(StreamInterrupted) as told:
        next(stream)

    assert texts == ["a", "", "b", "", "c"]
    assert told.value.text == "c"


def test_a_blocked_answer_is_not_restarted(clock):
    """A refusal in mid-answer is a refusal, unless the app wants to hear others."""
    script = ["one ", ContentBlockedError()]
    factory, fakes = chain(clock, [script], ["unused"])
    with pytest.raises(StreamInterrupted):
        list(factory.stream_content("hello", on_interrupt="restart"))
    assert calls(fakes) == [1, 0]

    factory, _ = chain(clock, [script], ["uno"], LLM_FALLBACK_ON_BLOCKED=True)
    texts = list(factory.stream_content("hello", on_interrupt="restart"))
    assert texts == ["one ", "", "uno"]


def test_stop_texts_end_a_stream(clock):
    """Across the borders of pieces; what the provider sends behind them is not read."""
    factory, _ = chain(clock, [["one ST", "OP two ", BROKEN]])
    with factory.stream_content("hello", stop="STOP") as stream:
        assert "".join(stream) == "one "

    assert stream.response.success
    assert stream.response.content == "one "


@pytest.mark.parametrize("answer", [" \nSTOP", "STOP", ["\n", "ST", "OP"]])
def test_nothing_to_see_before_a_stop_text_is_no_answer(clock, answer):
    """A stream and a plain call both move on."""
    factory, _ = chain(clock, [answer], ["hi"])

    assert list(factory.stream_content("hello", stop=["STOP"])) == ["hi"]
    assert factory.generate_content("hello", stop=["STOP"]).content == "hi"


def test_a_stop_text_is_a_good_end(clock):
    """What ran into `max_tokens` behind it was not cut for the caller."""
    long = LLMResponse(True, "one STOP two", "x", None, {"finish_reason": "length"})
    factory, _ = chain(clock, [long])
    response = factory.generate_content("hello", stop="STOP")

    assert (response.content, response.metadata["finish_reason"]) == ("one ", "stop")
    assert response.metadata["warnings"] == []


@pytest.mark.parametrize(
    ("odd", "begun"),
    [
        (["one ", None], "one "),
        (["one ", b"two"], "one "),
        ([None], "hi"),
        ([b"one"], "hi"),
        ([3], "hi"),
    ],
)
def test_what_is_no_text_is_never_an_end(odd, begun):
    """A careless provider yields a None in mid-answer: that is no success."""
    factory = over(Source(lambda: iter(odd)), FakeProvider("hi"))
    stream = factory.stream_content("hello")
    assert next(stream) == begun
    if begun == "hi":
        assert list(stream) == []
        return
    with pytest.raises(StreamInterrupted) as told:
        next(stream)
    assert told.value.text == "one "
    assert "no text" in told.value.error.reason


@pytest.mark.parametrize("end", [None, LLMResponse(True, "", "x"), "", 3])
def test_what_a_stream_returns(end):
    """Nothing is fine; what is no response is not."""

    def play():
        yield "hi"
        return end

    class Ending(Source):
        def stream(self, request):
            return play()

    stream = over(Ending(None)).stream_content("hello")
    if end in ("", 3):
        with pytest.raises(StreamInterrupted):
            list(stream)
    else:
        assert list(stream) == ["hi"]
        assert stream.response.success


def test_a_three_method_provider_answers_in_one_text():
    """Every provider can be streamed from."""

    class Plain(Source):
        stream = LLMProvider.stream

    stream = over(Plain(None)).stream_content("hello")

    assert list(stream) == ["whole"]
    assert stream.response.success


def test_the_request_reaches_the_provider(clock):
    """With all that a plain call would carry."""
    factory, fakes = chain(clock, ["hi"])
    arguments = ("hello", 0.5, 7)
    named = {"system": "Be brief.", "stop": ["x"]}
    list(factory.stream_content(*arguments, **named))
    factory.generate_content(*arguments, **named)

    streamed, plain = fakes[0].calls
    assert streamed == plain
    assert (plain.temperature, plain.max_tokens) == (0.5, 7)
    assert (plain.system, plain.stop) == ("Be brief.", ("x",))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prompt": None}, "prompt must be str"),
        ({"prompt": [3]}, r"prompt\[0\]"),
        ({"system": None}, "system must be str, not NoneType"),
        ({"stop": 3}, "stop must be str or list or tuple, not int"),
        ({"stop": [3]}, "stop must be str, not int"),
        ({"deadline": "1"}, "deadline must be int or float"),
        ({"max_retries": "1"}, "max_retries must be int"),
    ],
)
def test_wrong_types_are_errors_of_the_caller(clock, arguments, fault):
    """Told by name, before anybody is asked, in both kinds of call."""
    factory, fakes = chain(clock, ["hi"])
    for call in (factory.stream_content, factory.generate_content):
        with pytest.raises(TypeError, match=fault):
            call(**{"prompt": "hello", **arguments})
    assert calls(fakes) == [0]


def test_on_interrupt_is_one_of_two(clock):
    """A typo must not be found when the first stream breaks."""
    factory, fakes = chain(clock, ["hi"])
    with pytest.raises(ValueError, match=r"must be .*, not 'retry'"):
        factory.stream_content("hello", on_interrupt="retry")
    assert calls(fakes) == [0]


def test_a_request_that_makes_no_sense_asks_nobody(clock):
    """An empty stream, whose response says what is wrong."""
    factory, fakes = chain(clock, ["hi"])
    stream = factory.stream_content(" ")

    assert list(stream) == []
    assert stream.response.error == "No provider was asked: prompt is empty"
    assert stream.attempts == ()
    assert calls(fakes) == [0]


def test_closing_is_nobody_s_failure(clock, caplog):
    """The provider's stream ends at once; nothing is retried or warned of."""
    source = Source(lambda: iter(["one ", "two "] * 1000))
    stream = over(source, FakeProvider("unused")).stream_content("hello")
    assert next(stream) == "one "
    stream.close()

    assert source.closed.wait(A_MINUTE)
    assert stream.wait(1) is None
    assert list(stream) == []
    assert stream.response.metadata["error_kind"] == "closed"
    assert (stream.text, stream.response.content) == ("one ", "")
    assert outcomes(stream.response) == [("source", "closed")]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_leaving_the_with_block_closes(clock):
    """Also by an exception of the caller's own."""
    source = Source(lambda: iter(["one "] * 1000))
    with pytest.raises(ZeroDivisionError), over(source).stream_content("hi") as stream:
        1 / 0  # noqa: B018  # the caller's own fault
    assert source.closed.wait(A_MINUTE)
    assert stream.response.metadata["error_kind"] == "closed"


def test_closing_what_is_over_changes_nothing(clock):
    """A `with` block around a loop to the end is the usual way."""
    factory, _ = chain(clock, ["hi"])
    with factory.stream_content("hello") as stream:
        list(stream)
        response = stream.response
    stream.close()

    assert stream.response is response
    assert response.success


def test_closing_wakes_a_waiting_reader():
    """A thread that waits for the next text is told at once that there is none."""
    end = threading.Event()

    def play():
        yield "one "
        end.wait(A_MINUTE)
        yield "two "

    stream = over(Source(play)).stream_content("hello")
    assert next(stream) == "one "
    read = []
    reader = threading.Thread(target=lambda: read.extend(stream))
    reader.start()
    time.sleep(0.05)
    stream.close()
    reader.join(A_MINUTE / 2)
    alive = reader.is_alive()
    end.set()

    assert not alive
    assert read == []


def test_many_threads_close_and_it_ends_once(caplog):
    """Who comes second finds it closed."""
    caplog.set_level(logging.INFO, "flask_llm")
    for _ in range(20):
        stream = over(Source(lambda: iter(["x"] * 9))).stream_content("hello")
        start = threading.Barrier(8)

        def end(stream=stream, start=start):
            start.wait()
            stream.close()

        threads = [threading.Thread(target=end) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert outcomes(stream.response) == [("source", "closed")]
    assert caplog.messages.count("source closed by the caller") == 20


def test_a_stream_that_nobody_reads_is_closed_with_its_last_reference():
    """A view that forgets it leaves no connection behind."""
    source = Source(lambda: iter(["one "] * 1000))
    stream = over(source).stream_content("hello")
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()
    assert source.closed.wait(A_MINUTE)


@pytest.mark.parametrize("way", ["to the end", "closed", "forgotten", "broken"])
def test_slots_come_back(way, monkeypatch):
    """However a stream ends, the next call finds room; until then it does not."""
    pages = [each * _MOST_AHEAD for each in "abc"]  # too long to be read ahead of

    def play():
        yield from pages
        if way == "broken":
            raise TransientError

    source = Source(play, most=1)
    factory = over(source, FakeProvider("busy, sorry"))
    for _ in range(3):
        stream = factory.stream_content("hello", deadline=A_MINUTE)
        assert stream.provider_name == "source"
        with monkeypatch.context() as patch:
            patch.setattr(factory.entries[0], "timeout", 0.02)  # to wait for a slot
            second = factory.generate_content("hello", deadline=A_MINUTE)
        assert (second.content, second.attempts[0].outcome) == ("busy, sorry", "busy")
        if way == "to the end":
            assert list(stream) == pages
        elif way == "closed":
            stream.close()
        elif way == "broken":
            with pytest.raises(StreamInterrupted):
                list(stream)
        del stream


def test_who_is_ended_while_it_waits_for_the_first_text():
    """Ctrl-C, or a worker's time: the slot and the thread are free again."""
    clock = InterruptingClock()
    source = Source(clock.interrupt, most=1)
    factory = LLMFactory(source, [], config={}, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        factory.stream_content("hello")

    assert source.closed.wait(A_MINUTE)
    source.play = endless
    with factory.stream_content("hello") as stream:
        assert next(stream) == "one "


def test_who_is_ended_while_it_reads():
    """The stream is closed before the exception goes on."""
    clock = InterruptingClock()
    source = Source(lambda: clock.interrupt("one "), most=1)
    stream = LLMFactory(source, [], config={}, clock=clock).stream_content("hello")
    assert next(stream) == "one "
    with pytest.raises(KeyboardInterrupt):
        next(stream)

    assert source.closed.wait(A_MINUTE)
    assert outcomes(stream.response) == [("source", "closed")]


def test_who_is_ended_while_another_provider_is_asked():
    """The stream is over, and tells the one attempt that broke off."""
    clock = InterruptingClock()
    first = Source(lambda: iter(["one ", None]), name="first")
    second = Source(clock.interrupt, name="second")
    factory = LLMFactory(first, [second], config={}, clock=clock)
    stream = factory.stream_content("hello", on_interrupt="restart")
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert second.closed.wait(A_MINUTE)
    stream.close()

    assert outcomes(stream.response) == [("first", "bad_answer")]


def endless():
    while True:
        yield "one "


class InterruptingClock(SystemClock):
    """The machine's clock; who waits for a text is interrupted when that is due."""

    def __init__(self):
        self.due = threading.Event()

    def interrupt(self, *texts):
        """Play texts, then interrupt who waits for more, and wait to be closed."""
        closed = threading.Event()
        current_cancellation.get().on_cancel(closed.set)
        yield from texts
        self.due.set()
        assert closed.wait(A_MINUTE)

    def wait(self, signal, seconds):
        end = self.monotonic() + seconds
        while self.monotonic() < end:
            due = self.due.is_set()  # before the look, which finds the texts before it
            if super().wait(signal, 0.01):
                return True
            if due:
                raise KeyboardInterrupt
        return False


@pytest.mark.parametrize("size", [1, 300, _MOST_AHEAD, 3 * _MOST_AHEAD])
def test_little_is_read_ahead(size):
    """A slow reader slows the provider down; it draws one long text at a time."""
    drawn = []

    def play():
        for number in range(5 * _MOST_AHEAD):
            drawn.append(number)
            yield "x" * size

    with over(Source(play)).stream_content("hello") as stream:
        for read in range(1, 6):
            assert next(stream) == "x" * size
            time.sleep(0.01)
            assert len(drawn) * size <= read * size + _MOST_AHEAD + size
            if size >= _MOST_AHEAD:
                assert len(drawn) <= read + 1


def test_threads_are_used_again():
    """A thousand streams one after the other need few threads."""
    factory = over(FakeProvider("one two three"))
    list(factory.stream_content("hello"))
    before = threading.active_count()
    for _ in range(200):
        list(factory.stream_content("hello"))
        closed = factory.stream_content("hello")
        texts = closed._opened.texts
        closed.close()
        while not texts.over:  # a closed one takes its time
            time.sleep(0.001)

    assert threading.active_count() < before + 20


def test_memory_holds_the_text_and_no_more():
    """A thousand texts leave what they say, and their list."""
    text = "x" * 1000

    def play():
        for number in range(1000):
            yield f"{number:04}{text}"

    factory = over(Source(play))
    list(factory.stream_content("hello"))
    stream = factory.stream_content("hello")
    tracemalloc.start()
    try:
        for _ in stream:
            pass
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Once as texts, once joined.
    assert held < 2.2 * 1_004_000 + 50_000
    assert peak < 3.3 * 1_004_000


def test_no_cycles_are_left_behind(clock):
    """An outage must not fill the memory of a worker until the next collection."""
    never = {"LLM_BREAKER_FAILURES": 0}  # else the later calls would skip somebody
    factory, _ = chain(clock, [["one ", BROKEN]], [QuotaError], **never)

    def interrupted():
        stream = factory.stream_content("hello", on_interrupt="restart")
        try:
            list(stream)
        except StreamInterrupted:
            return
        pytest.fail("it did not break off")

    assert left_in_cycles(interrupted) == 0


def test_no_secret_leaves(clock, caplog):
    """A provider that repeats its key in mid-stream does not get it out."""
    caplog.set_level(logging.DEBUG, "flask_llm")

    class Leaky(Source):
        api_key = KEY

    def play():
        yield "one "
        raise TransientError(f"bad key {KEY}", reason=f"no {KEY}")

    factory = over(Leaky(play), FakeProvider("uno"))
    with pytest.raises(StreamInterrupted) as told:
        list(factory.stream_content("hello"))
    stream = factory.stream_content("hello", on_interrupt="restart")
    texts = list(stream)
    shown = [told.value, told.value.error, vars(told.value), vars(told.value.error)]
    shown += [texts[1].error, stream.response, told.value.attempts, caplog.text]

    assert KEY not in "".join(map(repr, shown)) + str(told.value)
    assert isinstance(texts[1], Restart)


def test_an_output_filter_sees_the_whole_answer(clock):
    """So it comes in one piece, with the same metadata."""
    factory, _ = chain(clock, ["one two"])

    @factory.output_filter
    def shout(response):
        return LLMResponse(True, response.content.upper(), response.provider_name)

    stream = factory.stream_content("hello")
    assert list(stream) == ["ONE TWO"]
    assert stream.response.content == "ONE TWO"
    assert stream.response.metadata["first_token_s"] == 0.0


def test_an_invalid_request_moves_on(clock):
    """Another provider may take what this one refuses."""
    factory, _ = chain(clock, [InvalidRequestError(reason="takes no images")], ["hi"])

    assert list(factory.stream_content("hello")) == ["hi"]
