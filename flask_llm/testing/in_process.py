"""What a provider owes that answers inside the process."""

from concurrent.futures import ThreadPoolExecutor

from ..providers.base import LLMProvider
from .checks import needs_fork
from .chats import ChatTests
from .fork import across_a_fork

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
