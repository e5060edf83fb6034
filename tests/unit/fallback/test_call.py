"""One prompt from its filters to its response: what is told of it, and how often."""

import pytest
from pydantic import BaseModel

from flask_llm import LLMFactory, LLMResponse, StreamInterrupted
from flask_llm.errors import QuotaError, SchemaError, TransientError
from flask_llm.signals import attempt_made, generation_finished
from flask_llm.testing import FakeProvider

BROKEN = TransientError(reason="connection error")
ONCE = {"LLM_MAX_RETRIES": 1}


class Invoice(BaseModel):
    number: int


GOOD = '{"number": 7}'
WRONG = '{"number": "seven"}'


def chain(clock, *scripts, **config):
    """Return a factory over fake providers "gemini", "claude", "third", and those."""
    fakes = [
        FakeProvider(*script, name=name, clock=clock)
        for name, script in zip(["gemini", "claude", "third"], scripts, strict=False)
    ]
    return LLMFactory(fakes[0], fakes[1:], config=config, clock=clock), fakes


def counted(text, taken, given, **more):
    """Return an answer that has cost something."""
    usage = {
        "input_tokens": taken,
        "output_tokens": given,
        "total_tokens": taken + given,
    }
    return LLMResponse(True, text, "x", None, {"usage": usage, **more})


@pytest.fixture
def heard():
    """Every attempt and every end that a signal tells of."""
    events = []

    def attempt(sender, event):
        events.append((event.attempt.provider, event.attempt.outcome))

    def finished(sender, event):
        events.append(("finished", event.response.success))

    attempt_made.connect(attempt)
    generation_finished.connect(finished)
    yield events
    attempt_made.disconnect(attempt)
    generation_finished.disconnect(finished)


def test_a_stream_is_told_of_when_it_is_over(heard, clock):
    """Once for each attempt, and once for the whole."""
    factory, _ = chain(clock, [QuotaError()], ["one two"])
    stream = factory.stream_content("hello")
    assert heard == [("gemini", "quota")]
    list(stream)
    stream.close()
    del stream

    assert heard == [("gemini", "quota"), ("claude", "success"), ("finished", True)]


@pytest.mark.parametrize("way", ["closed", "twice", "with"])
def test_a_closed_stream_is_told_of_once(heard, clock, way):
    """Statistics count what was asked for, not what was read."""
    factory, _ = chain(clock, ["one two"])
    stream = factory.stream_content("hello")
    if way in ("closed", "twice"):
        stream.close()
    if way == "twice":
        stream.close()
    if way == "with":
        with stream:
            next(stream)
    del stream

    assert heard == [("gemini", "closed"), ("finished", False)]


@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
def test_a_broken_stream_is_told_of_once(heard, clock, on_interrupt):
    """With all who were asked."""
    factory, _ = chain(clock, [["one ", BROKEN]], [QuotaError()])
    with pytest.raises(StreamInterrupted):
        list(factory.stream_content("hello", on_interrupt=on_interrupt))

    switched = [("claude", "quota")] if on_interrupt == "restart" else []
    assert heard == [("gemini", "transient"), *switched, ("finished", False)]


def test_a_restarted_stream_is_told_of_once(heard, clock):
    """The whole was a success, one of its attempts was none."""
    factory, _ = chain(clock, [["one ", BROKEN]], ["uno"])
    list(factory.stream_content("hello", on_interrupt="restart"))

    assert heard == [
        ("gemini", "transient"),
        ("claude", "success"),
        ("finished", True),
    ]


@pytest.mark.parametrize("prompt", ["hello", " "])
def test_an_empty_stream_is_told_of_once(heard, clock, prompt):
    """Whether all failed or nobody was asked."""
    factory, _ = chain(clock, [QuotaError()])
    list(factory.stream_content(prompt))

    asked = [("gemini", "quota")] if prompt == "hello" else []
    assert heard == [*asked, ("finished", False)]


def test_the_latest_provider_is_the_one_whose_stream_was_complete(clock):
    """Who broke off has not answered."""
    factory, fakes = chain(clock, [["one ", BROKEN], QuotaError()], ["uno"])
    with pytest.raises(StreamInterrupted):
        list(factory.stream_content("hello"))
    assert factory.current_provider is fakes[0]
    list(factory.stream_content("hello"))

    assert factory.current_provider is fakes[1]


def test_a_good_answer_is_parsed(clock):
    """The model's object, and the text as it came."""
    factory, fakes = chain(clock, [GOOD])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.parsed == Invoice(number=7)
    assert response.content == GOOD
    assert fakes[0].calls[0].schema.json["properties"].keys() == {"number"}


def test_a_wrong_answer_is_asked_for_once_more(heard, clock):
    """The model is told what was wrong, as the user's turn; no wait is needed."""
    factory, fakes = chain(clock, [WRONG, GOOD], ["unused"])
    response = factory.generate_content("hello", schema=Invoice, system="Be exact.")

    assert response.parsed == Invoice(number=7)
    first, second = fakes[0].calls
    assert [each.role for each in second.messages] == ["user", "assistant", "user"]
    assert second.messages[0] == first.messages[0]
    assert second.messages[1].text == WRONG
    assert "number" in second.messages[2].text
    assert second.system == "Be exact."
    assert second.fault is None
    assert clock.waits == []
    assert heard == [
        ("gemini", "bad_answer"),
        ("gemini", "success"),
        ("finished", True),
    ]


def test_one_correction_and_then_the_next_provider(clock):
    """Who gets it wrong twice is left, and the next one begins with a clean request."""
    factory, fakes = chain(clock, [WRONG], [WRONG, GOOD])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.parsed == Invoice(number=7)
    assert [len(each.calls) for each in fakes] == [2, 2]
    assert fakes[1].calls[0] == fakes[0].calls[0]
    kinds = [each.outcome for each in response.attempts]
    assert kinds == ["bad_answer"] * 3 + ["success"]


def test_nobody_gets_it_right(clock):
    """The response says so, and a caller who wants an exception gets one."""
    factory, _ = chain(clock, [WRONG], ["no JSON"])
    response = factory.generate_content("hello", schema=Invoice)

    assert (response.success, response.parsed) == (False, None)
    assert response.metadata["error_kind"] == "bad_answer"
    assert "claude: answer" in response.error


def test_all_attempts_cost(clock):
    """Answers that were thrown away are on the bill."""
    script = [counted(WRONG, 10, 1), counted(GOOD, 30, 2)]
    factory, _ = chain(clock, script)
    response = factory.generate_content("hello", schema=Invoice)

    assert response.metadata["usage"] == {
        "input_tokens": 40,
        "output_tokens": 3,
        "total_tokens": 43,
    }
    assert [each.usage["total_tokens"] for each in response.attempts] == [11, 32]


def test_a_failed_call_costs_too(clock):
    """Also where no answer was any good."""
    factory, _ = chain(clock, [counted(WRONG, 10, 1)], [counted(WRONG, 100, 1)])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.metadata["usage"]["total_tokens"] == 2 * 11 + 2 * 101


def test_cut_json_is_not_asked_for_again(clock):
    """It would be cut once more; another model may be briefer."""
    cut = LLMResponse(True, '{"number":', "x", None, {"finish_reason": "length"})
    factory, fakes = chain(clock, [cut], [GOOD])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.parsed == Invoice(number=7)
    assert [len(each.calls) for each in fakes] == [1, 1]
    assert "cut" in response.attempts[0].error


def test_a_correction_keeps_the_retries(clock):
    """A lost connection after it is retried, with what the model was told."""
    factory, fakes = chain(clock, [WRONG, BROKEN, GOOD])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.parsed == Invoice(number=7)
    assert clock.waits == [5]
    assert len(fakes[0].calls[2].messages) == 3


def test_a_correction_needs_time(clock):
    """No time, no second try."""
    factory, fakes = chain(clock, [lambda _: clock.sleep(2) or WRONG])
    response = factory.generate_content("hello", schema=Invoice, deadline=2)

    assert not response.success
    assert len(fakes[0].calls) == 1


def test_a_wrong_answer_is_no_failure_of_the_provider(clock):
    """It works; its circuit stays closed."""
    factory, fakes = chain(clock, [WRONG])
    for _ in range(6):
        factory.generate_content("hello", schema=Invoice)

    assert len(fakes[0].calls) == 12


def test_the_error_keeps_the_answer_in_copies():
    """What leaves the chain is a copy; the correction needs the text."""
    error = SchemaError("no", answer=WRONG, correctable=True).copy(provider="x")

    assert (error.answer, error.correctable, error.provider) == (WRONG, True, "x")


ODD = [None, "7", True]


@pytest.mark.parametrize("first", ODD, ids=repr)
@pytest.mark.parametrize("second", [*ODD, 7], ids=repr)
def test_odd_counts_of_two_attempts_are_not_added_up(clock, first, second):
    """What a plug-in counts wrongly is left out of the bill, and breaks no call."""

    def answer(text, count):
        usage = {"input_tokens": count, "output_tokens": 0, "total_tokens": count}
        return LLMResponse(True, text, "x", None, {"usage": usage})

    factory, _ = chain(clock, [answer(WRONG, first), answer(GOOD, second)])
    response = factory.generate_content("hello", schema=Invoice)

    assert response.parsed == Invoice(number=7)
    counted_twice = response.attempts[0].usage, response.attempts[1].usage
    assert counted_twice == (None, response.metadata["usage"] if second == 7 else None)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_count_of_a_stream_is_no_usage(clock, odd):
    """After an attempt that was counted, too."""
    script = [["one ", BROKEN]]
    usage = {"input_tokens": 3, "output_tokens": odd, "total_tokens": 3}
    told = LLMResponse(True, "uno", "x", None, {"usage": usage})
    factory, _ = chain(clock, script, [told])
    stream = factory.stream_content("hello", on_interrupt="restart")

    assert list(stream) == ["one ", "", "uno"]
    assert stream.response.success
    assert [each.usage for each in stream.attempts] == [None, None]


def test_a_prompt_filter_that_fails_is_not_the_prompts_fault(clock):
    """Nobody is asked, and the response does not blame the user's text."""
    factory, (gemini,) = chain(clock, ["hi"])

    @factory.prompt_filter
    def broken(request):
        raise KeyError(request.text)

    response = factory.generate_content("my secret")
    assert response.metadata["error_kind"] == "unknown"
    assert response.error == "No provider was asked: prompt filter broken failed"
    assert gemini.calls == []
