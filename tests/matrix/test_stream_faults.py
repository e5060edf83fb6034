"""The faults of streams, through the whole factory, on every provider's real SDK.

Before the first text a fault is invisible: the next provider answers. After it the
caller is told. No cut answer is ever a success, nothing takes long, and afterwards the
provider is as it was: its connection closed, its only slot free.

The limits are of a minute. Where a fault is a silence, the clock lets nobody wait for
its end, so that no answer of a busy machine is too late.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from faultserver import FaultServer, faults
from faultserver.steps import Step
from hasty_clock import HastyClock
from products import each_in_turn
from real_time import AT_ONCE_S
from wired import WIRES, loaded, settings

from flask_llm import LLMFactory
from flask_llm.errors import StreamInterrupted
from flask_llm.fallback.stream import LLMStream, Restart
from flask_llm.resilience.clock import SYSTEM, Clock

TEXT = "Short waves scatter most."
OTHER_TEXT = "The sky is blue."
ANSWER = faults.OK(text=TEXT)
LIMIT_S = 60

# Each is the fallback of one other, which speaks another API.
_RING = ["claude", "openai", "cohere", "ollama", "genai", "vertex", "gemini"]
FALLBACK = dict(zip(_RING, [*_RING[1:], _RING[0]], strict=True))
EACH = pytest.mark.parametrize("name", WIRES)

_LATE = "transient", "timeout before the first token"
_BROKEN = "transient", "malformed answer"
_LOST = "transient", "connection error"
_ENDLESS = "bad_answer", "stream without an end"
_QUOTA = "quota", "quota exceeded"
# Only some APIs repeat the status in an event.
_OVERLOADED = "transient", "server error|temporary failure"
_THOUGHT = "bad_answer", "thinking used up max_tokens before any text"

# Before any text: how the attempt ends, and a pattern for the reason.
BEFORE: dict[Step, tuple[str, str]] = {
    faults.status(429): _QUOTA,
    faults.status(503): ("transient", "server error 503"),
    faults.error_event(429, after=0): _QUOTA,
    faults.error_event(529, after=0): _OVERLOADED,
    faults.hang: _LATE,
    faults.stall_stream(0): _LATE,
    faults.slow_first_byte(2 * LIMIT_S, ANSWER): _LATE,
    faults.slow_stream(2 * LIMIT_S, ANSWER): _LATE,
    faults.reset_before_headers: _LOST,
    faults.close_without_answer: _LOST,
    faults.cut_stream(0): _LOST,
    faults.broken_chunk(0): _BROKEN,
    faults.html(200): _BROKEN,
    faults.json_instead_of_sse: _BROKEN,
    faults.empty_text: ("bad_answer", "empty answer"),
    faults.thought_only: _THOUGHT,
}

_STALLED = "transient", f"stalled for {LIMIT_S} s"

# After some text.
AFTER: dict[Step, tuple[str, str]] = {
    faults.cut_stream(1, step=ANSWER): _LOST,
    faults.cut_stream(2, "reset", ANSWER): _LOST,
    faults.cut_stream(2, "clean", ANSWER): _ENDLESS,
    faults.stall_stream(2, ANSWER): _STALLED,
    faults.broken_chunk(2): _BROKEN,
    faults.missing_terminator(text=TEXT): _ENDLESS,
    faults.error_event(429, after=2): _QUOTA,
    faults.error_event(529, after=2): _OVERLOADED,
}


# The whole answer is there, and then its connection does not end, or not well.
AFTER_THE_END = [faults.left_open(end, ANSWER) for end in ("stall", "close", "reset")]


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with loaded(WIRES):
        yield


class Pair:
    """A provider, its fallback, and the server that both ask.

    Attributes:
        llm: Their chain; each of them has one slot.
        spare: The fallback's name.
        clock: Its clock, unless there is another one.
    """

    def __init__(
        self,
        server: FaultServer,
        name: str,
        limit: float = LIMIT_S,
        clock: Clock | None = None,
    ) -> None:
        self.server, self.name, self.spare = server, name, FALLBACK[name]
        self.clock = HastyClock()
        few = {"max_concurrency": 1}
        config = {
            "LLM_FIRST_TOKEN_TIMEOUT": limit,
            "LLM_STALL_TIMEOUT": limit,
            "LLM_MAX_RETRIES": 1,
            "LLM_BREAKER_FAILURES": 0,
        }
        config |= settings(name, server.url, LIMIT_S, **few)
        config |= settings(self.spare, server.url, LIMIT_S, **few)
        clock = clock or self.clock
        self.llm = LLMFactory(name, [self.spare], config=config, clock=clock)
        server.script(WIRES[self.spare], faults.OK(text=OTHER_TEXT))

    def fails(self, step: Step) -> None:
        self.server.script(WIRES[self.name], step)

    def falls_silent(self) -> None:
        """Let nobody wait any longer for who was asked last: nothing more comes."""
        self.clock.is_meant = lambda: bool(self.asked)

    @property
    def asked(self) -> list:
        return self.server.attempts(WIRES[self.name])

    @property
    def spare_asked(self) -> list:
        return self.server.attempts(WIRES[self.spare])

    def stream(self, **arguments) -> LLMStream:
        return self.llm.stream_content("Why is the sky blue?", **arguments)

    def is_as_before(self) -> None:
        """See that nothing is left of a failed stream, and the provider answers."""
        # The SDK's own timeout would end it half a second later than the chain's.
        assert self.asked[-1].wait(), "the connection is still open"
        self.fails(ANSWER)
        with self.stream() as stream:
            assert "".join(stream) == TEXT
        assert stream.response.provider_name == self.name


@pytest.fixture
def pair(name):
    with FaultServer() as server:
        yield Pair(server, name)


@contextmanager
def at_once() -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < AT_ONCE_S


def outcomes(stream: LLMStream) -> list[tuple[str, str]]:
    return [(each.provider, each.outcome) for each in stream.response.attempts]


def roles(body: dict) -> list[str]:
    """Return who says something in a request, in the words of its API."""
    return [each["role"] for each in body.get("messages") or body["contents"]]


@each_in_turn("name, step", list(WIRES), list(BEFORE))
def test_before_any_text_the_next_provider_answers(pair, name, step):
    """The caller sees that provider's answer only, and the attempts tell why."""
    if name == "ollama" and step is faults.json_instead_of_sse:
        pytest.skip("an answer in one line is a whole stream there")
    pair.fails(step)
    if BEFORE[step] is _LATE:
        pair.falls_silent()
    with at_once(), pair.stream() as stream:
        texts = list(stream)
    assert "".join(texts) == OTHER_TEXT
    assert not any(isinstance(each, Restart) for each in texts)
    assert stream.response.success
    assert outcomes(stream) == [(name, BEFORE[step][0]), (pair.spare, "success")]
    assert re.match(BEFORE[step][1], stream.response.attempts[0].error)
    if BEFORE[step] is _LATE:
        (limit,) = pair.clock.given_up
        assert LIMIT_S - AT_ONCE_S < limit <= LIMIT_S
    pair.is_as_before()


@each_in_turn("name, step", list(WIRES), list(AFTER))
def test_after_some_text_the_caller_is_told(pair, name, step):
    """It gets what came, as a failure, and nobody else is asked."""
    pair.fails(step)
    broken = pytest.raises(StreamInterrupted)
    with at_once(), pair.stream() as stream, broken as caught:
        if AFTER[step] is _STALLED:
            pair.falls_silent()
        list(stream)
    interrupted = caught.value
    assert interrupted.text
    assert interrupted.text == stream.text
    kind, reason = AFTER[step]
    assert interrupted.error.kind == kind
    assert re.match(reason, interrupted.error.summary)
    assert not stream.response.success
    assert outcomes(stream) == [(name, kind)]
    assert pair.spare_asked == []
    pair.is_as_before()


@each_in_turn("name, step", list(WIRES), list(AFTER))
def test_after_some_text_the_answer_may_begin_anew(pair, name, step):
    """A mark parts the two answers, and the second provider is not given the first."""
    pair.fails(step)
    with at_once(), pair.stream(on_interrupt="restart") as stream:
        if AFTER[step] is _STALLED:
            pair.falls_silent()
        texts = list(stream)
    (at,) = [n for n, each in enumerate(texts) if isinstance(each, Restart)]
    assert "".join(texts[:at])
    assert texts[at].provider == pair.spare
    assert "".join(texts[at:]) == OTHER_TEXT == stream.text == stream.response.content
    assert outcomes(stream) == [(name, AFTER[step][0]), (pair.spare, "success")]
    (asked,) = pair.spare_asked
    assert roles(asked.json) == ["user"]
    pair.is_as_before()


@each_in_turn("name, step", list(WIRES), AFTER_THE_END)
def test_what_comes_after_the_end_is_nobody_s_failure(pair, name, step):
    """The API has said how the answer ended: it is whole, its tokens are counted."""
    pair.fails(step)
    with at_once(), pair.stream() as stream:
        assert "".join(stream) == TEXT
    assert outcomes(stream) == [(name, "success")]
    assert stream.response.usage is not None
    assert pair.spare_asked == []
    pair.is_as_before()


@EACH
def test_a_conversation_is_taken_over_as_it_is(pair, name):
    """What a provider said before it broke off is no turn of the next one's talk."""
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why is the sky blue?"},
    ]
    pair.fails(faults.cut_stream(2, step=ANSWER))
    with pair.llm.stream_content(talk, on_interrupt="restart") as stream:
        assert "".join(list(stream)[-1:])
    (asked,) = pair.spare_asked
    first, second, last = roles(asked.json)
    assert first == last == "user"
    assert second in {"assistant", "model"}


@EACH
def test_a_caller_who_leaves_stops_the_provider(pair, name):
    """The connection is closed at once; it is nobody's failure, and not retried."""
    pair.fails(faults.stall_stream(2, ANSWER))
    with pair.stream() as stream:
        next(stream)
    (asked,) = pair.asked
    assert asked.wait()
    assert asked.abandoned
    assert outcomes(stream) == [(name, "closed")]
    assert stream.response.metadata["error_kind"] == "closed"
    assert pair.spare_asked == []
    pair.is_as_before()


@pytest.mark.timing
def test_a_slow_stream_is_a_success():
    """The limits are of silences, not of the whole; nor are those of the SDKs."""
    limit = 0.5  # to which the SDK's gets half a second more
    words = "Short waves scatter most, and long ones hardly at all."
    found: dict[str, tuple] = {}

    def read(pair: Pair) -> None:
        with pair.stream() as stream:
            found[pair.name] = ("".join(stream), outcomes(stream))

    with FaultServer() as server:
        pairs = [Pair(server, name, limit, SYSTEM) for name in WIRES]
        server.script(faults.slow_stream(0.15, faults.OK(text=words)))
        readers = [threading.Thread(target=read, args=[each]) for each in pairs]
        for each in readers:
            each.start()
        for each in readers:
            each.join()
    assert found == {name: (words, [(name, "success")]) for name in WIRES}


@EACH
def test_all_fail_before_any_text(pair, name):
    """Then there is a response before a view has to begin its own."""
    pair.fails(faults.error_event(429, after=0))
    pair.server.script(WIRES[pair.spare], faults.hang)
    pair.clock.is_meant = lambda: bool(pair.spare_asked)
    with at_once(), pair.stream() as stream:
        assert stream.response is not None
        assert list(stream) == []
    assert not stream.response.success
    assert outcomes(stream) == [(name, "quota"), (pair.spare, "transient")]
    assert pair.spare_asked[-1].wait()
