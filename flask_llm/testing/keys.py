"""What a provider owes its key."""

import base64
import pytest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..providers.base import LLMProvider
from ..types import LLMResponse
from . import replies
from .checks import PROMPT
from .server import Received, StubServer
from .wired import WiredTests

class KeyTests(WiredTests):
    """The tests of where a key goes, and where it must not come out."""

    @pytest.fixture
    def meanwhile(self) -> Callable[[], object]:
        """Return what others do with the SDK before each call of two keys."""
        return lambda: None

    def assert_sent(self, key: str, received: Received) -> None:
        """Check that a request carries a key; the place for one that is signed."""
        assert key in str(received.headers), "the request must carry the key"

    def test_key_in_headers_only(self, echo: StubServer, provider: LLMProvider) -> None:
        """The key travels in a header; an address is written into logs everywhere."""
        provider.generate_content(PROMPT)
        assert echo.received, "no request arrived"
        for each in echo.received:
            self.assert_sent(self.key, each)
            assert self.key not in each.path, "the key must not be in the address"
            assert self.key.encode() not in each.body, "the key must not be in the body"

    def test_key_in_no_answer(
        self, caplog: pytest.LogCaptureFixture, provider: LLMProvider
    ) -> None:
        """The key is in no response, no log at any level, and no `repr`."""
        caplog.set_level("DEBUG")
        response = provider.generate_content(PROMPT)
        self.assert_no_key(f"{provider!r} {provider}", "repr() of the provider")
        self.assert_no_key(_all_of(response), "the response")
        self.assert_no_key(_all_of(caplog), "the log")

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 503])
    def test_echoed_key(self, caplog: pytest.LogCaptureFixture, status: int) -> None:
        """A server that repeats the request's headers brings the key out nowhere."""

        def answer(handler: Any, received: Received) -> None:
            error = {"error": {"message": f"refused: {received.headers}"}}
            replies.reply(error, status)(handler, received)

        caplog.set_level("DEBUG")
        with StubServer(answer) as server:
            response = self.call(server.url)
        assert not response.success, "an error's body is no answer"
        keep = "the error: keep the key in `api_key`, where the chain looks for it"
        self.assert_no_key(_all_of(response), keep)
        self.assert_no_key(_all_of(caplog), "the log")

    def assert_no_key(self, text: str, where: str) -> None:
        """Check that a text does not hold the key, plain or in Base64."""
        hidden = base64.b64encode(self.key.encode()).decode()
        found = self.key in text or hidden in text
        assert not found, f"the key must not be in {where}"

    def test_without_key(self, echo: StubServer) -> None:
        """Without its key it refuses to be made, or is unavailable and says why."""
        try:
            provider = self.make(echo.url, "")
        except Exception:  # noqa: BLE001  # an SDK's own way of saying so
            return
        if not provider.needs_key:
            return
        told = "is_available() must be False without a key (or set needs_key = False)"
        assert provider.is_available() is False, told
        why: object = provider.unavailable_reason()
        assert isinstance(why, str), "unavailable_reason() must be text"
        assert why.strip(), "unavailable_reason() must say what is missing"

    def test_malformed_key(self, echo: StubServer) -> None:
        """A key that no header can carry is refused, and nothing is sent."""
        try:
            provider = self.make(echo.url, f"{self.key}\r\nX-Injected: 1")
        except Exception:  # noqa: BLE001  # refused when made: the better way
            return
        response = self.ask_in_chain(provider)
        assert not response.success, "a key with a line break must be refused"
        assert not echo.received, "a request went out with a malformed key"

    def test_two_keys(self, echo: StubServer, meanwhile: Callable[[], object]) -> None:
        """Providers with different keys, used by many threads in turn, never mix."""
        keys = ["key-of-the-first", "key-of-the-second"]
        providers = {key: self.make(echo.url, key) for key in keys}
        prompts = [f"{key} {number}" for number in range(20) for key in keys]

        def ask(prompt: str) -> str:
            meanwhile()
            return self.content(providers[prompt.split(maxsplit=1)[0]], prompt)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, prompts))
        assert answers == [f"echo: {each}" for each in prompts], "answers got mixed up"
        assert len(echo.received) == len(prompts), "one call must make one request"
        for each in echo.received:
            self.assert_sent(self.sent_prompt(each).split()[0], each)


def _all_of(subject: LLMResponse | pytest.LogCaptureFixture) -> str:
    """Return all that somebody could read of a response, or of what was logged."""
    if isinstance(subject, LLMResponse):
        return f"{subject!r} {vars(subject)}"
    records = (f"{each.getMessage()} {each.args}" for each in subject.records)
    return "\n".join([subject.text, *records])
