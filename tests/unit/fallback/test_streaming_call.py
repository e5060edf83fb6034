"""Streams in time: limits, deadlines, and what the breaker learns of them."""

import logging
import threading
import time

import pytest

from flask_llm import LLMFactory, StreamInterrupted
from flask_llm.errors import QuotaError, TransientError
from flask_llm.resilience.stream_reader import _MOST_AHEAD
from flask_llm.testing import Delay, FakeProvider

BROKEN = TransientError(reason="connection error")
SILENT = Delay(1000, "too late")
ONCE = {"LLM_MAX_RETRIES": 1}


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini", "claude", "third", and those."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude", "third"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock), fakes


def calls(fakes):
    return [len(each.calls) for each in fakes]


def resting(factory):
    return factory.get_provider_status(detail=True)["primary"]["reason"]


def until(true):
    """Wait for what another thread does, of real time."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def interruption(stream):
    """Return how a stream breaks off."""
    with pytest.raises(StreamInterrupted) as told:
        list(stream)
    return told.value


def test_a_late_first_text_is_a_timeout(clock):
    """LLM_FIRST_TOKEN_TIMEOUT: the next provider streams, and nobody sees it."""
    factory, _ = chain(clock, [SILENT], ["hi"], **ONCE, LLM_FIRST_TOKEN_TIMEOUT=4)
    stream = factory.stream_content("hello")

    assert (list(stream), clock.now) == (["hi"], 1004)
    late = stream.response.attempts[0]
    assert late.error == "timeout before the first token"
    assert (late.outcome, late.latency_s) == ("transient", 4)
    assert stream.response.metadata["first_token_s"] == 4


def test_signs_of_life_that_cannot_be_seen_are_no_first_text(clock):
    """Line breaks do not buy a provider time."""
    script = ["\n", Delay(3, " "), Delay(3, "late")]
    factory, _ = chain(clock, [script], ["hi"], **ONCE, LLM_FIRST_TOKEN_TIMEOUT=4)

    assert list(factory.stream_content("hello")) == ["hi"]
    assert clock.now == 1004


def test_without_a_limit_of_its_own_the_provider_s_timeout_holds(clock):
    """The preset "patient" waits as long as a plain call."""
    factory, _ = chain(clock, [SILENT], ["hi"], **ONCE)

    assert list(factory.stream_content("hello")) == ["hi"]
    assert clock.now == 1030


def test_the_web_preset_waits_for_ten_seconds(clock):
    """For the first text, and between two."""
    web = {"LLM_RETRY_PRESET": "web", "LLM_DEADLINE": "none"}
    factory, _ = chain(clock, [SILENT, ["one ", SILENT]], ["hi"], **web)

    assert list(factory.stream_content("hello")) == ["hi"]
    assert clock.now == 1010
    error = interruption(factory.stream_content("hello"))
    assert (error.error.reason, clock.now) == ("stalled for 10 s", 1020)


def test_a_stall_breaks_a_stream_off(clock):
    """LLM_STALL_TIMEOUT, counted anew from each text."""
    script = ["one ", Delay(4, "two "), Delay(4, "three "), Delay(6, "four")]
    factory, _ = chain(clock, [script], LLM_STALL_TIMEOUT=5)
    error = interruption(factory.stream_content("hello"))

    assert error.text == "one two three "
    assert (error.error.reason, clock.now) == ("stalled for 5 s", 1013)
    assert error.attempts[0].latency_s == 13


def test_a_stall_restarts(clock):
    """From the next provider, if the caller wants it so."""
    factory, _ = chain(clock, [["one ", SILENT]], ["uno"], LLM_STALL_TIMEOUT=5)
    texts = list(factory.stream_content("hello", on_interrupt="restart"))

    assert texts == ["one ", "", "uno"]


def test_a_slow_reader_is_no_stall(clock):
    """The provider is not to blame for what the caller does meanwhile."""
    factory, _ = chain(clock, [["one ", "two "]], LLM_STALL_TIMEOUT=5)
    stream = factory.stream_content("hello")
    next(stream)
    clock.now += 100

    assert list(stream) == ["two "]


def test_waiting_in_short_steps_is_one_silence(clock):
    """A heartbeat every 2 s neither hurries the provider nor gives it more time."""
    script = ["one ", Delay(5, "two "), SILENT]
    factory, _ = chain(clock, [script], LLM_STALL_TIMEOUT=7)
    stream = factory.stream_content("hello")
    seen = [stream.wait(2) for _ in range(5)]

    assert seen == ["one ", None, None, "two ", None]
    assert clock.now == 1007
    assert [stream.wait(2), stream.wait(2), stream.response] == [None, None, None]
    with pytest.raises(StreamInterrupted):
        stream.wait(2)
    assert clock.now == 1012
    assert stream.response is not None


def test_the_deadline_ends_a_stream(clock):
    """In mid-stream: there is no time for anybody else."""
    factory, fakes = chain(clock, [["one ", Delay(8, "two "), SILENT]], ["unused"])
    stream = factory.stream_content("hello", deadline=20, on_interrupt="restart")
    error = interruption(stream)

    assert error.text == "one two "
    assert (error.error.kind, error.error.reason) == (
        "deadline",
        "deadline of 20 s passed",
    )
    assert clock.now == 1020
    assert calls(fakes) == [1, 0]
    assert stream.response.metadata["error_kind"] == "deadline"


def test_a_drip_ends_with_the_deadline(clock):
    """Each text is in time, but not the whole."""
    drip = [Delay(3, "x")] * 100
    factory, _ = chain(clock, [drip], ["unused"])
    error = interruption(factory.stream_content("hello", deadline=10))

    assert (error.text, error.error.kind, clock.now) == ("xxx", "deadline", 1010)


def test_a_deadline_is_shared_until_the_first_text(clock):
    """A silent primary gets two thirds, so that the fallback can still begin."""
    factory, _ = chain(clock, [SILENT], [Delay(3, "hi")], **ONCE)
    stream = factory.stream_content("hello", deadline=12)

    assert (list(stream), clock.now) == (["hi"], 1011)
    assert stream.response.attempts[0].latency_s == 8


def test_a_stream_may_take_the_whole_deadline(clock):
    """What has begun is not cut for the sake of those who will not be asked."""
    factory, _ = chain(clock, [["one ", Delay(11, "two")]], ["unused"])

    assert list(factory.stream_content("hello", deadline=12)) == ["one ", "two"]


def test_nobody_begins_before_the_deadline(clock):
    """The documented words, and an empty stream."""
    factory, _ = chain(clock, [SILENT], [SILENT], **ONCE)
    response = factory.stream_content("hello", deadline=12).response

    told = "timeout before the first token"
    assert response.error == (
        f"LLM deadline of 12 s passed: [gemini: {told}, claude: {told}]"
    )
    assert clock.now == 1012


def test_a_deadline_that_is_over_asks_nobody(clock):
    """What is left of a caller's time may be nothing."""
    factory, fakes = chain(clock, ["hi"])
    response = factory.stream_content("hello", deadline=0).response

    assert not response.success
    assert calls(fakes) == [0]


def test_streams_that_break_off_open_the_circuit(clock):
    """A provider that never gets to an end does not answer."""
    factory, fakes = chain(clock, [["one ", BROKEN]], ["hi"])
    for _ in range(5):
        interruption(factory.stream_content("hello"))
    stream = factory.stream_content("hello")

    assert list(stream) == ["hi"]
    assert calls(fakes) == [5, 1]
    assert stream.response.attempts[0].outcome == "cooldown"


@pytest.mark.parametrize(
    ("script", "config", "deadline"),
    [
        ([["one ", SILENT]], {"LLM_STALL_TIMEOUT": 2}, None),
        ([["one ", SILENT]], {"LLM_STALL_TIMEOUT": 2}, 25),
        ([["one ", SILENT]], {"LLM_STALL_TIMEOUT": 2}, 6),
        ([SILENT], {"LLM_FIRST_TOKEN_TIMEOUT": 2}, None),
        ([SILENT], {"LLM_FIRST_TOKEN_TIMEOUT": 2}, 25),
    ],
)
def test_silence_beyond_its_limit_opens_the_circuit(clock, script, config, deadline):
    """A hurried caller changes nothing where the limit was the app's own."""
    factory, fakes = chain(clock, script, ["hi"], **ONCE, **config)
    for _ in range(5):
        stream = factory.stream_content("hello", deadline=deadline)
        if "LLM_STALL_TIMEOUT" in config:
            interruption(stream)
        else:
            assert list(stream) == ["hi"]
    list(factory.stream_content("hello", deadline=deadline))

    assert calls(fakes)[0] == 5


def test_a_caller_in_a_hurry_blames_nobody(clock):
    """Who gives a provider a second only learns nothing of it."""
    factory, fakes = chain(clock, [SILENT], ["hi"], **ONCE)
    for _ in range(8):
        assert list(factory.stream_content("hello", deadline=1.5)) == ["hi"]

    assert calls(fakes)[0] == 8
    assert resting(factory) is None


def test_a_complete_stream_forgives(clock):
    """Failures count in a row."""
    bad = ["one ", BROKEN]
    factory, fakes = chain(clock, [bad, bad, bad, bad, "hi", bad, bad, bad, bad, "hi"])
    for _ in range(2):
        for _ in range(4):
            interruption(factory.stream_content("hello"))
        assert list(factory.stream_content("hello")) == ["hi"]

    assert calls(fakes) == [10]


def test_an_abandoned_stream_says_nothing_of_its_provider(clock):
    """It is no failure, and no answer that would make up for failures either."""
    bad = ["one ", BROKEN]
    factory, _ = chain(clock, [bad, bad, bad, bad, "one two", bad, "hi"], ["hi"])
    for _ in range(4):
        interruption(factory.stream_content("hello"))
    factory.stream_content("hello").close()
    assert resting(factory) is None
    interruption(factory.stream_content("hello"))

    assert resting(factory).startswith("cooling down after connection error")
    factory, _ = chain(clock, ["one two"])
    for _ in range(9):
        factory.stream_content("hello").close()
    assert resting(factory) is None


def rested(clock, *after):
    """Return a factory whose primary has rested, and is half open now."""
    bad = [["one ", BROKEN]] * 5
    factory, fakes = chain(clock, [*bad, *after], ["hi"])
    for _ in range(5):
        interruption(factory.stream_content("hello"))
    clock.now += 60
    return factory, fakes


def test_the_first_text_of_a_probe_lets_others_in(clock):
    """It is a sign of life: nobody waits for the last text."""
    factory, _ = rested(clock, "one two", "again")
    probe = factory.stream_content("hello")
    other = factory.stream_content("hello")

    assert (probe.provider_name, other.provider_name) == ("gemini", "gemini")
    assert resting(factory) is None
    assert list(probe) == ["one ", "two"]


LONG = "more " * _MOST_AHEAD  # its thread waits until somebody reads


@pytest.mark.parametrize("way", ["closed", "forgotten"])
@pytest.mark.parametrize("answer", ["one two", LONG, ["one ", SILENT]], ids=len)
def test_a_probe_that_is_abandoned_after_its_first_text_has_shown_life(
    clock, way, answer
):
    """Whoever comes next is taken there, and nothing is held."""
    factory, _ = rested(clock, answer, "one two")
    probe = factory.stream_content("hello")
    assert probe.provider_name == "gemini"
    texts = probe._opened.texts
    if way == "closed":
        probe.close()
    del probe
    until(lambda: texts.over)

    again = factory.stream_content("hello")
    assert again.provider_name == "gemini"
    list(again)
    assert resting(factory) is None


def test_a_probe_that_breaks_off_rests_on(clock):
    """Its first text was not the answer."""
    factory, _ = rested(clock, ["one ", BROKEN])
    interruption(factory.stream_content("hello"))

    assert resting(factory).startswith("cooling down")


def test_a_probe_s_caller_that_is_ended_releases_it(clock):
    """Ctrl-C before the first text, too."""
    factory, _ = rested(clock, KeyboardInterrupt, "one two")
    with pytest.raises(KeyboardInterrupt):
        factory.stream_content("hello")
    clock.now += 20

    assert factory.stream_content("hello").provider_name == "gemini"


def test_a_quota_that_is_told_in_a_stream_is_heeded(clock):
    """A 429 inside of a 200 says when to come back, and all calls know it."""
    script = [["one ", QuotaError(retry_after=30)], "hi"]
    factory, _ = chain(clock, script, ["claude's"])
    interruption(factory.stream_content("hello"))

    assert factory.generate_content("hello").content == "claude's"
    clock.now += 31
    assert factory.generate_content("hello").content == "hi"


@pytest.mark.parametrize("blocked", [True, False])
def test_who_is_gone_before_the_first_text_is_not_asked_for(blocked):
    """A client that hangs up while the provider thinks ends the call."""
    fakes = [FakeProvider(Delay(20), name="first"), FakeProvider(name="second")]
    config = {"LLM_FALLBACK_ON_BLOCKED": blocked}
    factory = LLMFactory(fakes[0], fakes[1:], config=config)
    gone = threading.Event()
    threading.Timer(0.1, gone.set).start()
    stream = factory.stream_content("hello", is_gone=gone.is_set)

    assert stream.response.metadata["error_kind"] == "closed"
    assert calls(fakes) == [1, 0]


def test_the_deadline_ends_a_stream_whose_reader_is_too_slow(clock):
    """Texts that wait do not buy time, where the provider never comes to an end."""
    factory, _ = chain(clock, [["word "] * 10 * _MOST_AHEAD], ["unused"])
    stream = factory.stream_content("hello", deadline=20)
    seen = [next(stream), next(stream)]
    clock.now += 20
    error = interruption(stream)

    assert (error.text, error.error.kind) == ("".join(seen), "deadline")
    assert error.error.reason == "deadline of 20 s passed"
    assert resting(factory) is None


def test_a_slow_reader_s_deadlines_blame_nobody(clock):
    """The provider would have gone on."""
    factory, fakes = chain(clock, [["word "] * 10 * _MOST_AHEAD], ["unused"])
    for _ in range(8):
        stream = factory.stream_content("hello", deadline=20)
        clock.now += 20
        interruption(stream)

    assert calls(fakes) == [8, 0]
    assert resting(factory) is None


def test_what_a_finished_provider_has_left_may_be_read_after_the_deadline(clock):
    """It is there, and whole."""
    factory, _ = chain(clock, [["one ", "two ", "three"]])
    stream = factory.stream_content("hello", deadline=20)
    until(lambda: stream._opened.texts.over)
    clock.now += 100

    assert list(stream) == ["one ", "two ", "three"]
    assert stream.response.success


def test_who_has_left_is_not_waited_for_between_retries(clock, caplog):
    """No provider is asked again for nobody, and no further one."""
    caplog.set_level(logging.INFO, "flask_llm")
    factory, fakes = chain(clock, [BROKEN], ["unused"], LLM_RETRY_DELAY=60)
    stream = factory.stream_content("hello", is_gone=lambda: clock.now >= 1001)

    assert clock.now == 1001
    assert calls(fakes) == [1, 0]
    kinds = [each.outcome for each in stream.response.attempts]
    assert kinds == ["transient", "closed"]
    assert stream.response.metadata["error_kind"] == "closed"
    loud = [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]
    assert loud == ["gemini connection error, retrying in 60 s"]


def test_who_has_left_before_anybody_was_asked(clock, caplog):
    """A view that does something else first may come too late; that is no failure."""
    caplog.set_level(logging.INFO, "flask_llm")
    factory, fakes = chain(clock, ["unused"], ["unused"])
    stream = factory.stream_content("hello", is_gone=lambda: True)

    assert calls(fakes) == [0, 0]
    assert [each.outcome for each in stream.response.attempts] == ["closed"]
    assert {each.levelno for each in caplog.records} == {logging.INFO}


def test_who_has_left_is_not_taken_to_the_next_provider(clock):
    """Nor if the first one has failed without any wait."""
    gone = []
    factory, fakes = chain(clock, [lambda _: gone.append(1) or 1 / 0], ["unused"])
    stream = factory.stream_content("hello", is_gone=lambda: bool(gone))

    assert calls(fakes) == [1, 0]
    assert [each.outcome for each in stream.response.attempts] == ["unknown", "closed"]


def test_in_a_restart_each_provider_is_asked_once(clock):
    """Somebody looks at half an answer, and would have to wait for each retry."""
    factory, fakes = chain(clock, [["one ", BROKEN]], [BROKEN], ["uno"])
    texts = list(factory.stream_content("hello", on_interrupt="restart"))

    assert texts == ["one ", "", "uno"]
    assert (texts[1].provider, texts[1].error) == ("third", "connection error")
    assert calls(fakes) == [1, 1, 1]
    assert clock.waits == []


def test_a_restart_takes_no_retries_from_the_next_call(clock):
    """Nor from the beginning of its own, where nobody has seen anything."""
    factory, fakes = chain(clock, [BROKEN, ["one ", BROKEN], BROKEN, "two"], ["uno"])
    for seen in (["one ", "", "uno"], ["two"]):
        stream = factory.stream_content("hello", on_interrupt="restart")
        assert list(stream) == seen

    assert calls(fakes) == [4, 1]
    assert clock.waits == [5, 5]
