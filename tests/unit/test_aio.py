"""The factory's calls for coroutines, under loops that come and go."""

import asyncio
import contextvars
import gc
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
from faultserver import FaultServer, faults
from flask import Flask, current_app, g, request
from real_time import AT_ONCE_S
from wired import WIRES, loaded, settings

from flask_llm import FlaskLLM, LLMFactory, LLMProvider, LLMResponse
from flask_llm.errors import StreamInterrupted, TransientError
from flask_llm.resilience.stream_reader import callers_cancellation
from flask_llm.signals import generation_finished, retry_scheduled
from flask_llm.testing import FakeProvider
from flask_llm.types import Request

ANSWER = faults.OK(text="one two three four")
A_MINUTE = 60.0


class Gate(FakeProvider):
    """A provider whose calls wait until they are let through."""

    def __init__(self, **options) -> None:
        super().__init__("through", **options)
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def generate_content(self, *args, **kwargs) -> LLMResponse:
        self.entered.release()
        assert self.open.wait(A_MINUTE)
        return super().generate_content(*args, **kwargs)


class Piecewise(LLMProvider):
    """A provider that streams what it is given, and raises what is no text."""

    needs_key = False

    def __init__(self, *pieces: str | Exception) -> None:
        self._pieces = pieces
        self.closed = threading.Event()

    def generate_content(self, *args, **kwargs) -> LLMResponse:
        return LLMResponse(True, "".join(map(str, self._pieces)), "piecewise")

    def get_provider_name(self) -> str:
        return "piecewise"

    def is_available(self) -> bool:
        return True

    def stream(self, request: Request) -> Generator[str, None, LLMResponse]:
        try:
            for each in self._pieces:
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            self.closed.set()
        return LLMResponse(True, "", "piecewise")


def chain(*providers: LLMProvider, **config) -> LLMFactory:
    primary, *fallbacks = providers
    return LLMFactory(primary, fallbacks, config=config)


def claude(server: FaultServer, *fallbacks: LLMProvider, **config) -> LLMFactory:
    config = settings("claude", server.url, A_MINUTE) | {"LLM_MAX_RETRIES": 1} | config
    return LLMFactory("claude", fallbacks, config=config)


async def until(true: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    while not true():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def timeout_when(true: Callable[[], object]) -> AsyncIterator[None]:
    """Let a timeout of asyncio's pass as soon as something is true."""

    async def watch() -> None:
        await until(true)
        limit.reschedule(0)

    async with asyncio.timeout(A_MINUTE) as limit:
        watching = asyncio.create_task(watch())
        yield
        await watching


def entered(gate: Gate) -> Callable[[], bool]:
    """Return what tells once of each call that has got to a gate."""
    return lambda: gate.entered.acquire(blocking=False)


async def texts(llm: LLMFactory, **arguments) -> list[str]:
    async with await llm.stream_content_async("Hi", **arguments) as stream:
        return [text async for text in stream]


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """Load the SDKs, which are not what is timed here."""
    with loaded(WIRES):
        yield


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def view_of():
    """Return what makes an app with one async view."""

    def view_of(view, *providers, **config):
        app = Flask("testapp")
        primary, *fallbacks = providers
        app.config |= {
            "LLM_PRIMARY_PROVIDER": primary,
            "LLM_FALLBACK_PROVIDERS": fallbacks,
        } | config
        FlaskLLM(app)
        app.add_url_rule("/", view_func=view)
        return app.test_client()

    return view_of


class TestTheCalls:
    def test_an_answer_is_awaited(self, fake):
        """A coroutine gets what another caller gets, with the same arguments."""
        llm = chain(fake)
        answer = asyncio.run(
            llm.generate_content_async("Hi", 0.5, max_tokens=7, system="Be brief.")
        )
        assert answer.content == "a fake answer"
        (asked,) = fake.calls
        assert (asked.temperature, asked.max_tokens) == (0.5, 7)

    def test_a_stream_is_awaited(self):
        """Its texts come one by one; then there is the response."""

        async def main():
            async with await llm.stream_content_async("Hi") as stream:
                assert stream.response is None
                assert stream.attempts == ()
                assert await anext(stream) == "a"
                assert stream.text == "a"
                assert stream.provider_name == "piecewise"
                assert [text async for text in stream] == ["b", "c"]
            assert stream.attempts == stream.response.attempts
            return stream.response

        llm = chain(Piecewise("a", "b", "c"))
        response = asyncio.run(main())
        assert response.content == "abc"
        assert [each.outcome for each in response.attempts] == ["success"]

    @pytest.mark.parametrize("name", ["generate_content", "stream_content"])
    def test_the_signature_is_that_of_the_other(self, name):
        """Editors and `help` show the arguments of the call without a loop."""
        method = getattr(LLMFactory, f"{name}_async")
        shape = inspect.signature(method)
        assert (
            shape.parameters == inspect.signature(getattr(LLMFactory, name)).parameters
        )
        assert method.__name__ == f"{name}_async"
        assert name in method.__doc__
        assert inspect.iscoroutinefunction(method)

    def test_a_wrong_argument_is_raised_to_the_task(self, fake):
        """As without a loop it is the developer's mistake, not a response."""
        with pytest.raises(TypeError, match="max_tokens"):
            asyncio.run(chain(fake).generate_content_async("Hi", max_tokens="7"))
        with pytest.raises(ValueError, match="on_interrupt"):
            asyncio.run(chain(fake).stream_content_async("Hi", on_interrupt="no"))

    def test_a_subclass_is_asked_by_its_own_method(self, fake):
        """Whoever changes the call changes both."""

        class Loud(LLMFactory):
            def generate_content(self, *args, **kwargs):
                answer = super().generate_content(*args, **kwargs)
                return LLMResponse(True, answer.content.upper(), "loud")

        llm = Loud(fake, [], config={})
        assert asyncio.run(llm.generate_content_async("Hi")).content == "A FAKE ANSWER"

    def test_failures_fall_back(self):
        """The chain is the same."""
        llm = chain(FakeProvider(TransientError()), FakeProvider("b", name="second"))
        assert asyncio.run(texts(llm, max_retries=1)) == ["b"]
        answer = asyncio.run(llm.generate_content_async("Hi", max_retries=1))
        assert answer.provider_name == "second"

    def test_total_failure_is_a_response(self):
        """An async stream without a text says why, before the view has returned."""

        async def main():
            stream = await llm.stream_content_async("Hi", max_retries=1)
            assert [text async for text in stream] == []
            return stream.response

        llm = chain(FakeProvider(TransientError()))
        assert asyncio.run(main()).success is False

    def test_a_break_is_raised(self):
        """What came before it, and why, is told."""

        async def main():
            async with await llm.stream_content_async("Hi") as stream:
                with pytest.raises(StreamInterrupted) as caught:
                    [text async for text in stream]
                assert stream.response.success is False
                return caught.value

        llm = chain(Piecewise("a", TransientError()), FakeProvider("b"))
        interrupted = asyncio.run(main())
        assert interrupted.text == "a"
        assert interrupted.error.kind == "transient"

    def test_a_restart_is_marked(self):
        """It is another provider's answer, from its beginning."""
        llm = chain(Piecewise("a", TransientError()), FakeProvider("b", name="second"))
        first, mark, second = asyncio.run(texts(llm, on_interrupt="restart"))
        assert (first, second) == ("a", "b")
        assert mark.provider == "second"


class TestLoops:
    def test_one_loop_after_another(self, server):
        """Nothing is bound to a loop that has ended."""
        server.script("anthropic", ANSWER)
        llm = claude(server)
        for _ in range(3):
            answer = asyncio.run(llm.generate_content_async("Hi"))
            assert answer.content == "one two three four"
            assert "".join(asyncio.run(texts(llm))) == "one two three four"

    def test_loops_at_the_same_time(self, server):
        """Threads may each have one."""
        server.script("anthropic", faults.ECHO)
        llm, found = claude(server), {}

        def run(number: int) -> None:
            answer = asyncio.run(llm.generate_content_async(f"n{number}"))
            found[number] = answer.content

        threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert found == {number: f"echo: n{number}" for number in range(8)}

    def test_a_loop_does_not_wait_at_its_end(self):
        """A call that was left is not a thread of the loop's executor."""

        async def main():
            task = asyncio.ensure_future(llm.generate_content_async("Hi"))
            await until(entered(gate))
            return task

        gate = Gate()
        llm = chain(gate)
        begin = time.monotonic()
        task = asyncio.run(main())
        assert time.monotonic() - begin < AT_ONCE_S
        assert task.cancelled()
        gate.open.set()

    def test_an_answer_for_a_loop_that_has_ended(self, recwarn):
        """It is dropped in silence."""
        gate = Gate()
        llm = chain(gate)
        loop = asyncio.new_event_loop()
        task = loop.create_task(llm.generate_content_async("Hi"))
        loop.run_until_complete(asyncio.sleep(0))
        assert gate.entered.acquire(timeout=A_MINUTE)
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
        gate.open.set()
        again = asyncio.run(llm.generate_content_async("Hi"))
        assert again.content == "through"
        assert [str(each.message) for each in recwarn] == []

    def test_the_loop_goes_on_meanwhile(self):
        """Other tasks run while a provider takes its time."""

        async def main():
            task = asyncio.ensure_future(llm.generate_content_async("Hi"))
            await until(entered(gate))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            gate.open.set()
            return await task

        gate = Gate()
        llm = chain(gate)
        assert asyncio.run(main()).content == "through"

    def test_many_calls_run_at_once(self):
        """Twenty gathered calls are twenty calls under way."""

        async def main():
            tasks = [llm.generate_content_async(f"n{n}") for n in range(20)]
            gathered = asyncio.gather(*tasks)
            for _ in range(20):
                await until(entered(gate))
            gate.open.set()
            return await gathered

        gate = Gate()
        llm = chain(gate)
        answers = asyncio.run(asyncio.wait_for(main(), A_MINUTE))
        assert [each.content for each in answers] == ["through"] * 20

    def test_a_limit_of_calls_at_once_holds(self):
        """Those beyond it wait in their threads, not in the loop, then move on."""

        class Narrow(Gate):
            max_concurrency = 2

        def ask():
            return asyncio.ensure_future(llm.generate_content_async("Hi"))

        async def main():
            first = [ask(), ask()]
            for _ in first:
                await until(entered(gate))
            others = await asyncio.gather(ask(), ask())
            assert not any(each.done() for each in first)
            gate.open.set()
            return [*await asyncio.gather(*first), *others]

        gate = Narrow()
        llm = chain(gate, FakeProvider("instead", name="second"))
        llm.entries[0].timeout = 0.05  # which nobody waits longer for a place
        answers = asyncio.run(main())
        assert [each.content for each in answers] == ["through"] * 2 + ["instead"] * 2


class TestContext:
    def test_variables_of_the_task_are_seen(self):
        """The thread runs in a copy of the task's context."""
        variable = contextvars.ContextVar("variable")

        async def main():
            variable.set("set")
            return await llm.generate_content_async("Hi")

        llm = chain(FakeProvider(lambda prompt: variable.get()))
        assert asyncio.run(main()).content == "set"

    def test_an_async_view_answers(self, view_of, server):
        """Again and again, each request in a loop of its own, over a real SDK."""

        async def view():
            answer = await current_app.llm.generate_content_async(request.args["q"])
            return answer.content or answer.error

        server.script("anthropic", faults.ECHO)
        client = view_of(view, "claude", **settings("claude", server.url))
        said = [client.get("/", query_string={"q": f"n{n}"}).text for n in range(3)]
        assert said == ["echo: n0", "echo: n1", "echo: n2"]

    def test_an_async_view_streams(self, view_of, server):
        """The stream of a request ends within its loop."""

        async def view():
            async with await current_app.llm.stream_content_async("Hi") as stream:
                return [text async for text in stream]

        server.script("anthropic", ANSWER)
        client = view_of(view, "claude", **settings("claude", server.url))
        for _ in range(2):
            assert "".join(client.get("/").json) == "one two three four"

    def test_filters_see_app_and_request(self, view_of):
        """`current_app`, `g` and `request` are the view's."""

        async def view():
            g.name = "g's"
            llm = current_app.llm

            @llm.prompt_filter
            def told(asked):
                words = f"{current_app.name} {g.name} {request.args['q']}"
                return replace(asked, prompt=words)

            async with await llm.stream_content_async("Hi") as stream:
                return [text async for text in stream]

        client = view_of(view, FakeProvider(lambda prompt: prompt))
        assert "".join(client.get("/?q=asked").json) == "testapp g's asked"


class TestCancelling:
    def test_a_cancelled_call_is_left_at_once(self):
        """Its task does not wait for the provider."""

        async def main():
            task = asyncio.ensure_future(llm.generate_content_async("Hi"))
            await until(entered(gate))
            begin = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - begin

        gate = Gate()
        llm = chain(gate)
        assert asyncio.run(main()) < AT_ONCE_S
        gate.open.set()

    def test_an_answer_for_a_cancelled_task_is_dropped(self):
        """It makes no noise in the loop."""

        async def main():
            loop, noise = asyncio.get_running_loop(), []
            loop.set_exception_handler(lambda loop, told: noise.append(told))
            task = asyncio.ensure_future(llm.generate_content_async("Hi"))
            await until(entered(gate))
            task.cancel()
            gate.open.set()
            await until(lambda: gate.calls)
            await asyncio.sleep(0.05)
            return noise

        gate = Gate()
        llm = chain(gate)
        assert asyncio.run(main()) == []

    def test_a_timeout_of_asyncio_holds(self):
        """For calls, and it is the caller's own error."""

        async def main():
            async with asyncio.timeout(0.05):
                await llm.generate_content_async("Hi")

        gate = Gate()
        llm = chain(gate)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert time.monotonic() - begin < AT_ONCE_S
        gate.open.set()

    @pytest.mark.parametrize("name", WIRES)
    def test_a_timeout_before_the_first_text_stops_the_provider(self, server, name):
        """The connection is closed, no other provider is asked, nobody is to blame."""

        async def main():
            async with timeout_when(lambda: server.attempts(WIRES[name])):
                await llm.stream_content_async("Hi")

        spare = FakeProvider("b", name="second")
        llm = LLMFactory(name, [spare], config=settings(name, server.url, A_MINUTE))
        server.script(WIRES[name], faults.hang)
        with told_of(llm) as responses, pytest.raises(TimeoutError):
            asyncio.run(main())
        attempt = attempt_of(server, name)
        assert attempt.wait()
        assert attempt.abandoned
        assert attempt.ended - attempt.at < AT_ONCE_S
        (response,) = await_some(responses)
        assert [each.outcome for each in response.attempts] == ["closed"]
        assert spare.calls == []
        server.script(WIRES[name], ANSWER)
        healthy = asyncio.run(llm.generate_content_async("Hi"))
        assert healthy.provider_name == name

    @pytest.mark.parametrize("name", WIRES)
    def test_a_timeout_after_some_text_stops_the_provider(self, server, name):
        """A task that is cancelled while it waits closes the stream."""

        async def main():
            stream = await llm.stream_content_async("Hi")
            assert await anext(stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):  # nothing more comes
                    await anext(stream)
            assert attempt_of(server, name).wait()
            await_some(responses)
            return stream

        server.script(WIRES[name], faults.stall_stream(1, ANSWER))
        llm = LLMFactory(name, [], config=settings(name, server.url, A_MINUTE))
        with told_of(llm) as responses:
            stream = asyncio.run(main())
        assert attempt_of(server, name).abandoned
        assert [each.outcome for each in stream.response.attempts] == ["closed"]
        assert stream.text.startswith("one")

    def test_leaving_the_block_stops_the_provider(self, server):
        """`async with` closes what is not over, and the response says so."""

        async def main():
            async with await llm.stream_content_async("Hi") as stream:
                async for _ in stream:
                    break
            assert [text async for text in stream] == []
            return stream.response

        server.script("anthropic", faults.stall_stream(2, ANSWER))
        llm = claude(server)
        response = asyncio.run(main())
        assert response.metadata["error_kind"] == "closed"
        assert attempt_of(server, "claude").wait()
        assert attempt_of(server, "claude").abandoned

    def test_a_stream_that_is_dropped_is_closed(self, server):
        """Nobody holds it any more: its connection goes too."""

        async def main():
            async for _ in await llm.stream_content_async("Hi"):
                break

        server.script("anthropic", faults.stall_stream(2, ANSWER))
        llm = claude(server)
        asyncio.run(main())
        gc.collect()
        assert attempt_of(server, "claude").wait()
        assert attempt_of(server, "claude").abandoned

    def test_a_cancelled_restart_stops_the_second_provider(self, server):
        """Whoever answers at that moment is stopped."""

        async def main():
            stream = await llm.stream_content_async("Hi", on_interrupt="restart")
            async with timeout_when(lambda: server.attempts("openai")):
                [text async for text in stream]

        server.script("anthropic", faults.cut_stream(1, step=ANSWER))
        server.script("openai", faults.hang)
        config = settings("claude", server.url, A_MINUTE)
        config |= settings("openai", server.url, A_MINUTE)
        llm = LLMFactory("claude", ["openai"], config=config)
        with pytest.raises(TimeoutError):
            asyncio.run(main())
        (attempt,) = server.attempts("openai")
        assert attempt.wait()
        assert attempt.abandoned

    def test_a_task_cancelled_in_a_retry_wait_is_the_last_one_asked_for(self):
        """The wait ends, and no provider is asked again for nobody."""

        async def main():
            async with timeout_when(lambda: waits):
                await llm.stream_content_async("Hi", retry_delay=A_MINUTE)

        def note(sender, event):
            waits.append(event.wait_s)

        first, spare = FakeProvider(TransientError()), FakeProvider(name="second")
        llm, waits = chain(first, spare), []
        begin = time.monotonic()
        with told_of(llm) as responses, retry_scheduled.connected_to(note):
            with pytest.raises(TimeoutError):
                asyncio.run(main())
            assert time.monotonic() - begin < AT_ONCE_S
        kinds = [each.outcome for each in responses[0].attempts]
        assert kinds == ["transient", "closed"]
        assert (len(first.calls), spare.calls) == (1, [])

    def test_a_task_cancelled_in_a_restart_s_wait_returns_at_once(self):
        """Even if the provider that is waited for cannot be stopped."""

        async def main():
            async with await llm.stream_content_async(
                "Hi", on_interrupt="restart"
            ) as stream:
                task = asyncio.ensure_future(anext(stream))
                assert await task == "a"
                task = asyncio.ensure_future(anext(stream))
                await until(entered(gate))
                begin = time.monotonic()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return stream.response, time.monotonic() - begin

        class Whole(Gate):
            stream = LLMProvider.stream

        gate = Whole(name="second")
        llm = chain(Piecewise("a", TransientError()), gate)
        response, seconds = asyncio.run(main())
        gate.open.set()
        assert seconds < AT_ONCE_S
        assert [each.outcome for each in response.attempts] == ["transient", "closed"]

    def test_closing_twice_is_harmless(self):
        """As is closing what is over."""

        async def main():
            stream = await llm.stream_content_async("Hi")
            await asyncio.gather(stream.aclose(), stream.aclose())
            await stream.aclose()
            return stream.response

        llm = chain(Piecewise("a", "b"))
        assert asyncio.run(main()).metadata["error_kind"] == "closed"

    def test_what_is_closed_has_its_response(self, server):
        """Even if the thread of a cancelled task is still busy with it."""

        async def main():
            stream = await llm.stream_content_async("Hi")
            assert await anext(stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):  # nothing more comes
                    await anext(stream)
            await stream.aclose()
            return stream.response

        def slow(sender, event):
            time.sleep(0.1)

        server.script("anthropic", faults.stall_stream(1, ANSWER))
        llm = claude(server)
        with generation_finished.connected_to(slow, sender=llm):
            assert asyncio.run(main()).metadata["error_kind"] == "closed"

    def test_a_slot_is_free_again(self, server):
        """A cancelled stream gives back its place among the calls at once."""

        async def main():
            for number in range(3):
                with pytest.raises(TimeoutError):
                    async with timeout_when(
                        lambda asked=number: len(server.attempts()) > asked
                    ):
                        await llm.stream_content_async("Hi")
            server.script("anthropic", ANSWER)
            return await llm.generate_content_async("Hi", deadline=A_MINUTE)

        server.script("anthropic", faults.hang)
        llm = claude(server, LLM_CLAUDE_MAX_CONCURRENCY=1)
        assert asyncio.run(main()).content == "one two three four"


@contextmanager
def told_of(llm: LLMFactory) -> Iterator[list[LLMResponse]]:
    """Collect the responses that a signal tells of, until the last one is there."""
    responses = []

    def told(sender, event):
        responses.append(event.response)

    with generation_finished.connected_to(told, sender=llm):
        yield responses
        await_some(responses)


def await_some(items: list) -> list:
    """Return a list once there is something in it, which another thread puts there."""
    end = time.monotonic() + A_MINUTE
    while not items and time.monotonic() < end:
        time.sleep(0.001)
    return items


def attempt_of(server: FaultServer, name: str):
    (attempt,) = server.attempts(WIRES[name])
    return attempt


def test_no_executor_of_a_loop_is_used(monkeypatch, fake):
    """Its end would be waited for at the end of the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "run_in_executor", None)
        return await chain(fake).generate_content_async("Hi")

    assert asyncio.run(main()).success


def test_threads_are_kept_for_the_next_calls(fake):
    """A thread for each call would be slow, and one that stays busy a leak."""

    async def main():
        for _ in range(50):
            await llm.generate_content_async("Hi")
        return threading.active_count()

    llm = chain(fake)
    before = threading.active_count()
    assert asyncio.run(main()) - before <= 2


class TestWithoutThreads:
    @pytest.fixture(autouse=True)
    def _none_left(self, monkeypatch):
        """Let no more threads start for calls, as in a process at its limit."""

        def refuse(self, function):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("flask_llm.resilience.thread_pool.ThreadPool.start", refuse)

    def test_a_call_is_answered(self, fake):
        """In the loop's own thread: better late than never."""
        answer = asyncio.run(chain(fake).generate_content_async("Hi"))
        assert answer.content == "a fake answer"

    def test_an_error_is_the_task_s(self, fake):
        """As from a thread."""
        with pytest.raises(TypeError, match="max_tokens"):
            asyncio.run(chain(fake).generate_content_async("Hi", max_tokens="7"))

    def test_a_stream_says_why_there_is_none(self, fake):
        """It needs a thread; its response is there."""

        async def main():
            async with await llm.stream_content_async("Hi") as stream:
                assert [text async for text in stream] == []
            return stream.response

        llm = chain(fake)
        assert asyncio.run(main()).attempts[0].error == "busy (no more threads)"

    def test_the_task_s_context_stays_as_it_was(self, fake):
        """A stream that was closed does not end what its task asks for later."""

        async def main():
            await llm.stream_content_async("Hi")
            return callers_cancellation.get()

        llm = chain(fake)
        assert asyncio.run(main()) is None
