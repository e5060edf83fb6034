"""What a provider owes when the server fails."""

import pickle
import pytest
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ProviderError
from ..types import LLMResponse
from . import replies
from .checks import PROMPT, check_failure
from .server import Answer, StubServer, closed_port
from .wired import REFUSAL, TEXT, WiredTests

HTML = "<html><body><h1>Welcome to the hotel's network</h1></body></html>"

# What any server, gateway or proxy may say: status, body and the kind that it means.
ERRORS: Mapping[str, tuple[Any, ...]] = {
    "plain 400": (400, REFUSAL, "invalid_request"),
    "plain 401": (401, REFUSAL, "auth"),
    "plain 402": (402, REFUSAL, "quota"),
    "plain 403": (403, REFUSAL, "auth"),
    "plain 404": (404, REFUSAL, "model_not_found"),
    "plain 408": (408, REFUSAL, "transient"),
    "plain 413": (413, REFUSAL, "context_length"),
    "plain 422": (422, REFUSAL, "invalid_request"),
    "plain 429": (429, REFUSAL, "quota"),
    "429 of a gateway": (429, {"error": "slow down"}, "quota"),
    "plain 500": (500, REFUSAL, "transient"),
    "502 web page": (502, HTML, "transient"),
    "503 empty": (503, "", "transient"),
    "plain 504": (504, REFUSAL, "transient"),
    "plain 529": (529, REFUSAL, "transient"),
}

# Bodies that come with status 200 and are no answer; more columns: headers.
NO_ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "web page as JSON": (200, HTML),
    "web page": (200, HTML, {"Content-Type": "text/html"}),
    "empty body": (200, ""),
    "null": (200, "null"),
    "broken JSON": (200, '{"id": "1'),
}

# An SDK that retries would do it at once.
_AGAIN = {"Retry-After": "0", "x-should-retry": "true"}


class FailureTests(WiredTests):
    """The tests of failures.

    Attributes:
        errors: Errors in the API's own words.
    """

    errors: Mapping[str, tuple[Any, ...]] = MappingProxyType({})

    def rows(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows of each test that runs once for each, by its argument."""
        return {
            "failed": {**ERRORS, **self.errors},
            "unanswered": NO_ANSWERS,
            "fault": {
                "reset": replies.reset,
                "closed": replies.close,
                "half a body": replies.half(self.answer(TEXT)),
            },
        }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test with such an argument once for each row."""
        for argument, rows in self.rows().items():
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, list(rows.values()), ids=list(rows))

    def test_status(self, failed: tuple[Any, ...]) -> None:
        """Each error status becomes its kind."""
        status, body, kind, *_ = failed
        with StubServer(replies.reply(body, status)) as server:
            response = self.call(server.url)
        assert not response.success, f"status {status} must be no success"
        told = response.metadata["error_kind"]
        assert told == kind, (
            f"status {status} must mean {kind!r}, not {told!r}: raise the SDK's own"
            f" exception, or keep the status in the error's text ({response.error})"
        )

    @pytest.mark.parametrize("status", [401, 408, 429, 500, 503, 529, "reset"])
    def test_no_retries(self, status: int | str) -> None:
        """One attempt is one request, whatever the server suggests."""
        answer = (
            replies.reply(REFUSAL, status, _AGAIN)
            if isinstance(status, int)
            else replies.reset
        )
        with StubServer(answer) as server:
            self.call(server.url)
            sent = len(server.received)
        assert sent == 1, f"one attempt made {sent} requests: switch off other retries"

    def test_no_answer(self, unanswered: tuple[Any, ...]) -> None:
        """A success status without an answer in it is no success."""
        status, body, *headers = unanswered
        with StubServer(replies.reply(body, status, *headers)) as server:
            response = self.call(server.url)
        assert not response.success, f"{body!r} is no answer, but became a success"

    def test_fault(self, fault: Answer) -> None:
        """A fault of the connection is transient."""
        with StubServer(fault) as server:
            self.assert_transient(self.call(server.url))

    def test_refused(self) -> None:
        """A refused connection is transient."""
        self.assert_transient(self.call(closed_port()))

    def assert_transient(self, response: LLMResponse) -> None:
        """Check that a call failed so that the chain tries again."""
        assert not response.success, "without a whole answer there is no success"
        kind = response.metadata["error_kind"]
        told = f"a lost connection must mean 'transient', not {kind!r}"
        assert kind == "transient", f"{told}: {response.error}"

    def test_failure_shape(self) -> None:
        """It raises, or returns a failure of the documented shape."""
        with StubServer(replies.reply(REFUSAL, 503)) as server:
            provider = self.make(server.url, self.key)
            error = response = None
            try:
                response = provider.generate_content(PROMPT)
            except Exception as exc:  # noqa: BLE001  # of whatever kind: see test_status
                error = exc
        if error is None:
            check_failure(response, provider)
        elif isinstance(error, ProviderError):
            copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
            assert str(copy) == str(error), "a ProviderError must survive pickle"
            told = f"{vars(error)} {error!r}"
            assert self.key not in told, "a ProviderError must not hold the key"

    def test_answer_after_trouble(self) -> None:
        """The attempt after a failed one is answered, with one request for each."""
        good = replies.reply(self.answer(TEXT))
        answer = replies.in_turn(replies.reply(REFUSAL, 503), replies.reset, good)
        with StubServer(answer) as server:
            response = self.call(server.url, tries=3)
            sent = len(server.received)
        assert response.content == TEXT, f"it must recover: {response.error}"
        tries = len(response.attempts)
        assert sent == tries, f"{tries} attempts made {sent} requests"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirect(self, status: int) -> None:
        """A redirect to another host takes the key nowhere."""
        with StubServer(replies.reply(self.answer(TEXT))) as other:
            elsewhere = {"Location": f"{other.url}/elsewhere"}
            with StubServer(replies.reply("", status, elsewhere)) as server:
                response = self.call(server.url)
                assert server.received, "the request never arrived"
            for each in other.received:
                assert self.key not in str(each), (
                    "a redirect took the key to another host: switch redirects off"
                )
        assert not response.success, "a redirect must not be followed: switch that off"
