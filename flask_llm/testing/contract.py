"""The contract of a provider, by HTTP and in the process."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from ..providers.base import LLMProvider
from ..types import Request
from . import server as replies
from .checks import PROMPT, SOON_S, ChatTests, needs_fork
from .failure_checks import FailureTests, KeyTests, across_a_fork
from .server import Received, StubServer


class ProviderContract(FailureTests, KeyTests):
    """The tests of a provider that talks HTTP, against a server that also fails.

    A subclass states how to make the provider, and what its API's bodies look like::

        class TestAcme(ProviderContract):
            key = "acme-key-1"

            def make(self, url, key):
                return AcmeProvider(key, base_url=url)

            def answer(self, text):
                return {"text": text}

            def sent_prompt(self, received):
                return received.json["prompt"]

    A provider with a `stream` of its own also says what its server streams, in
    ``streamed(text)``, and if need be how that is asked for, in `asks_for_stream`.

    Nothing leaves the machine. Needs `pip install pytest`.

    Attributes:
        key: A key of the provider's kind, made up.
        errors: Errors in the API's own words, by a name for the test: status, body and
            the kind that `metadata["error_kind"]` must tell.
        reuse: Whether the server keeps connections open in the test of many threads;
            some SDKs leave them to the garbage collector, which warns.
    """

    reuse = False

    def test_many_threads(self, caplog: pytest.LogCaptureFixture) -> None:
        """Many threads share it at once, and each gets its own answer."""
        prompts = [str(number) for number in range(32)]
        answer = replies.together(16, replies.echo(self.answer, self.sent_prompt))
        with (
            StubServer(answer, keep_alive=self.reuse) as server,
            ThreadPoolExecutor(16) as pool,
        ):
            provider = self.make(server.url, self.key)
            answers = list(pool.map(lambda each: self.content(provider, each), prompts))
        wanted = [f"echo: {each}" for each in prompts]
        assert answers == wanted, "of 16 threads one got no answer, or another's"
        assert "pool is full" not in caplog.text, (
            "16 threads must all find a connection"
        )

    @needs_fork
    def test_fork(self) -> None:
        """A child process never uses its parent's connection; both are answered."""
        echo = replies.echo(self.answer, self.sent_prompt)
        with StubServer(echo, keep_alive=True) as server:
            provider = self.make(server.url, self.key)

            def ask(who: str) -> None:
                content = self.content(provider, who)
                assert content == f"echo: {who}", f"the {who} was answered {content!r}"

            told = across_a_fork(lambda: ask("parent"), lambda: ask("child"))
            assert not told, f"a fork after its use must hurt neither process: {told}"
            self.check_connections(server.received)

    def check_connections(self, received: list[Received]) -> None:
        """Check what a parent and its child did with connections that stay open."""
        connections: dict[str, set[object]] = {"parent": set(), "child": set()}
        for each in received:
            connections[self.sent_prompt(each)].add(each.connection)
        assert connections["parent"].isdisjoint(connections["child"]), (
            "after a fork both processes used one connection: make a client for each"
            " process, as flask_llm.resilience.clock.PerProcess does"
        )

    def test_deadline(self) -> None:
        """A call with a deadline is back in time, though the server is silent."""
        with StubServer(replies.hang) as server:
            provider = self.make(server.url, self.key)
            provider.warm_up(full=True)
            response = self.check_deadline(provider, PROMPT, 64)
        assert not response.success, "nothing was answered, so there is no success"

    def test_time_of_an_attempt(self) -> None:
        """One that overrides `answer` stops when the attempt's time is up."""
        with StubServer(replies.hang) as server:
            provider = self.make(server.url, self.key)
            if type(provider).answer is LLMProvider.answer:
                pytest.skip("it has no answer(request); the chain minds the time")
            provider.warm_up(full=True)
            request = Request(PROMPT, timeout=0.3)
            thread = threading.Thread(
                target=_try, args=(provider, request), daemon=True
            )
            thread.start()
            thread.join(0.3 + SOON_S)
            late = thread.is_alive()
        assert not late, (
            "answer() must end after request.timeout seconds (0.3), or soon"
        )


def _try(provider: LLMProvider, request: Request) -> None:
    """Make an attempt, however it ends."""
    with suppress(Exception):
        provider.answer(request)


_PROMPTS = [f"Repeat the word {word}." for word in ("apple", "house", "river", "moon")]


class InProcessContract(ChatTests):
    """The tests of a provider that talks to no server; else see `ProviderContract`.

    A subclass overrides the fixture `provider`::

        class TestMine(InProcessContract):
            @pytest.fixture
            def provider(self):
                return MyProvider()

    Asked the same twice, the provider must say the same at temperature 0. Needs
    `pip install pytest`.

    Attributes:
        prompt: What is asked where it does not matter; its answer should be short.
        max_tokens: The most tokens of an answer where that does not matter.
    """

    def test_many_threads(self, provider: LLMProvider) -> None:
        """Many threads share it at once, and each gets its own answer."""
        alone = [self.content(provider, prompt) for prompt in _PROMPTS]
        with ThreadPoolExecutor(len(_PROMPTS)) as pool:
            at_once = list(
                pool.map(lambda each: self.content(provider, each), _PROMPTS)
            )
        assert at_once == alone, "a thread got another answer than when asked alone"

    @needs_fork
    def test_fork(self, provider: LLMProvider) -> None:
        """Used before a fork, it answers in the parent and in the child."""
        first: dict[str, str] = {}

        def ask() -> None:
            content = self.content(provider, _PROMPTS[0])
            assert first.setdefault("answer", content) == content

        told = across_a_fork(ask, ask)
        assert not told, f"a fork after its use must hurt neither process: {told}"

    def test_deadline(self, provider: LLMProvider) -> None:
        """A call with a deadline is back in time, answered or not."""
        provider.warm_up(full=True)
        self.check_deadline(provider, "Write a very long story.", 4096)
